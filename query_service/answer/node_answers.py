"""Answers straight from a node's data folder: behind each of its doors, and for `--via local` without any."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, assert_never, cast

from msgspec.structs import replace

from edge.catalog import CatalogReader
from edge.catalog.budget import Budget
from edge.catalog.erasures import Erasures
from edge.configuration.settings import Settings
from edge.core import wire
from edge.core.errors import (
    BudgetSpent,
    CatalogBusy,
    CatalogInterrupted,
    DoorError,
    ImHearingError,
    QueryRefused,
    SpoolError,
    SpoolMissing,
)
from edge.core.ids import is_chunk_id
from edge.core.instant import Instant
from edge.core.values import Archive
from edge.spool import thresholds
from edge.spool.limits import active
from edge.spool.spool import spool_of
from query_service.answer.clip import ClipMaker
from query_service.answer.coverage import Presign, answer_coverage
from query_service.answer.days import answer_days
from query_service.answer.extent import answer_extent
from query_service.answer.facts import FactReader
from query_service.answer.levels import answer_levels
from query_service.answer.loudest import answer_loudest
from query_service.answer.scans import Scans
from query_service.answer.sounds import answer_sounds
from query_service.answer.states import answer_states
from query_service.answer.status import status_report
from query_service.answer.turns import Turns
from query_service.client.paging import LocalFile
from query_service.queries.cursors import Cursors
from query_service.queries.protocol import Answer, GoodAnswer, Request, range_request, read_request
from query_service.queries.status import StatusAnswer
from query_service.queries.values import ErrorAnswer, ErrorCode, refusal

if TYPE_CHECKING:
    from edge.store.links import Links

log = logging.getLogger(__name__)

_KEPT_LINKS = 1_000
_GO_ON = 0.1  # seconds until a question that was stopped may go on
_FAILED = "the node failed to answer; its log says why"


class Presigner:
    """Gives links that work for at least nine tenths of `[query] url_seconds`. One thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: dict[str, tuple[float, str]] = {}  # archive -> (monotonic time it was made, link)
        self._complained = False

    def __call__(self, archive: Archive) -> str | None:
        """None where no link can be made; the log says why, once."""
        now = time.monotonic()
        seconds = self._settings.query.url_seconds
        made, url = self._kept.get(archive.archive_id, (float("-inf"), ""))
        if now - made < seconds / 10:
            return url
        try:
            url = self._links.sign(archive.bucket, archive.key, seconds)
        except ImHearingError as problem:
            if not self._complained:
                log.warning("answers carry no links: %s", problem)
            self._complained = True
            return None
        if len(self._kept) >= _KEPT_LINKS:
            self._kept.pop(next(iter(self._kept)))
        self._kept[archive.archive_id] = (now, url)
        return url

    def prepare(self) -> None:
        """Takes the time that the first link needs, in a thread of its own: answers wait for no import then."""
        bucket = self._settings.s3.s3_bucket_name
        if bucket:
            with contextlib.suppress(ImHearingError):  # the first answer logs it
                self._links.sign(bucket, "key", 60)

    @cached_property
    def _links(self) -> Links:
        # 7 MB that only nodes with a bucket pay
        from edge.store.links import Links  # noqa: PLC0415

        return Links(self._settings.s3)


