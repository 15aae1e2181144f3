"""The spool: a folder of finished chunks with manifests and small state files.

The recorder alone adds to it, the archiver alone removes finished chunks, everybody else only reads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edge.core.errors import SpoolBusy, SpoolError
from edge.core.files import write_durably
from edge.spool.chunks import SpoolChunks
from edge.spool.disk_space import DiskSpace
from edge.spool.layout import SpoolLayout
from edge.spool.state import PauseFile, StateFile, StreamRecords

_ATTEMPTS, _ATTEMPT_SECONDS = 10, 0.02  # to take the lock


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


class RecorderLock:
    """Only one recorder may add to a spool: it holds this for as long as it runs, whether it records or is paused."""

    def __init__(self, layout: SpoolLayout) -> None:
        self._layout = layout

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Raises SpoolBusy while another recorder holds it."""
        try:
            lock = self._layout.lock_path.open("a")
        except OSError as problem:
            raise self._layout.unavailable_error(problem) from None
        with lock:
            if not self._take(lock):
                raise SpoolBusy(f"{self._layout.path}: another recorder is writing here; stop it first")
            yield

    def _take(self, lock: IO[str]) -> bool:
        """Tries for a moment: somebody may be in `is_held`."""
        for _ in range(_ATTEMPTS):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_ATTEMPT_SECONDS)
            else:
                return True
        return False

    def is_held(self) -> bool:
        """Raises OSError."""
        try:
            lock = self._layout.lock_path.open("rb")
        except FileNotFoundError:
            return False
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who check do not disturb each other
            except BlockingIOError:
                return True
        return False
