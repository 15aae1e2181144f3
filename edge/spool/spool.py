"""The spool: a folder of finished chunks with manifests and small state files.

The recorder alone adds to it, the archiver alone removes finished chunks, everybody else only reads.
"""

from __future__ import annotations

import os
from pathlib import Path

from edge.core.errors import SpoolError
from edge.core.files import write_durably
from edge.spool.chunks import SpoolChunks
from edge.spool.disk_space import DiskSpace
from edge.spool.layout import SpoolLayout
from edge.spool.lock import RecorderLock
from edge.spool.state import PauseFile, StateFile, StreamRecords


class Spool:
    """The folder `path` of the node `node`. Opens nothing until it is used; everything in it raises SpoolError."""

    def __init__(self, path: Path, node: str) -> None:
        self.path = path
        self.node = node
        self.layout = SpoolLayout(path)
        self.chunks = SpoolChunks(self.layout, node)
        self.streams = StreamRecords(self.layout, node)
        self.state = StateFile(self.layout)
        self.pause = PauseFile(self.layout)
        self.disk = DiskSpace(self.layout, self.chunks)
        self.recorder_lock = RecorderLock(self.layout)

    def create(self) -> None:
        """Makes the folder, readable by owner and group only, and checks that it can be written."""
        try:
            self.path.mkdir(mode=0o750, parents=True, exist_ok=True)
            probe = self.path / f".probe-{os.getpid()}"  # recorder and archiver may check at the same time
            try:
                write_durably(probe, b"")
            finally:
                probe.unlink(missing_ok=True)
        except OSError as problem:
            raise SpoolError(
                f"{self.path}: the spool cannot be written ({problem.strerror});"
                " fix its permissions or set [recorder] record_path"
            ) from None
