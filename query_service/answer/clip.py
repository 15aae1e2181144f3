"""Clips: the sound of a range as one file in the store, for those who can play a link and no more.

The only thing that the query service writes, and only below `<prefix><node>/clips/`. Whether it may is the store's
word: a key without PutObject there gets a plain refusal.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from edge.catalog.range_locks import copying
from edge.configuration.settings import Settings
from edge.core import wire
from edge.core.errors import (
    CatalogBusy,
    FetchError,
    ImHearingError,
    QueryRefused,
    StoreBlocked,
    StoreError,
    StoreSilent,
    StoreUnreachable,
)
from edge.core.instant import MICROSECONDS, Instant
from edge.core.scratch import scratch
from query_service.answer.clip_quota import ClipQuota, QuotaSpent
from query_service.client.paging import NodeClient, coverage_pages
from query_service.queries.clip import Clip, ClipAnswer
from query_service.queries.protocol import Answer, RangeRequest, Request, range_request
from query_service.queries.values import (
    MAX_ANSWER,
    ArchivePlace,
    ErrorAnswer,
    ErrorCode,
    Interval,
    Pending,
    Recorded,
    refusal,
)

if TYPE_CHECKING:
    from edge.store.s3 import S3Store
    from query_service.sound.report import FetchReport

log = logging.getLogger(__name__)

LONGEST = 600  # seconds
MOST_BYTES = 200_000_000  # of samples as of 24 bit, on disk and never in memory: ten minutes of 48 kHz stereo
_AT_ONCE = 1
_WAITING = 3  # clips that wait or are made; more are told `busy`
_PATIENCE = 55.0  # seconds for one clip: no deadline of a request is longer than a minute
_KEPT = 64  # clips that are not made a second time
_NAMED = 5  # encrypted chunks in a refusal
_HOLES_ROOM = MAX_ANSWER - 8_000  # bytes


class _Refused(Exception):
    """No clip: what its sender is told."""

    def __init__(self, code: ErrorCode, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class ClipMaker:
    """Makes clips for one node. `connect` gives a client of the node's own answers, with links that work from here."""

    def __init__(self, settings: Settings, connect: Callable[[], NodeClient]) -> None:
        self._settings = settings
        self._node = settings.node.name
        self._open_client = connect
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._under_way = 0
        self._quota = ClipQuota(self._stored_since)
        self._made: OrderedDict[bytes, tuple[Clip, tuple[Interval, ...]]] = OrderedDict()  # with its holes, by sound

    async def answer(self, request: Request) -> Answer:
        """The answer to a request of type `clip` that `read_request` let pass; never raises."""
        if self._under_way >= _WAITING:
            return refusal(request.id, self._node, "busy", "other clips are being made; ask again soon")
        self._under_way += 1
        try:
            async with asyncio.timeout(_PATIENCE), self._turn:
                return await self._make(range_request(request, self._node))
        except _Refused as refused:
            return refusal(request.id, self._node, refused.code, str(refused), refused.field)
        except TimeoutError:
            return refusal(request.id, self._node, "deadline", f"no clip within {_PATIENCE:g} s; ask for less")
        except ImHearingError as problem:
            return self._failure(request.id, problem)
        except Exception:  # the edge of a message: one bad question must not end the service
            log.exception("a clip could not be made")
            return refusal(request.id, self._node, "internal", "the node failed to answer; its log says why")
        finally:
            self._under_way -= 1

    def _failure(self, request_id: str, problem: ImHearingError) -> ErrorAnswer:
        # remote clients do not learn our folders and addresses
        log.warning("a clip could not be made: %s", problem)
        code: ErrorCode = "internal"
        match problem:
            case QuotaSpent():
                return refusal(request_id, self._node, "busy", str(problem), retry_after=problem.seconds)
            case CatalogBusy():
                code, text = "busy", "the range is to be erased, or there is no catalog yet; ask again later"
            case QueryRefused() if problem.code == "busy":
                code, text = "busy", "the catalog is missing, locked or being made; ask again"
            case StoreUnreachable() | StoreSilent():
                text = "the object store does not answer; ask again later"
            case StoreBlocked(reason="denied" | "credentials" | "expired"):
                code, text = "forbidden", "the store does not let this node's query service write clips"
            case StoreBlocked(reason="no_bucket"):
                text = "this node has no object store to put clips in"
            case StoreError():
                text = "the object store refuses the clip; the node's log says why"
            case FetchError():
                text = "the sound could not be read whole, from the store or the node; its log says why"
            case _:
                text = "the node failed to answer; its log says why"
        return refusal(request_id, self._node, code, text)

    async def _make(self, request: RangeRequest) -> ClipAnswer:
        # whole seconds: what is asked for again a little later or longer is the same clip
        start = Instant(request.from_ - request.from_ % MICROSECONDS)
        end = Instant(request.to + -request.to % MICROSECONDS)
        if end - start > LONGEST * MICROSECONDS:
            raise _Refused(
                "bad_request", f"a clip is at most {LONGEST} s long; ask for parts, or fetch the range", "to"
            )
        request = replace(request, from_=start, to=end)
        client = self._open_client()
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(copying(self._settings.catalog.db_path, start, end))
                sound = await self._check(client, request)
                clip, holes = await self._reused(sound, request) or await self._new(client, sound, request, stack)
        finally:
            await client.close()
        fitting = _that_fit(holes)
        return ClipAnswer(
            id=request.id,
            node=self._node,
            from_=start,
            to=end,
            clip=clip,
            holes=fitting,
            holes_left_out=len(holes) - len(fitting),
        )

    async def _new(
        self, client: NodeClient, sound: bytes, request: RangeRequest, stack: contextlib.ExitStack
    ) -> tuple[Clip, tuple[Interval, ...]]:
        """`stack`: what is needed until the clip is stored."""
        fetch_sound = await asyncio.to_thread(_load_fetch)
        await asyncio.to_thread(self._quota.check)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="imhearing-clip-", dir=scratch()))
        path, ca_file = Path(folder) / "clip.flac", self._settings.s3.ca_file
        report = await fetch_sound(client, request.from_, request.to, path, timeout=_PATIENCE, ca_file=ca_file)
        storing = asyncio.ensure_future(asyncio.to_thread(self._store, report, with_url=request.urls))
        storing.add_done_callback(partial(_end, stack.pop_all()))  # a deadline does not end the thread
        clip = await asyncio.shield(storing)
        self._made[sound] = clip, report.holes
        if len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return clip, report.holes

    async def _reused(self, sound: bytes, request: RangeRequest) -> tuple[Clip, tuple[Interval, ...]] | None:
        """The clip of that sound, where it was made before and still is in the store."""
        if sound not in self._made:
            return None
        clip, holes = self._made[sound]
        found = await asyncio.to_thread(self._find, clip, with_url=request.urls)
        return None if found is None else (found, holes)

    async def _check(self, client: NodeClient, request: RangeRequest) -> bytes:
        """A digest of the sound that is there, all of one kind that we can read. Raises _Refused."""
        sound = hashlib.blake2b(wire.encode((request.from_, request.to)))
        kinds: dict[tuple[int, int], Recorded | Pending] = {}
        encrypted: list[tuple[Recorded | Pending, ArchivePlace | None]] = []
        async for page in coverage_pages(client, request.from_, request.to):
            for interval in page.intervals:
                if not isinstance(interval, Recorded | Pending):
                    sound.update(wire.encode(interval))
                    continue
                sound.update(wire.encode((interval.from_, interval.to, interval.chunk_id, interval.cut)))
                kinds.setdefault((interval.rate, interval.channels), interval)
                if interval.encrypted:
                    where = interval.where if isinstance(interval, Recorded) else None
                    encrypted.append((interval, page.archives.get(where.archive) if where else None))
        if encrypted:
            raise _Refused("encrypted", _explained(encrypted))
        if not kinds:
            raise _Refused("bad_request", "there is no sound in this range; ask for its coverage to see why")
        if len(kinds) > 1:
            changed = list(kinds.values())[1].from_
            raise _Refused("bad_request", f"rate or channels change at {changed}; ask for the parts", "to")
        ((rate, channels),) = kinds
        a_second = rate * channels * 3
        if (request.to - request.from_) / MICROSECONDS * a_second > MOST_BYTES:
            raise _Refused(
                "bad_request",
                f"a clip holds at most {MOST_BYTES // 1_000_000} MB of samples; at {rate} Hz and {channels} channels"
                f" ask for at most {MOST_BYTES // a_second} s at a time, or fetch the range",
                "to",
            )
        return sound.digest()

    def _stored_since(self, moment: Instant) -> Iterable[int]:
        return self._storage().sizes_since(self._prefix, moment)

    def _find(self, clip: Clip, *, with_url: bool) -> Clip | None:
        storage = self._storage()
        stored = storage.head(clip.key)
        return self._linked(storage, clip, with_url) if stored is not None and stored.size == clip.bytes else None

    def _linked(self, storage: S3Store, clip: Clip, with_url: bool) -> Clip:
        seconds = self._settings.query.url_seconds
        return replace(clip, url=storage.presigned_url(storage.bucket, clip.key, seconds) if with_url else None)

    def _storage(self) -> S3Store:
        from edge.store.s3 import S3Store  # noqa: PLC0415 - 40 MB

        return S3Store(self._settings.s3, connect_timeout=5, read_timeout=30)

    @property
    def _prefix(self) -> str:
        return f"{self._settings.s3.prefix}{self._node}/clips/"

    def _store(self, report: FetchReport, *, with_url: bool) -> Clip:
        """Puts the file into the store and checks that it came whole. Raises StoreError."""
        with report.path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        storage = self._storage()
        key = f"{self._prefix}{report.from_.datetime():%Y%m%dT%H%M%SZ}-{sha256[:16]}.flac"
        with report.path.open("rb") as body:
            storage.put(key, body, md5, overwrite=True, media_type="audio/flac")
        clip = Clip(
            s3=f"s3://{storage.bucket}/{key}",
            bucket=storage.bucket,
            key=key,
            url=None,
            bytes=report.path.stat().st_size,
            sha256=sha256,
            rate=report.rate,
            channels=report.channels,
            frames=report.frames,
        )
        self._quota.count(clip.bytes)
        return self._linked(storage, clip, with_url)


