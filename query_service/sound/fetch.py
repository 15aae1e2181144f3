"""Fetches the sound of a range: queries its coverage page by page, gets the chunks, cuts and joins them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
import shutil
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec import Struct

from edge.core.errors import FetchError
from edge.core.files import sync_folder
from edge.core.instant import MICROSECONDS, Instant
from query_service.client.paging import LocalFile, LocalFiles, NodeClient, coverage_pages
from query_service.queries.values import (
    ArchivePlace,
    Future,
    Gap,
    Interval,
    Pending,
    Recorded,
    Recording,
    why_incomplete,
)
from query_service.sound.audio import JoinedSound, output_kind
from query_service.sound.download import Downloader, LinkRefused, downloads

if TYPE_CHECKING:
    from query_service.sound.decryption import Keys

log = logging.getLogger(__name__)

Gaps = Literal["silence", "skip", "refuse"]

_AT_ONCE = 3  # chunks on their way
_AHEAD = 6  # intervals looked at before they are written
_FRESH_LINKS = 2  # how often a refused link is requested again


class FetchProgress(Struct, frozen=True):
    """How far a fetch has come: of the range in microseconds, and bytes read from the store so far."""

    done_us: int
    total_us: int
    bytes_read: int


class FetchReport(Struct, frozen=True, kw_only=True):
    """What was written. `holes`: every stretch of the range without sound, as the node explained it. `bytes_read`: from
    the store; what lies in the spool of this machine costs none.
    """

    path: Path
    from_: Instant
    to: Instant
    rate: int
    channels: int
    frames: int
    chunks: int
    bytes_read: int
    holes: tuple[Interval, ...]


OnProgress = Callable[[FetchProgress], None]


class Step(NamedTuple):
    """One interval of the range, and the file of its sound: None without sound."""

    interval: Interval
    sound: asyncio.Task[Path | None]


async def fetch_sound(
    client: NodeClient,
    start: Instant,
    end: Instant,
    path: Path,
    *,
    gaps: Gaps = "silence",
    on_progress: OnProgress | None = None,
    timeout: float = 10.0,
    keys: Keys | None = None,
    ca_file: str = "",
) -> FetchReport:
    """As `client.fetch`, for callers with asyncio and an open client. Memory does not grow with the range.

    `ca_file`: CA certificates to trust besides the system's, when links lead to a store with a private CA.
    """
    kind = output_kind(path)
    if not path.parent.is_dir():
        raise FetchError(f"{path.parent}: there is no such folder; make it first")
    if gaps == "refuse":
        await _refuse_holes(client, start, end, timeout)
    async with downloads(ca_file) as downloader:
        with tempfile.TemporaryDirectory(prefix=".imhearing-", dir=path.parent) as folder:
            fetching = Fetching(client, downloader, Path(folder), timeout, keys)
            unfinished = Path(folder) / f"joined{path.suffix}"
            with closing(JoinedSound(unfinished, kind, (end - start) / MICROSECONDS)) as joined:
                writing = _Writing(joined, start, gaps)
                async for step in fetching.steps(start, end):
                    await writing.add(step)
                    if on_progress is not None:
                        on_progress(FetchProgress(step.interval.to - start, end - start, downloader.bytes_read))
            report = writing.report(path, end, downloader.bytes_read)
            await asyncio.to_thread(put_in_place, unfinished, path)
            await asyncio.to_thread(sync_folder, path.parent)
    return report


async def _refuse_holes(client: NodeClient, start: Instant, end: Instant, timeout: float) -> None:
    async for page in coverage_pages(client, start, end, timeout):
        for interval in page.intervals:
            if not isinstance(interval, Recorded) and _local_file(client, interval) is None:
                raise SoundMissing(interval)


def _local_file(client: NodeClient, interval: Interval) -> LocalFile | None:
    if not isinstance(interval, Recorded | Pending) or not isinstance(client, LocalFiles):
        return None
    return client.local_file(interval.chunk_id)


def explained(interval: Interval) -> str:
    state = str(interval.__struct_config__.tag)
    if cause := getattr(interval, "cause", None):
        state += f", {cause}"
    elif isinstance(interval, Pending):
        state += ", still on the node only, where `imhearing archive` uploads it"
    elif isinstance(interval, Recording):
        state += ", and to be had once its chunk is finished (`imhearing rotate` finishes it now)"
    return f"from {interval.from_} to {interval.to} there is no sound to fetch: {state}"


class SoundMissing(FetchError):
    """A range that was to be complete holds no sound in `interval`."""

    def __init__(self, interval: Interval) -> None:
        super().__init__(f"{explained(interval)}; allow gaps, or choose another range")
        self.interval = interval


class Fetching:
    """Brings the files of a range's chunks, a few ahead of who takes them."""

    def __init__(
        self, client: NodeClient, downloader: Downloader, folder: Path, timeout: float, keys: Keys | None = None
    ) -> None:
        self._client = client
        self._keys = keys
        self._downloader = downloader
        self._folder = folder
        self._timeout = timeout
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def steps(self, start: Instant, end: Instant) -> AsyncIterator[Step]:
        """The intervals in order, their sound ready. A file is removed once the next step is requested."""
        started: deque[Step] = deque()
        is_warned = False
        try:
            async for page in coverage_pages(self._client, start, end, self._timeout, urls=True):
                if page.incomplete and not is_warned and any(isinstance(interval, Gap) for interval in page.intervals):
                    log.warning("%s counts as a gap", why_incomplete(page))
                    is_warned = True
                for interval in page.intervals:
                    started.append(Step(interval, asyncio.create_task(self._sound(interval, page.archives))))
                    if len(started) > _AHEAD:
                        async for step in _ready(started.popleft()):
                            yield step
            while started:
                async for step in _ready(started.popleft()):
                    yield step
        finally:
            for step in started:
                step.sound.cancel()
            await asyncio.gather(*(step.sound for step in started), return_exceptions=True)

    async def _sound(self, interval: Interval, archives: dict[str, ArchivePlace]) -> Path | None:
        if not isinstance(interval, Recorded | Pending):
            return None
        if interval.encrypted and self._keys is None:
            raise FetchError(f"{interval.chunk_id}: is encrypted; name the file of its private key with --identity")
        target = self._folder / f"{secrets.token_hex(8)}.{interval.format}"
        brought = target.with_name(f"{target.name}.age") if interval.encrypted else target
        async with self._slots:
            if not await self._bring(interval, archives, brought):
                return None
            if self._keys is not None and interval.encrypted:
                await asyncio.to_thread(_decrypted, brought, target, self._keys, interval.chunk_id)
        return target

    async def _bring(self, interval: Interval, archives: dict[str, ArchivePlace], target: Path) -> bool:
        """Gets a chunk's file as it lies in the spool or the store; False when it is in neither."""
        here = _local_file(self._client, interval)
        if here is not None and await asyncio.to_thread(_copied, here, target):
            return True
        for left in reversed(range(_FRESH_LINKS + 1)):
            if not isinstance(interval, Recorded):
                return False
            try:
                await self._downloader.member(_link(interval, archives), interval.where, target)
            except LinkRefused:
                if not left:
                    raise
                interval, archives = await self._located_again(interval)
            else:
                return True
        return False

    async def _located_again(self, interval: Recorded) -> tuple[Interval, dict[str, ArchivePlace]]:
        """Where that sound is now: the link ran out, or it was moved to another archive."""
        async for page in coverage_pages(self._client, interval.from_, interval.to, self._timeout, urls=True):
            for now in page.intervals:
                if isinstance(now, Recorded) and now.chunk_id == interval.chunk_id and now.cut == interval.cut:
                    return now, page.archives
        raise FetchError(f"{interval.chunk_id}: was there a moment ago and is not any more; ask again")


