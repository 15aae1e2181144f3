"""The body of a request, sent no faster than allowed."""

from __future__ import annotations

from typing import BinaryIO, Protocol


class Pace(Protocol):
    """`wait` returns once so many more bytes may be sent; it is called for at most `step` bytes at a time."""

    @property
    def step(self) -> int: ...

    def wait(self, size: int) -> None: ...


class PacedBody:
    """`body` as a file that is read, and so sent, at `pace`. Bytes are not copied as a whole: a part takes 8 MB."""

    def __init__(self, body: bytes | bytearray | BinaryIO, pace: Pace) -> None:
        self._body, self._pace = body, pace
        self._at = 0

    def read(self, size: int = -1) -> bytes | bytearray:
        """At most one step; empty at the end."""
        most = self._pace.step if size < 0 else min(size, self._pace.step)
        if isinstance(self._body, bytes | bytearray):
            piece = self._body[self._at : self._at + most]
            self._at += len(piece)
        else:
            piece = self._body.read(most)
        self._pace.wait(len(piece))
        return piece

    def seek(self, offset: int) -> int:
        if not isinstance(self._body, bytes | bytearray):
            return self._body.seek(offset)
        self._at = offset
        return offset
