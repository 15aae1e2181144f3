"""The process that joins chunks to a stream of samples, FLAC or Opus: `python -m query_service.sound.encoder`.

Its standard input says what to make, then what to take, a line each (`encoder_messages`). Its standard output is the
encoded sound; its standard error answers each instruction with DONE, or with what is wrong, and then exit code 1. It
ends with its input, and gives back all its memory: NumPy and libsndfile take 40 MB that the query service does without.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import BinaryIO

from edge.core import wire
from edge.core.errors import FetchError
from query_service.sound.audio import JoinedSound, SoundFormat
from query_service.sound.encoder_messages import DONE, Output, Silence, Take

_BEFORE = 8  # bytes of a FLAC stream before STREAMINFO: "fLaC" and a block header
_STREAMINFO = 34  # bytes
_TOTAL = 13  # the byte of STREAMINFO whose lower half begins the 36 bits of the number of frames: RFC 9639, 8.2


class ForwardOnly(io.RawIOBase):
    """What libsndfile writes to: each byte is passed on at once.

    libFLAC completes its header at the end; here it gets the number of frames before it leaves, and what is written
    over bytes that have left is dropped.
    """

    def __init__(self, output: BinaryIO, frames: int, *, is_flac: bool) -> None:
        super().__init__()
        self._output = output
        self._frames = frames
        self._head: bytearray | None = bytearray() if is_flac else None
        self._position = self._end = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        new = bytes(data)[max(0, self._end - self._position) :]
        self._position += len(data)
        self._end = max(self._end, self._position)
        if self._head is None:
            self._output.write(new)
        else:
            self._head += new
            if len(self._head) >= _BEFORE + _STREAMINFO:
                self._complete(self._head)
                self._head = None
        return len(data)

    def _complete(self, head: bytearray) -> None:
        place = slice(_BEFORE + _TOTAL, _BEFORE + _TOTAL + 5)
        packed = int.from_bytes(head[place], "big") >> 36 << 36 | self._frames
        head[place] = packed.to_bytes(5, "big")
        self._output.write(head)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True


def main() -> int:
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    try:
        made = wire.decode(source.readline(), Output)
        joined = JoinedSound(ForwardOnly(sink, made.frames, is_flac=made.kind == "FLAC"), made.kind)  # type: ignore[arg-type]
        joined.start(SoundFormat(made.rate, made.channels, f"PCM_{made.bits}"), "the range")
        for line in source:
            order = wire.decode(line, Take | Silence)  # type: ignore[arg-type]
            if isinstance(order, Silence):
                joined.silence(order.frames)
            else:
                joined.append(Path(order.path), order.first, order.frames, order.name)
            _say(DONE)
        joined.close()
        sink.flush()
    except FetchError as problem:
        _say(f"{problem}\n".encode())
        return 1
    except BrokenPipeError:  # nobody listens any more
        return 1
    return 0


def _say(text: bytes) -> None:
    sys.stderr.buffer.write(text)
    sys.stderr.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
