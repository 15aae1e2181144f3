"""What passes between the query service and the process that decodes what is being recorded."""

from __future__ import annotations

from msgspec import Struct


class LiveOrder(Struct, frozen=True):
    """The first line of its input: which spool to follow, and the names that its node has or had."""

    spool: str
    names: tuple[str, ...]


class LiveFormat(Struct, frozen=True):
    """The first line of its output; then come samples, little-endian, until the sound or its format ends."""

    rate: int  # frames per second
    channels: int
    bits: int

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.bits // 8
