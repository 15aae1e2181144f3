"""Fetches the sound of a range: queries its coverage page by page, gets the chunks, cuts and joins them."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from edge.core.errors import FetchError
from edge.core.files import sync_folder
from edge.core.instant import MICROSECONDS, Instant
from query_service.client.paging import NodeClient, coverage_pages
from query_service.queries.values import (
    Future,
    Interval,
    Pending,
    Recorded,
    Recording,
)
from query_service.sound.audio import JoinedSound, output_kind
from query_service.sound.download import downloads
from query_service.sound.fetching import Fetching, Step, local_file
from query_service.sound.report import FetchProgress, FetchReport, Gaps, OnProgress

if TYPE_CHECKING:
    from query_service.sound.decryption import Keys

log = logging.getLogger(__name__)


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
            if not isinstance(interval, Recorded) and local_file(client, interval) is None:
                raise SoundMissing(interval)


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
