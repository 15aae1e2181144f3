"""A sound file that the recorder is still writing, read from near its end on while it grows."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

from query_service.sound.flac_frames import BLOCK, audio_offset, frame_starts
from query_service.sound.wav import samples_offset

_HEAD = 65_536  # bytes that hold everything before the first frame
_TAIL = 1 << 18  # bytes that hold a frame's beginning: one of 8 channels takes 100 kB
_ENDLESS = 1 << 40  # libsndfile takes the length of a file once, and reads no further


class GrowingFile(io.RawIOBase):
    """Reads forward, and waits at the end. Raises nothing while libsndfile reads it, which would not hear of it."""

    def __init__(self, path: Path, has_more: Callable[[], bool]) -> None:
        """`has_more` waits until the file may have grown; False once nothing is added to it any more. OSError."""
        super().__init__()
        self._file = path.open("rb", buffering=0)
        self._has_more = has_more
        self._is_over = False
        self._head_end = self._resume = 0

    @property
    def inode(self) -> int:
        return os.fstat(self._file.fileno()).st_ino

    def skip_to_frame(self, frames: int) -> bool:
        """Of a FLAC file: after its header, begins to read at most that many frames, and a block, before its end.

        Waits for the header; False where there will be none.
        """
        while (first := audio_offset(head := self._at(0, _HEAD))) is None:
            if not self._has_more():
                return False
        begin = max(first, self._size() - _TAIL)
        found = list(frame_starts(self._at(begin, _TAIL), head[first : first + 4]))
        if found:
            earliest = found[-1].number - frames // BLOCK - 1
            self._head_end = first
            self._resume = begin + next(start.offset for start in found if start.number >= earliest)
        return True

    def skip_to_sample(self, frame_bytes: int, frames: int) -> bool:
        """Of a WAV file: skips the header, and all but at most the last `frames` whole frames.

        Waits for the header; False where there will be none.
        """
        while (first := samples_offset(self._at(0, _HEAD))) is None:
            if not self._has_more():
                return False
        self._file.seek(first + max(0, (self._size() - first) // frame_bytes - frames) * frame_bytes)
        return True

    def _at(self, offset: int, count: int) -> bytes:
        return os.pread(self._file.fileno(), count, offset)

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # soundfile and `read` hand one of these
        view = memoryview(buffer)
        if self._file.tell() < self._head_end:
            view = view[: self._head_end - self._file.tell()]
        elif self._file.tell() == self._head_end < self._resume:
            self._file.seek(self._resume)
        while True:
            count = self._file.readinto(view)
            if count or self._is_over:
                return count or 0
            self._is_over = not self._has_more()  # and what came before that is read below

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(_ENDLESS) if whence == io.SEEK_END else self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()
