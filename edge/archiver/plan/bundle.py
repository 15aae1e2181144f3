"""Names, sizes and CRC-32s -> the exact bytes of a zip archive, any range of them, without a file on disk.

Stored members only, sizes and CRC-32s in the local headers, fixed times, zip64 fields only where a number needs them.
Layout after PKWARE's APPNOTE 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from edge.core.errors import ChunkDamaged

PIECE = 262_144  # bytes read from a chunk's file at once
_LIMIT = 0xFFFFFFFF  # a 32-bit field that says: look into the zip64 extra field
_LIMIT_16 = 0xFFFF
_VERSION, _VERSION_ZIP64 = 20, 45
_UNIX = 3 << 8  # made by: the external attributes are Unix modes
_MODE = 0o100644 << 16
_DATE = 1 << 5 | 1  # 1980-01-01, the first day that zip can tell; times lie in the manifest


class Entry(NamedTuple):
    """One member: its name (ASCII), and its data's size in bytes and CRC-32."""

    name: str
    size: int
    crc32: int


OpenMember = Callable[[str], BinaryIO]


class _Segment(NamedTuple):
    offset: int
    size: int
    literal: bytes  # empty: the data of `entry`
    entry: Entry | None


class Bundle:
    """An archive of `entries`, whose data come from files, then `manifest` under its own name, from memory."""

    def __init__(self, entries: Sequence[Entry], manifest: bytes = b"", manifest_name: str = "manifest.json") -> None:
        self.entries = tuple(entries)
        self._segments: list[_Segment] = []
        self.size = 0
        central: list[bytes] = []
        for entry in self.entries:
            central.append(_central_header(entry, self.size))
            self._add(_local_header(entry))
            if entry.size:
                self._append(_Segment(self.size, entry.size, b"", entry))
        if manifest:
            last = Entry(manifest_name, len(manifest), zlib.crc32(manifest))
            central.append(_central_header(last, self.size))
            self._add(_local_header(last) + manifest)
        directory = b"".join(central)
        self._add(directory + _end(len(central), len(directory), self.size))

    def read(self, offset: int, length: int, open_member: OpenMember) -> Iterator[bytes]:
        """The bytes [offset, offset + length) in pieces. Raises ChunkDamaged when a file is gone or too short."""
        end = min(offset + length, self.size)
        for segment in self._segments:
            first, last = max(offset, segment.offset), min(end, segment.offset + segment.size)
            if first >= last:
                continue
            start = first - segment.offset
            if segment.entry is None:
                yield segment.literal[start : start + last - first]
            else:
                yield from _pieces(segment.entry, start, last - first, open_member)

    def stream(self, open_member: OpenMember) -> Iterator[bytes]:
        """All bytes in order. Raises ChunkDamaged before a member's last byte when its file is not what was planned."""
        for segment in self._segments:
            if segment.entry is None:
                yield segment.literal
            else:
                yield from _checked(segment.entry, open_member)

    def _add(self, literal: bytes) -> None:
        self._append(_Segment(self.size, len(literal), literal, None))

    def _append(self, segment: _Segment) -> None:
        self._segments.append(segment)
        self.size += segment.size


def offsets(entries: Sequence[Entry]) -> list[int]:
    """Where each member's data begin, from the archive's first byte."""
    places, at = [], 0
    for entry in entries:
        at += len(_local_header(entry))
        places.append(at)
        at += entry.size
    return places


def check(entry: Entry, open_member: OpenMember) -> None:
    """Reads a member once; raises ChunkDamaged when it is not what was planned."""
    for _ in _checked(entry, open_member):
        pass


def _pieces(entry: Entry, start: int, length: int, open_member: OpenMember) -> Iterator[bytes]:
    try:
        with open_member(entry.name) as file:
            file.seek(start)
            while length:
                piece = file.read(min(PIECE, length))
                if not piece:
                    raise _damaged(entry, "is shorter than its manifest says")
                length -= len(piece)
                yield piece
    except FileNotFoundError:
        raise _damaged(entry, "is missing") from None
    except OSError as problem:
        raise _damaged(entry, f"cannot be read ({problem.strerror})") from None


def _checked(entry: Entry, open_member: OpenMember) -> Iterator[bytes]:
    crc, left = 0, entry.size
    for piece in _pieces(entry, 0, entry.size, open_member):
        crc = zlib.crc32(piece, crc)
        left -= len(piece)
        if not left and crc != entry.crc32:
            raise _damaged(entry, "is not what its manifest says (CRC-32 differs)")
        yield piece


def _damaged(entry: Entry, what: str) -> ChunkDamaged:
    chunk_id = entry.name.split(".", maxsplit=1)[0]
    return ChunkDamaged(f"{entry.name} in the spool {what}; it is left there and not archived", chunk_id)


def _local_header(entry: Entry) -> bytes:
    name, large = entry.name.encode("ascii"), entry.size >= _LIMIT
    extra = struct.pack("<HHQQ", 1, 16, entry.size, entry.size) if large else b""
    size = _LIMIT if large else entry.size
    version = _VERSION_ZIP64 if large else _VERSION
    fields = (0x04034B50, version, 0, 0, 0, _DATE, entry.crc32, size, size, len(name), len(extra))
    return struct.pack("<IHHHHHIIIHH", *fields) + name + extra


def _central_header(entry: Entry, header_at: int) -> bytes:
    name, large, far = entry.name.encode("ascii"), entry.size >= _LIMIT, header_at >= _LIMIT
    numbers = ([entry.size, entry.size] if large else []) + ([header_at] if far else [])
    extra = struct.pack(f"<HH{len(numbers)}Q", 1, 8 * len(numbers), *numbers) if numbers else b""
    size, offset = (_LIMIT if large else entry.size), (_LIMIT if far else header_at)
    version = _VERSION_ZIP64 if numbers else _VERSION
    head = (0x02014B50, version | _UNIX, version, 0, 0, 0, _DATE, entry.crc32, size, size, len(name), len(extra))
    return struct.pack("<IHHHHHHIIIHHHHHII", *head, 0, 0, 0, _MODE, offset) + name + extra


def _end(count: int, directory_size: int, directory_at: int) -> bytes:
    """End of central directory, with the zip64 records before it where a number does not fit."""
    fits = count < _LIMIT_16 and directory_size < _LIMIT and directory_at < _LIMIT
    zip64 = b""
    if not fits:
        record = (0x06064B50, 44, _VERSION_ZIP64 | _UNIX, _VERSION_ZIP64, 0, 0, count, count)
        zip64 = struct.pack("<IQHHIIQQQQ", *record, directory_size, directory_at)
        zip64 += struct.pack("<IIQI", 0x07064B50, 0, directory_at + directory_size, 1)
    short = min(count, _LIMIT_16)
    last = (0x06054B50, 0, 0, short, short, min(directory_size, _LIMIT), min(directory_at, _LIMIT), 0)
    return zip64 + struct.pack("<IHHHHIIH", *last)