def _load_fetch() -> Callable[..., Awaitable[FetchReport]]:
    """In a thread: the doors wait for no import. NumPy and libsndfile: 40 MB that only nodes pay that make clips."""
    from query_service.sound.fetch import fetch_sound  # noqa: PLC0415

    return fetch_sound


def _end(used: contextlib.ExitStack, storing: asyncio.Future[Clip]) -> None:
    """Gives back what a clip needed until it was stored, even if nobody waits for it any more."""
    used.close()
    if not storing.cancelled():
        storing.exception()  # has been seen


def _explained(encrypted: list[tuple[Recorded | Pending, ArchivePlace | None]]) -> str:
    """Where the encrypted bytes are, for who has the key."""
    named = []
    for interval, place in encrypted[:_NAMED]:
        if isinstance(interval, Recorded) and place is not None:
            last = interval.where.offset + interval.where.length - 1
            named.append(f"{interval.chunk_id}: {place.s3} bytes {interval.where.offset}-{last}")
        else:
            named.append(f"{interval.chunk_id}: still on the node")
    more = f", and {len(encrypted) - _NAMED} more" if len(encrypted) > _NAMED else ""
    return (
        "the sound is encrypted and the node has no key to read it; fetch it with the identity that has: "
        f"{'; '.join(named)}{more}"
    )


def _that_fit(holes: tuple[Interval, ...]) -> tuple[Interval, ...]:
    room, fitting = _HOLES_ROOM, 0
    for hole in holes:
        room -= len(wire.encode(hole)) + 1
        if room < 0:
            break
        fitting += 1
    return holes[:fitting]
