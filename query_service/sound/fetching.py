"""Brings the files of a range's chunks, from the spool or the store, each checked by its SHA-256. Decodes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import shutil
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edge.core.errors import FetchError
from edge.core.instant import Instant
from query_service.client.paging import LocalFile, LocalFiles, NodeClient, coverage_pages
from query_service.queries.values import ArchivePlace, Gap, Interval, Pending, Recorded, why_incomplete
from query_service.sound.download import Downloader, LinkRefused

if TYPE_CHECKING:
    from query_service.sound.decryption import Keys

log = logging.getLogger(__name__)

_AT_ONCE = 3  # chunks on their way
_AHEAD = 6  # intervals looked at before they are written
_FRESH_LINKS = 2  # how often a refused link is requested again


class Placed(NamedTuple):
    """An interval, and where the archives of its page are."""

    interval: Interval
    archives: dict[str, ArchivePlace]


class Step(NamedTuple):
    """One interval of the range, and the file of its sound: None without sound."""

    interval: Interval
    sound: asyncio.Task[Path | None]


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
        """As `bring`, for the intervals of a range."""
        async for step in self.bring(self._intervals(start, end)):
            yield step

    async def _intervals(self, start: Instant, end: Instant) -> AsyncIterator[Placed]:
        is_warned = False
        async for page in coverage_pages(self._client, start, end, self._timeout, urls=True):
            if page.incomplete and not is_warned and any(isinstance(interval, Gap) for interval in page.intervals):
                log.warning("%s counts as a gap", why_incomplete(page))
                is_warned = True
            for interval in page.intervals:
                yield Placed(interval, page.archives)

    async def bring(self, intervals: AsyncIterator[Placed]) -> AsyncIterator[Step]:
        """The intervals in order, their sound ready. A file is removed once the next step is requested."""
        started: deque[Step] = deque()
        try:
            async for interval, archives in intervals:
                started.append(Step(interval, asyncio.create_task(self._sound(interval, archives))))
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
        here = local_file(self._client, interval)
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


def local_file(client: NodeClient, interval: Interval) -> LocalFile | None:
    if not isinstance(interval, Recorded | Pending) or not isinstance(client, LocalFiles):
        return None
    return client.local_file(interval.chunk_id)
