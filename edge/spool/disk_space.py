"""Room on the spool's disk."""

from __future__ import annotations

import os

from edge.core.errors import SpoolError
from edge.spool.chunks import PartFile, SpoolChunks
from edge.spool.files import raises_spool_error
from edge.spool.layout import SpoolLayout

_RESERVE_BYTES = 20_000_000  # kept free, to finish the current chunk and for everybody else's logs
_RESERVE_FRACTION = 20  # but never more than one in so many bytes of a small disk


@raises_spool_error
class DiskSpace:
    """Free, reserved and promised bytes of the disk that the spool is on."""

    def __init__(self, layout: SpoolLayout, chunks: SpoolChunks) -> None:
        self._layout = layout
        self._chunks = chunks

    def free_bytes(self) -> int:
        """What is left for users other than root."""
        stat = self._statvfs()
        return stat.f_bavail * stat.f_frsize

    def total_bytes(self) -> int:
        stat = self._statvfs()
        return stat.f_blocks * stat.f_frsize

    def reserve_bytes(self) -> int:
        """What the recorder leaves free."""
        return min(_RESERVE_BYTES, self.total_bytes() // _RESERVE_FRACTION)

    def pending_tmpfs_bytes(self) -> list[int]:
        """For each part on tmpfs, sorted by name, the bytes that have yet to be written to this disk."""
        parts = [part for folder in self._layout.folders()[1:] for part in self._chunks.parts_in(folder)]
        return [self._pending(part) for part in sorted(parts)]

    def _pending(self, part: PartFile) -> int:
        encrypted = self._layout.path / f"{part.chunk_id}.{part.format}.age"
        try:
            return max(0, part.bytes - encrypted.with_name(f"{encrypted.name}.tmp").stat().st_size)
        except FileNotFoundError:  # not begun, or done: checked in this order, because it may be renamed in between
            return 0 if encrypted.exists() else part.bytes
        except OSError as problem:
            raise self._layout.unavailable_error(problem) from None

    def ensure_room(self, size: int) -> None:
        """SpoolError unless half the reserve is left after `size` more bytes: finishing a chunk may use up the rest.

        Called before they are written, so that a full disk is not filled to the brim again and again.
        """
        if self.free_bytes() < size + self.reserve_bytes() // 2:
            raise self.disk_full_error(size)

    def disk_full_error(self, size: int = 0) -> SpoolError:
        """States what is needed to write `size` bytes and then record, not what is free: that changes all the time,
        and each new message would be published."""
        needed = (2 * self.reserve_bytes() + size) / 1_000_000
        return SpoolError(
            f"the disk of {self._layout.path} is full; recording resumes once {needed:.3g} MB are free:"
            " make room, or let it be archived"
        )

    def _statvfs(self) -> os.statvfs_result:
        try:
            return os.statvfs(self._layout.path)
        except OSError as problem:
            raise self._layout.unavailable_error(problem) from None