class Responder:
    """Answers for one node; never raises. Not for several threads at once."""

    def __init__(
        self,
        node: str,
        reader: FactReader,
        presign: Presign,
        clock: Callable[[], Instant] = lambda: Instant.from_seconds(time.time()),
        cursors: Cursors | None = None,
        make_budget: Callable[[], Budget] = Budget,
        *,
        answers_in_part: bool = True,
    ) -> None:
        """`answers_in_part`: from the spool alone, while the catalog has an interrupted commit."""
        self.node = node
        self._reader = reader
        self._presign = presign
        self._clock = clock
        self._cursors = cursors or Cursors(secrets.token_hex())
        self._make_budget = make_budget
        self._scans = Scans(time.monotonic)
        self._answers_in_part = answers_in_part
        self._spool_reader: FactReader | None = None  # of the spool alone, while that is all there is
        self._started = time.monotonic()

    def answer(self, request: Request) -> Answer:
        """The answer to a request that `read_request` let pass."""
        try:
            return self._whole_answer(request)
        except QueryRefused as problem:
            return refusal(request.id, self.node, cast(ErrorCode, problem.code), str(problem), problem.field)
        # remote clients do not learn our folders
        except CatalogBusy as problem:
            return self._put_off(request, problem)
        except SpoolMissing as problem:
            log.warning("a %s request could not be answered: %s", request.type, problem)
            return refusal(request.id, self.node, "internal", "the disk with the node's recordings is not mounted")
        except ImHearingError as problem:
            log.warning("a %s request could not be answered: %s", request.type, problem)
            return refusal(request.id, self.node, "internal", _FAILED)
        except Exception:  # the edge of a message: one bad question must not end the service
            log.exception("a %s request could not be answered", request.type)
            return refusal(request.id, self.node, "internal", _FAILED)

    def _whole_answer(self, request: Request) -> GoodAnswer:
        """As whole as can be: it says if it is not."""
        try:
            answer = self._answer_from(self._reader, request)
        except CatalogInterrupted as problem:
            if not self._answers_in_part:
                raise
            if self._spool_reader is None:
                log.warning("answers lack what is in the catalog alone: %s", problem)
                self._spool_reader = self._reader.without_catalog()
            answer = self._answer_from(self._spool_reader, request)
            if self._spool_reader.is_spool_unreadable:
                raise
            return replace(answer, incomplete="catalog")
        self._spool_reader = None
        return replace(answer, incomplete="spool") if self._reader.is_spool_unreadable else answer

    def _put_off(self, request: Request, problem: CatalogBusy) -> ErrorAnswer:
        log.info("a %s request was put off: %s", request.type, problem)
        if isinstance(problem, BudgetSpent):
            message = "the question takes long; repeat it, and the node goes on with it"
            return refusal(request.id, self.node, "busy", message, retry_after=_GO_ON)
        return refusal(request.id, self.node, "busy", "the catalog is missing, locked or being made; ask again")

    def _answer_from(self, reader: FactReader, request: Request) -> GoodAnswer:
        with reader.within(self._make_budget()):
            return self._answer(reader, request)

    def _answer(self, reader: FactReader, request: Request) -> GoodAnswer:
        cursors, scans, now = self._cursors, self._scans, self._clock()
        answer: GoodAnswer
        match request.type:
            case "status":
                uptime = round(time.monotonic() - self._started, 1)
                answer = status_report(request.id, self.node, reader, now, uptime)
            case "coverage":
                answer = answer_coverage(range_request(request, self.node), reader, self._presign, cursors, now)
            case "states":
                answer = answer_states(range_request(request, self.node), reader, cursors, now)
            case "sounds":
                answer = answer_sounds(range_request(request, self.node), reader, self._presign, cursors, scans)
            case "levels":
                find = answer_loudest if request.order == "loudest" else answer_levels
                answer = find(range_request(request, self.node), reader, cursors, scans, now)
            case "days":
                answer = answer_days(range_request(request, self.node), reader, cursors, scans, now)
            case "extent":
                answer = answer_extent(request, self.node, reader, scans, now)
            case "clip":
                raise ValueError("clips take longer than a thread may be held: ClipMaker makes them")
            case _:
                assert_never(request.type)
        return answer


