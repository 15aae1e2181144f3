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
_LIMIT = 0xFFFFFFFF  # in a 32-bit field: see the zip64 extra field
_LIMIT_16 = 0xFFFF
_VERSION, _VERSION_ZIP64 = 20, 45
_UNIX = 3 << 8  # made by: the external attributes are Unix modes
_MODE = 0o100644 << 16
_DATE = 1 << 5 | 1  # 1980-01-01, the first day that zip can express; the times are in the manifest


class BundleMember(NamedTuple):
    """One member: its name (ASCII), and its data's size in bytes and CRC-32."""

    name: str
    size: int
    crc32: int


OpenMember = Callable[[str], BinaryIO]


class _Segment(NamedTuple):
    offset: int
    size: int
    literal: bytes  # empty: the data of `member`
    member: BundleMember | None


class Bundle:
    """An archive of `members`, whose data come from files, then `manifest` under its own name, from memory."""

    def __init__(
        self, members: Sequence[BundleMember], manifest: bytes = b"", manifest_name: str = "manifest.json"
    ) -> None:
        self.members = tuple(members)
        self._segments: list[_Segment] = []
        self.size = 0
        central: list[bytes] = []
        for member in self.members:
            central.append(_central_header(member, self.size))
            self._add(_local_header(member))
            if member.size:
                self._append(_Segment(self.size, member.size, b"", member))
        if manifest:
            last = BundleMember(manifest_name, len(manifest), zlib.crc32(manifest))
            central.append(_central_header(last, self.size))
            self._add(_local_header(last) + manifest)
        directory = b"".join(central)
        self._add(directory + _end(len(central), len(directory), self.size))

    def read(self, offset: int, length: int, open_member: OpenMember) -> Iterator[bytes]:
        """The bytes [offset, offset + length) in pieces. Raises ChunkDamaged when a file is missing or too short."""
        end = min(offset + length, self.size)
        for segment in self._segments:
            first, last = max(offset, segment.offset), min(end, segment.offset + segment.size)
            if first >= last:
                continue
            start = first - segment.offset
            if segment.member is None:
                yield segment.literal[start : start + last - first]
            else:
                yield from _pieces(segment.member, start, last - first, open_member)

    def stream(self, open_member: OpenMember) -> Iterator[bytes]:
        """All bytes in order. Raises ChunkDamaged before a member's last byte when its file is not what was planned."""
        for segment in self._segments:
            if segment.member is None:
                yield segment.literal
            else:
                yield from _checked(segment.member, open_member)

    def _add(self, literal: bytes) -> None:
        self._append(_Segment(self.size, len(literal), literal, None))

    def _append(self, segment: _Segment) -> None:
        self._segments.append(segment)
        self.size += segment.size


def offsets(members: Sequence[BundleMember]) -> list[int]:
    """Where each member's data begin, from the archive's first byte."""
    places, at = [], 0
    for member in members:
        at += len(_local_header(member))
        places.append(at)
        at += member.size
    return places


def check(member: BundleMember, open_member: OpenMember) -> None:
    """Reads a member once; raises ChunkDamaged when it is not what was planned."""
    for _ in _checked(member, open_member):
        pass


def _pieces(member: BundleMember, start: int, length: int, open_member: OpenMember) -> Iterator[bytes]:
    try:
        with open_member(member.name) as file:
            file.seek(start)
            while length:
                piece = file.read(min(PIECE, length))
                if not piece:
                    raise _damage_error(member, "is shorter than its manifest says")
                length -= len(piece)
                yield piece
    except FileNotFoundError:
        raise _damage_error(member, "is missing") from None
    except OSError as problem:
        raise _damage_error(member, f"cannot be read ({problem.strerror})") from None


def _checked(member: BundleMember, open_member: OpenMember) -> Iterator[bytes]:
    crc, left = 0, member.size
    for piece in _pieces(member, 0, member.size, open_member):
        crc = zlib.crc32(piece, crc)
        left -= len(piece)
        if not left and crc != member.crc32:
            raise _damage_error(member, "is not what its manifest says (CRC-32 differs)")
        yield piece


def _damage_error(member: BundleMember, what: str) -> ChunkDamaged:
    chunk_id = member.name.split(".", maxsplit=1)[0]
    return ChunkDamaged(f"{member.name} in the spool {what}; it is left there and not archived", chunk_id)


def _local_header(member: BundleMember) -> bytes:
    name, large = member.name.encode("ascii"), member.size >= _LIMIT
    extra = struct.pack("<HHQQ", 1, 16, member.size, member.size) if large else b""
    size = _LIMIT if large else member.size
    version = _VERSION_ZIP64 if large else _VERSION
    fields = (0x04034B50, version, 0, 0, 0, _DATE, member.crc32, size, size, len(name), len(extra))
    return struct.pack("<IHHHHHIIIHH", *fields) + name + extra


def _central_header(member: BundleMember, header_at: int) -> bytes:
    name, large, far = member.name.encode("ascii"), member.size >= _LIMIT, header_at >= _LIMIT
    numbers = ([member.size, member.size] if large else []) + ([header_at] if far else [])
    extra = struct.pack(f"<HH{len(numbers)}Q", 1, 8 * len(numbers), *numbers) if numbers else b""
    size, offset = (_LIMIT if large else member.size), (_LIMIT if far else header_at)
    version = _VERSION_ZIP64 if numbers else _VERSION
    head = (0x02014B50, version | _UNIX, version, 0, 0, 0, _DATE, member.crc32, size, size, len(name), len(extra))
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
