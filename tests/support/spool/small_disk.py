"""A spool on a disk that is full from a certain number of chunks on, and that counts the manifests that are read."""

from __future__ import annotations

from pathlib import Path

from edge.core.values import Chunk
from edge.spool.chunks import SpoolChunks
from edge.spool.disk_space import DiskSpace
from edge.spool.layout import SpoolLayout
from edge.spool.spool import Spool


class CountingChunks(SpoolChunks):
    read = 0

    def manifest(self, chunk_id: str) -> Chunk:
        self.read += 1
        return super().manifest(chunk_id)


class SmallDisk(DiskSpace):
    """Nearly full while it holds more than `room_for` chunks."""

    def __init__(self, layout: SpoolLayout, chunks: SpoolChunks, room_for: int) -> None:
        super().__init__(layout, chunks)
        self._finished = chunks.finished
        self.room_for = room_for

    def free_bytes(self) -> int:
        super().free_bytes()  # fails where the folder is missing
        return 10**9 if len(self._finished()) <= self.room_for else 10_000

    def total_bytes(self) -> int:
        super().total_bytes()
        return 10**10


class SpoolOnSmallDisk(Spool):
    def __init__(self, path: Path, node: str, room_for: int = 100_000) -> None:
        super().__init__(path, node)
        self.chunks: CountingChunks = CountingChunks(self.layout, self.names)
        self.disk: SmallDisk = SmallDisk(self.layout, self.chunks, room_for)
