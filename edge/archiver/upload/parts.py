"""Cuts an archive's bytes into the parts of an upload, and digests them on the way."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from msgspec import Struct

from edge.archiver.plan.bundle import Bundle, OpenMember

PART = 8 * 1024 * 1024  # bytes; S3 wants at least 5 MiB
_MEBIBYTE = 1024 * 1024
_MOST_PARTS = 10_000  # of one S3 upload


class Digests(Struct, frozen=True):
    """Of the whole archive, in hex. `composite` is what S3 makes of the parts: MD5 of their MD5s, and their number.

    `md5` of more than one part is empty unless `whole_md5` was set.
    """

    sha256: str
    md5: str
    composite: str


class TakenPart(NamedTuple):
    number: int  # from 1
    body: bytearray


class Parts:
    """The parts of `bundle` in order, `size` bytes each. `take` is for one thread at a time.

    `whole_md5` costs as much as everything else here, and few stores report it for an upload in parts.
    """

    def __init__(self, bundle: Bundle, open_member: OpenMember, size: int, whole_md5: bool = False) -> None:
        self._pieces = bundle.stream(open_member)
        self._size = min(size, bundle.size)
        self._left: bytes | memoryview = b""
        self._taken = 0
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if whole_md5 else None
        self._part_md5s: dict[int, str] = {}

    def buffer(self) -> bytearray:
        """Room for one part. Each thread reuses its own, even if the HTTP library still holds it."""
        return bytearray(self._size)

    def take(self, buffer: bytearray) -> TakenPart | None:
        """The next part, in `buffer`, which the last one shortens; None after it. Raises ChunkDamaged."""
        with memoryview(buffer) as room:
            filled = self._fill(room)
        del buffer[filled:]
        if not filled:
            return None
        self._sha256.update(buffer)
        if self._md5 is not None:
            self._md5.update(buffer)
        self._taken += 1
        return TakenPart(self._taken, buffer)

    def _fill(self, room: memoryview) -> int:
        filled = 0
        while filled < len(room):
            piece = self._left or next(self._pieces, b"")
            if not piece:
                break
            fits = min(len(piece), len(room) - filled)
            room[filled : filled + fits] = piece[:fits]
            self._left = memoryview(piece)[fits:]
            filled += fits
        return filled

    def md5(self, part: TakenPart) -> str:
        """The MD5 of one taken part; may run in several threads."""
        digest = hashlib.md5(part.body, usedforsecurity=False).hexdigest()
        self._part_md5s[part.number] = digest
        return digest

    def digests(self) -> Digests:
        """Once `take` gave None and every part went through `md5`."""
        md5s = [self._part_md5s[number] for number in sorted(self._part_md5s)]
        composite = hashlib.md5(b"".join(map(bytes.fromhex, md5s)), usedforsecurity=False).hexdigest()
        only = md5s[0] if len(md5s) == 1 else ""
        whole = self._md5.hexdigest() if self._md5 is not None else only
        return Digests(self._sha256.hexdigest(), whole, f"{composite}-{len(md5s)}")


def part_size(size: int, smallest: int = PART) -> int:
    """Bytes of each part but the last: always the same for the same archive, and at most 10,000 parts."""
    if size <= smallest * _MOST_PARTS:
        return smallest
    return -(-size // _MOST_PARTS // _MEBIBYTE) * _MEBIBYTE