class _AnswerThread:
    """A thread that answers: an SQLite connection belongs to one."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._catalog = CatalogReader(settings.catalog.db_path)
        self.reader = FactReader(spool_of(settings), self._catalog)
        self._turns = Turns(ThreadPoolExecutor(1, thread_name_prefix=name))

    async def answer(self, responder: Responder, request: Request, client: str) -> Answer:
        return await self._turns.run(client, lambda: responder.answer(request))

    async def bits_of(self, stream_ids: tuple[str, ...]) -> dict[str, int]:
        return await self._turns.run("", lambda: self.reader.bits_of(stream_ids))

    async def close(self) -> None:
        with contextlib.suppress(TimeoutError):  # behind a long answer; its connection only reads
            async with asyncio.timeout(0.5):
                await self._turns.run("", self._catalog.close)
        self._turns.close()


class NodeAnswers:
    """Answers from the data folder in `settings`: one question at a time, each client in its turn. How the node is has
    a thread of its own, so that whoever watches it waits for nobody."""

    def __init__(self, settings: Settings, listeners: Callable[[], int | None] = lambda: None) -> None:
        """`listeners`: how many listen live."""
        self.node = settings.node.name
        self._listeners = listeners
        self._spool, self._limits = spool_of(settings), thresholds.configured(settings.thresholds)
        self._questions, self._statuses = _AnswerThread("answers", settings), _AnswerThread("status", settings)
        cursors, presign = Cursors(settings.query.cursor_key.reveal() or secrets.token_hex()), Presigner(settings)
        presign_inside = Presigner(_from_inside(settings)) if settings.s3.public_endpoint_url else presign
        self._presign = presign
        self._responder = Responder(self.node, self._questions.reader, presign, cursors=cursors)
        self._status_responder = Responder(self.node, self._statuses.reader, presign)
        inside = Responder(self.node, self._questions.reader, presign_inside, cursors=cursors, answers_in_part=False)
        self.inside = _FromInside(self, inside)
        self._clips = ClipMaker(settings, lambda: self.inside)

    async def answer(self, request: Request, client: str = "") -> Answer:
        """The answer, however long it takes; never raises. `client`: whose turn it takes."""
        if request.type == "clip":
            return await self._clips.answer(request)
        if request.type == "status":
            status = await self._statuses.answer(self._status_responder, request, client)
            return replace(status, listeners=self._listeners()) if isinstance(status, StatusAnswer) else status
        return await self.answer_as(self._responder, request, client)

    def prepare(self) -> None:
        """Loads what the first answer with links would wait for; in a thread of its own."""
        self._presign.prepare()

    async def answer_as(self, responder: Responder, request: Request, client: str) -> Answer:
        return await self._questions.answer(responder, request, client)

    async def query(self, request: Request, timeout: float = 10.0) -> Answer:
        """The answer; DoorError when it takes longer than `timeout` seconds."""
        return await _query(self.node, request, self.answer, timeout)

    async def bits_of(self, stream_ids: Iterable[str]) -> dict[str, int]:
        """The bits of a sample in each of these streams. Raises CatalogError, SpoolError."""
        ids = tuple(stream_ids)
        return await self._questions.bits_of(ids)

    def sound_level(self) -> float:
        """The level from which something counts as a sound now, in dB; 0: nothing does."""
        return active(self._spool.path, self._limits).sound_level

    def local_file(self, chunk_id: str) -> LocalFile | None:
        """The chunk's file, where it still lies in the spool."""
        if not is_chunk_id(chunk_id):
            return None
        try:
            chunk = self._spool.chunks.manifest(chunk_id)
            is_here = self._spool.chunks.has_audio(chunk)
        except SpoolError:
            return None
        return LocalFile(self._spool.layout.audio_path(chunk), chunk.sha256) if is_here else None

    async def close(self) -> None:
        await self._statuses.close()
        await self._questions.close()


def ended_erasures(settings: Settings) -> frozenset[str]:
    """The IDs of the last orders to erase that were carried out or refused."""
    return Erasures(settings.catalog.db_path).ended()


class _FromInside:
    """The node as its own client, with links to the store as the node reaches it. Its turns are those of clips."""

    def __init__(self, answers: NodeAnswers, responder: Responder) -> None:
        self.node = answers.node
        self._answers = answers
        self._responder = responder

    async def query(self, request: Request, timeout: float = 10.0) -> Answer:
        return await _query(self.node, request, self._answer, timeout)

    async def _answer(self, request: Request) -> Answer:
        return await self._answers.answer_as(self._responder, request, "clips")

    def local_file(self, chunk_id: str) -> LocalFile | None:
        return self._answers.local_file(chunk_id)

    async def close(self) -> None: ...


async def _query(node: str, request: Request, answer: Callable[[Request], Awaitable[Answer]], timeout: float) -> Answer:
    # read like a request through any other door, so that one place checks it
    read = read_request(wire.encode(request), node)
    if isinstance(read, ErrorAnswer):
        return read
    try:
        async with asyncio.timeout(timeout):
            return await answer(read)
    except TimeoutError:
        raise DoorError(f"{node}: no answer from its data folder within {timeout:g} s") from None


def _from_inside(settings: Settings) -> Settings:
    """With links to the store as the node itself reaches it."""
    return replace(settings, s3=replace(settings.s3, public_endpoint_url=""))
