"""Where frames begin in a FLAC file, by their headers: RFC 9639. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

BLOCK = 4_096  # samples of each channel in a frame: libFLAC's
_LIKE = 4  # bytes of a frame's header that most frames of a file share
_HEADER_BYTES = 16  # of a frame, at most: RFC 9639, 9.1
_UNCOMMON_BLOCK, _UNCOMMON_RATE = {6: 1, 7: 2}, {12: 1, 13: 2, 14: 2}  # bytes that follow the number, by code


class FrameStart(NamedTuple):
    offset: int
    number: int  # of the frame, in its file


def audio_offset(head: bytes) -> int | None:
    """Where the first frame begins; None where `head` does not reach into it, or is of no FLAC file."""
    offset, is_last = 4, False
    if head[:4] != b"fLaC":
        return None
    while not is_last:
        if len(head) < offset + 4:
            return None
        is_last = bool(head[offset] & 0x80)
        offset += 4 + int.from_bytes(head[offset + 1 : offset + 4], "big")
    return offset if offset + _LIKE <= len(head) else None


def frame_starts(data: bytes, like: bytes) -> Iterator[FrameStart]:
    """Each frame in `data` that is as long as the one whose header `like` begins with, and not the last of its file.

    Chance looks like a header once in 10^11 bytes.
    """
    offset = data.find(like[:3])
    while offset >= 0:
        if data[offset + 3 : offset + 4] and (data[offset + 3] ^ like[3]) & 0x0F == 0:
            number = _number(data[offset : offset + _HEADER_BYTES])
            if number is not None:
                yield FrameStart(offset, number)
        offset = data.find(like[:3], offset + 1)


def _number(header: bytes) -> int | None:
    """The number of the frame whose header that is; None if it is none."""
    if len(header) < 6:
        return None
    first = header[4]  # coded like UTF-8
    ones = 8 - (first ^ 0xFF).bit_length()
    if ones in (1, 8):
        return None
    more = max(0, ones - 1)
    number = first & (0x7F >> ones)
    for byte in header[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    end = 5 + more + _UNCOMMON_BLOCK.get(header[2] >> 4, 0) + _UNCOMMON_RATE.get(header[2] & 0x0F, 0)
    if len(header) <= end or _crc8(header[:end]) != header[end]:
        return None
    return number


def _crc8(data: bytes) -> int:
    """RFC 9639, 9.1.8: polynomial x^8 + x^2 + x + 1, from 0."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc
