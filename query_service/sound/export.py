"""Exports the chunks of a range as WAV files that bioacoustics programs read: whole chunks, named by their time.

Their metadata is GUANO 1.0 (github.com/riggsd/guano-spec): UTF-8 lines `Key: value` in a RIFF chunk `guan`.
"""

from __future__ import annotations

import asyncio
import os
import struct
import tempfile
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from edge import __version__
from edge.configuration.settings import Node
from edge.core.errors import FetchError
from edge.core.files import sync_folder
from edge.core.instant import FIRST, MICROSECONDS, Instant
from query_service.client.paging import NodeClient, coverage_pages
from query_service.queries.values import Interval, Pending, Recorded
from query_service.sound.audio import JoinedSound
from query_service.sound.download import downloads
from query_service.sound.fetch import explained, put_in_place
from query_service.sound.fetching import Fetching
from query_service.sound.report import FetchProgress, OnProgress

if TYPE_CHECKING:
    from query_service.sound.decryption import Keys

_LONGEST_CHUNK = 3_600 * MICROSECONDS  # what [recorder] record_period allows
_MARGIN = 60 * MICROSECONDS
_RIFF_HEADER = struct.Struct("<4sI4s")
_CHUNK_HEADER = struct.Struct("<4sI")
_LARGEST_RIFF = 2**32 - 1


class ExportedFile(Struct, frozen=True, kw_only=True):
    """One file: all frames of one chunk."""

    path: Path
    chunk_id: str
    started_at: Instant
    frames: int
    rate: int


class ExportReport(Struct, frozen=True, kw_only=True):
    """What was written. `holes`: every stretch of the range without sound, as the node explained it. `bytes_read`: from
    the store.
    """

    folder: Path
    files: tuple[ExportedFile, ...]
    bytes_read: int
    holes: tuple[Interval, ...]


async def export_sound(
    client: NodeClient,
    start: Instant,
    end: Instant,
    folder: Path,
    about: Node,
    *,
    utc: bool = False,
    on_progress: OnProgress | None = None,
    timeout: float = 10.0,
    keys: Keys | None = None,
    ca_file: str = "",
) -> ExportReport:
    """Writes each chunk with sound in [start, end) to `folder` as `NODE_YYYYMMDD_HHMMSS.wav`, bit-exact, with GUANO.

    `about` says where the node stands. Names and timestamps are in this machine's local time, or in `utc`. A file that
    is there already is written over. `keys` open what is encrypted; `ca_file` as for `fetch_sound`. Raises FetchError,
    QueryRefused, DoorError.
    """
    if not folder.is_dir():
        raise FetchError(f"{folder}: there is no such folder; make it first")
    export = _Export(client, folder, about, utc, timeout)
    holes: list[Interval] = []
    async with downloads(ca_file) as downloader:
        with tempfile.TemporaryDirectory(prefix=".imhearing-", dir=folder) as scratch:
            fetching = Fetching(client, downloader, Path(scratch), timeout, keys)
            async for step in fetching.steps(start, end):
                sound, interval = step.sound.result(), step.interval
                if sound is None or not isinstance(interval, Recorded | Pending):
                    holes.append(interval)
                else:
                    await export.add(interval, sound)
                if on_progress is not None:
                    on_progress(FetchProgress(interval.to - start, end - start, downloader.bytes_read))
    if not export.files:
        raise FetchError(f"there is nothing to export: {explained(holes[0]) if holes else 'the range is empty'}")
    await asyncio.to_thread(sync_folder, folder)
    return ExportReport(
        folder=folder, files=tuple(export.files), bytes_read=downloader.bytes_read, holes=tuple(holes)
    )  # fmt: skip