async def _ready(step: Step) -> AsyncIterator[Step]:
    path = await step.sound
    yield step
    if path is not None:
        path.unlink()


def _link(interval: Recorded, archives: dict[str, ArchivePlace]) -> str:
    place = archives.get(interval.where.archive)
    if place is None or place.url is None:
        raise FetchError(f"{interval.chunk_id}: the node gave no link to its archive; its log says why")
    return place.url


def _decrypted(source: Path, target: Path, keys: Keys, name: str) -> None:
    from query_service.sound.decryption import decrypt_file  # noqa: PLC0415 - pyrage, for those who need it

    try:
        decrypt_file(source, target, keys)
    except FetchError as problem:
        raise FetchError(f"{name}: {problem}") from None
    finally:
        source.unlink()


def _copied(here: LocalFile, target: Path) -> bool:
    """Copies a chunk out of the spool; False when it left or is damaged."""
    try:
        shutil.copyfile(here.path, target)
    except FileNotFoundError:
        return False
    with target.open("rb") as copy:
        return hashlib.file_digest(copy, "sha256").hexdigest() == here.sha256


class _Writing:
    """Puts intervals one after the other into the file."""

    def __init__(self, joined: JoinedSound, start: Instant, gaps: Gaps) -> None:
        self._joined = joined
        self._start = start
        self._gaps = gaps
        self._holes: list[Interval] = []
        self._leading: list[Interval] = []  # until a chunk gives the rate
        self._chunks = 0

    async def add(self, step: Step) -> None:
        interval, sound = step.interval, step.sound.result()
        if sound is None or not isinstance(interval, Recorded | Pending):
            self._holes.append(interval)
            if self._gaps == "refuse":
                raise FetchError(f"{explained(interval)}; ask again")
            if self._gaps == "silence" and not isinstance(interval, Future):
                await self._silence(interval)
            return
        name = f"{interval.from_}, {interval.chunk_id}"
        if self._leading:
            await asyncio.to_thread(self._joined.append, sound, 0, 0, name)
            leading, self._leading = self._leading, []
            for hole in leading:
                await self._silence(hole)
        await asyncio.to_thread(self._joined.append, sound, interval.cut.first, interval.cut.frames, name)
        self._chunks += 1

    async def _silence(self, hole: Interval) -> None:
        """So much that what follows is in its place, also after sound of a card whose rate is a little off."""
        if self._joined.format is None:
            self._leading.append(hole)
            return
        # the first frame whose time is the hole's end or later
        until = -((self._start - hole.to) * self._joined.format.rate // MICROSECONDS)
        frames = until - self._joined.frames
        await asyncio.to_thread(self._joined.silence, max(0, frames))

    def report(self, path: Path, end: Instant, bytes_read: int) -> FetchReport:
        """What was done; FetchError when there was no sound at all."""
        found = self._joined.format
        if found is None:
            raise FetchError(explained(self._holes[0]) if self._holes else "there is no sound to fetch: an empty range")
        return FetchReport(
            path=path,
            from_=self._start,
            to=end,
            rate=found.rate,
            channels=found.channels,
            frames=self._joined.frames,
            chunks=self._chunks,
            bytes_read=bytes_read,
            holes=tuple(self._holes),
        )


def put_in_place(unfinished: Path, path: Path) -> None:
    """Gives a file that is on disk its name; the caller syncs the folder. Raises OSError."""
    descriptor = os.open(unfinished, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    unfinished.replace(path)
