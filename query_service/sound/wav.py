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
        form = struct.pack(
            "<4sIHHIIHH", b"fmt ", 16, 1, self.channels, self.rate, self.rate * self.frame_bytes, self.frame_bytes,
            self.bits,
        )  # fmt: skip
        if _HEADER - 8 + rest <= _MOST:
            return _riff(b"RIFF", _HEADER - 8 + rest) + form + struct.pack("<4sI", b"data", data)
        sizes = struct.pack("<4sIQQQI", b"ds64", 28, _RF64_HEADER - 8 + rest, data, self.frames, 0)
        return _riff(b"RF64", _MOST) + sizes + form + struct.pack("<4sI", b"data", _MOST)

    def frames_of(self, wanted: ByteRange) -> tuple[int, int, int]:
        """The frames that hold these bytes: the first, the end (exclusive), and how many bytes of the first to skip."""
        first, end = (max(0, place - len(self.header)) for place in wanted)
        end_frame = min(self.frames, -(-end // self.frame_bytes))
        return min(end_frame, first // self.frame_bytes), end_frame, first % self.frame_bytes


def _riff(name: bytes, size: int) -> bytes:
    return struct.pack("<4sI4s", name, size, b"WAVE")