class _Export:
    """Writes one file for each chunk that it is given, the first time."""

    def __init__(self, client: NodeClient, folder: Path, about: Node, utc: bool, timeout: float) -> None:
        self._client, self._folder, self._about, self._utc, self._timeout = client, folder, about, utc, timeout
        self.files: list[ExportedFile] = []
        self._done: set[str] = set()
        self._names: set[str] = set()

    async def add(self, interval: Recorded | Pending, sound: Path) -> None:
        if interval.chunk_id in self._done:  # another chunk claims a part of its time
            return
        self._done.add(interval.chunk_id)
        started = await self._start_of(interval)
        path = self._folder / self._free_name(_local(started, self._utc))
        fields = describe(interval, started, self._client.node, self._about, self._utc)
        await asyncio.to_thread(_write, sound, path, interval, fields)
        self.files.append(
            ExportedFile(
                path=path,
                chunk_id=interval.chunk_id,
                started_at=started,
                frames=interval.frames,
                rate=interval.rate,
            )
        )

    async def _start_of(self, interval: Recorded | Pending) -> Instant:
        """When the chunk's first frame was captured; queried where the range begins within it."""
        if interval.cut.first == 0:
            return interval.from_
        earliest = Instant(max(FIRST, interval.from_ - _LONGEST_CHUNK - _MARGIN))
        async for page in coverage_pages(self._client, earliest, interval.to, self._timeout):
            for part in page.intervals:
                if isinstance(part, Recorded | Pending) and part.chunk_id == interval.chunk_id and not part.cut.first:
                    return part.from_
        return Instant(interval.from_ - interval.cut.first * MICROSECONDS // interval.rate)

    def _free_name(self, started: datetime) -> str:
        """Two chunks may begin in one second, or in the hour that comes twice in autumn: then with a number."""
        stem = name = f"{self._client.node}_{started:%Y%m%d_%H%M%S}"
        number = 0
        while name in self._names:
            number += 1
            name = f"{stem}_{number:03d}"
        self._names.add(name)
        return f"{name}.wav"


def describe(
    interval: Recorded | Pending, started: Instant, node: str, about: Node, utc: bool = False
) -> dict[str, str]:
    """The GUANO fields of one chunk; those that are not known are empty, and so left out."""
    unit = interval.unit or "dBFS"
    return {
        "Timestamp": _local(started, utc).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "Length": f"{interval.frames / interval.rate:.6f}",
        "Samplerate": str(interval.rate),
        "Make": "Im Hearing",
        "Model": "edge node",
        "Serial": node,
        "Firmware Version": __version__,
        "Loc Position": f"{about.latitude} {about.longitude}" if about.latitude and about.longitude else "",
        "Note": about.location,
        "ImHearing|Node": node,
        "ImHearing|Chunk": interval.chunk_id,
        "ImHearing|Clock": "uncertain" if interval.uncertain else "synchronised",
        f"ImHearing|LAeq {unit}": "" if interval.laeq is None else str(interval.laeq),
        f"ImHearing|LAFmax {unit}": "" if interval.lafmax is None else str(interval.lafmax),
    }


def _local(moment: Instant, utc: bool) -> datetime:
    return moment.datetime() if utc else moment.datetime().astimezone()


def _write(sound: Path, path: Path, interval: Recorded | Pending, fields: dict[str, str]) -> None:
    unfinished = sound.with_suffix(".export")
    try:
        with closing(JoinedSound(unfinished, "WAV", interval.frames / interval.rate)) as joined:
            joined.append(sound, 0, interval.frames, interval.chunk_id)
        append_guano(unfinished, fields | {"Original Filename": path.name})
        put_in_place(unfinished, path)
    except OSError as problem:
        raise FetchError(f"{path}: cannot be written ({problem.strerror})") from None
    finally:
        unfinished.unlink(missing_ok=True)


def guano_chunk(fields: Mapping[str, str]) -> bytes:
    """The metadata as the chunk's bytes, an even number of them; `GUANO|Version` goes before `fields`.

    A newline in a value becomes `\\n`, as the specification has it; other control characters become spaces.
    """
    lines = [f"{_plain(key).replace(':', ' ')}: {_plain(value)}\n" for key, value in fields.items() if value]
    data = ("GUANO|Version: 1.0\n" + "".join(lines)).encode()
    return data + b" " * (len(data) % 2)


def append_guano(path: Path, fields: Mapping[str, str]) -> None:
    """Adds the metadata to the WAV file `path`, after all that is there. FetchError, OSError."""
    data = guano_chunk(fields)
    with path.open("r+b") as file:
        kind, _, form = _RIFF_HEADER.unpack(file.read(_RIFF_HEADER.size).ljust(_RIFF_HEADER.size, b"\0"))
        if (kind, form) != (b"RIFF", b"WAVE"):
            raise FetchError(f"{path.name}: is too large for a WAV file with metadata; use a shorter record_period")
        length = file.seek(0, os.SEEK_END)
        if length % 2:
            file.write(b"\0")
            length += 1
        whole = length + _CHUNK_HEADER.size + len(data)
        if whole - 8 > _LARGEST_RIFF:
            raise FetchError(f"{path.name}: is too large for a WAV file with metadata; use a shorter record_period")
        file.write(_CHUNK_HEADER.pack(b"guan", len(data)) + data)
        file.seek(4)
        file.write(struct.pack("<I", whole - 8))


def _plain(text: str) -> str:
    text = text.strip().replace("\r\n", "\n").replace("\n", "\\n")
    return "".join(char if char.isprintable() else " " for char in text)
