"""Answers straight from a node's data folder: behind each of its doors, and for `--via local` without any."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, assert_never, cast

from msgspec.structs import replace

from edge.catalog import CatalogReader
from edge.configuration.settings import Settings
from edge.core import wire
from edge.core.errors import CatalogBusy, DoorError, ImHearingError, QueryRefused, SpoolError, SpoolMissing
from edge.core.ids import is_chunk_id
from edge.core.instant import Instant
from edge.core.values import Archive
from edge.spool.spool import spool_of
from query_service.answer.clip import ClipMaker
from query_service.answer.coverage import Presign, answer_coverage
from query_service.answer.facts import FactReader
from query_service.answer.levels import answer_levels
from query_service.answer.sounds import answer_sounds
from query_service.answer.status import status_report
from query_service.client.paging import LocalFile
from query_service.queries.protocol import Answer, GoodAnswer, Request, range_request, read_request
from query_service.queries.values import ErrorAnswer, ErrorCode, refusal

if TYPE_CHECKING:
    from edge.store.s3 import S3Store

log = logging.getLogger(__name__)

_KEPT_LINKS = 1_000
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
            url = self._store.presigned_url(archive.bucket, archive.key, seconds)
        except ImHearingError as problem:
            if not self._complained:
                log.warning("answers carry no links: %s", problem)
            self._complained = True
            return None
        if len(self._kept) >= _KEPT_LINKS:
            self._kept.pop(next(iter(self._kept)))
        self._kept[archive.archive_id] = (now, url)
        return url

    @cached_property
    def _store(self) -> S3Store:
        # 40 MB and a quarter of a second that only those pay who ask for links
        from edge.store.s3 import S3Store  # noqa: PLC0415

        return S3Store(self._settings.s3)


class Responder:
    """Answers for one node; never raises. Not for several threads at once."""

    def __init__(
        self,
        node: str,
        reader: FactReader,
        presign: Presign,
        clock: Callable[[], Instant] = lambda: Instant.from_seconds(time.time()),
    ) -> None:
        self.node = node
        self._reader = reader
        self._presign = presign
        self._clock = clock
        self._started = time.monotonic()

    def answer(self, request: Request) -> Answer:
        """The answer to a request that `read_request` let pass."""
        try:
            answer = self._answer(request)
            return replace(answer, incomplete="spool") if self._reader.is_spool_unreadable else answer
        except QueryRefused as problem:
            return refusal(request.id, self.node, cast(ErrorCode, problem.code), str(problem), problem.field)
        # remote clients do not learn our folders
        except CatalogBusy as problem:
            log.info("a %s request was put off: %s", request.type, problem)
            return refusal(request.id, self.node, "busy", "the catalog is missing, locked or being made; ask again")
        except SpoolMissing as problem:
            log.warning("a %s request could not be answered: %s", request.type, problem)
            return refusal(request.id, self.node, "internal", "the disk with the node's recordings is not mounted")
        except ImHearingError as problem:
            log.warning("a %s request could not be answered: %s", request.type, problem)
            return refusal(request.id, self.node, "internal", _FAILED)
        except Exception:  # the edge of a message: one bad question must not end the service
            log.exception("a %s request could not be answered", request.type)
            return refusal(request.id, self.node, "internal", _FAILED)

    def _answer(self, request: Request) -> GoodAnswer:
        reader, now = self._reader, self._clock()
        match request.type:
            case "status":
                uptime = round(time.monotonic() - self._started, 1)
                return status_report(request.id, self.node, reader, now, uptime)
            case "coverage":
                return answer_coverage(range_request(request, self.node), reader, self._presign, now)
            case "sounds":
                return answer_sounds(range_request(request, self.node), reader, self._presign)
            case "levels":
                return answer_levels(range_request(request, self.node), reader, now)
            case "clip":
                raise ValueError("clips take longer than a thread may be held: ClipMaker makes them")
            case _:
                assert_never(request.type)


class NodeAnswers:
    """Answers from the data folder in `settings`, in one thread: an SQLite connection belongs to one."""

    def __init__(self, settings: Settings) -> None:
        self.node = settings.node.name
        self._spool = spool_of(settings)
        self._catalog = CatalogReader(settings.catalog.db_path)
        reader = FactReader(self._spool, self._catalog)
        self._responder = Responder(self.node, reader, Presigner(settings))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="answers")
        self._clips = ClipMaker(settings, lambda: NodeAnswers(_from_inside(settings)))

    async def answer(self, request: Request) -> Answer:
        """The answer, however long it takes; never raises."""
        if request.type == "clip":
            return await self._clips.answer(request)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._responder.answer, request)

    async def query(self, request: Request, timeout: float = 10.0) -> Answer:
        """The answer; DoorError when it takes longer than `timeout` seconds."""
        # read like a request through any other door, so that one place checks it
        read = read_request(wire.encode(request), self.node)
        if isinstance(read, ErrorAnswer):
            return read
        try:
            async with asyncio.timeout(timeout):
                return await self.answer(read)
        except TimeoutError:
            raise DoorError(f"{self.node}: no answer from its data folder within {timeout:g} s") from None

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
        with contextlib.suppress(TimeoutError):  # behind a long answer; its connection only reads
            async with asyncio.timeout(0.5):
                await asyncio.get_running_loop().run_in_executor(self._thread, self._catalog.close)
        self._thread.shutdown(wait=False, cancel_futures=True)


def _from_inside(settings: Settings) -> Settings:
    """With links to the store as the node itself reaches it."""
    return replace(settings, s3=replace(settings.s3, public_endpoint_url=""))
