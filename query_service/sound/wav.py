"""The arithmetic of a WAV file of known length: its header, and which frames hold which bytes. Pure."""

from __future__ import annotations

import struct
from typing import NamedTuple

_MOST = 2**32 - 1
_HEADER, _RF64_HEADER = 44, 80  # bytes


class ByteRange(NamedTuple):
    first: int
    end: int  # exclusive


class WavFile(NamedTuple):
    rate: int  # frames per second
    channels: int
    bits: int
    frames: int

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.bits // 8

    @property
    def size(self) -> int:
        data = self.frames * self.frame_bytes
        return len(self.header) + data + data % 2  # a chunk of RIFF has an even length

    @property
    def header(self) -> bytes:
        """RIFF, or RF64 (EBU Tech 3306) if 32 bits cannot count the bytes."""
        data = self.frames * self.frame_bytes
        rest = data + data % 2
        form = _form(self.rate, self.channels, self.bits)
        if _HEADER - 8 + rest <= _MOST:
            return _riff(b"RIFF", _HEADER - 8 + rest) + form + struct.pack("<4sI", b"data", data)
        sizes = struct.pack("<4sIQQQI", b"ds64", 28, _RF64_HEADER - 8 + rest, data, self.frames, 0)
        return _riff(b"RF64", _MOST) + sizes + form + struct.pack("<4sI", b"data", _MOST)

    def frames_of(self, wanted: ByteRange) -> tuple[int, int, int]:
        """The frames that hold these bytes: the first, the end (exclusive), and how many bytes of the first to skip."""
        first, end = (max(0, place - len(self.header)) for place in wanted)
        end_frame = min(self.frames, -(-end // self.frame_bytes))
        return min(end_frame, first // self.frame_bytes), end_frame, first % self.frame_bytes


def samples_offset(head: bytes) -> int | None:
    """Where the samples of a WAV file begin; None where `head` does not reach that far, or is of no such file."""
    offset = 12
    while head[offset : offset + 4] != b"data":
        if head[:4] != b"RIFF" or len(head) < offset + 8:
            return None
        offset += 8 + int.from_bytes(head[offset + 4 : offset + 8], "little")
    return offset + 8 if offset + 8 <= len(head) else None


def endless_header(rate: int, channels: int, bits: int) -> bytes:
    """Of a WAV file that is sent while it is recorded: readers take that length for none."""
    form = _form(rate, channels, bits)
    return _riff(b"RIFF", _MOST) + form + struct.pack("<4sI", b"data", _MOST)


def _form(rate: int, channels: int, bits: int) -> bytes:
    frame_bytes = channels * bits // 8
    return struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * frame_bytes, frame_bytes, bits)


def _riff(name: bytes, size: int) -> bytes:
    return struct.pack("<4sI4s", name, size, b"WAVE")
