"""The spool: a folder of finished chunks with manifests and small state files.

The recorder alone adds to it, the archiver alone removes finished chunks, everybody else only reads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from edge.configuration.settings import Settings
from edge.core.errors import SpoolBusy, SpoolError
from edge.core.files import is_denied, never_waiting, write_durably
from edge.spool.chunks import SpoolChunks
from edge.spool.disk_space import DiskSpace
from edge.spool.files import raises_spool_error
from edge.spool.home import Home
from edge.spool.layout import SpoolLayout
from edge.spool.state import EndedSoundsFile, PauseFile, StateFile, StreamRecords

_ATTEMPTS, _ATTEMPT_SECONDS = 10, 0.02  # to take the lock


class Spool:
    """The folder `path` of the node `node`, once called `former_names`. Opens nothing until it is used; everything in
    it raises SpoolError. `check_disk` raises SpoolMissing: an empty mount point must not be taken for an empty spool.
    """

    def __init__(
        self, path: Path, node: str, former_names: Sequence[str] = (), check_disk: Callable[[], None] = lambda: None
    ) -> None:
        self.names = (node, *former_names)  # every name that its contents may carry
        self.layout = SpoolLayout(path)
        self.check_disk = check_disk
        self.chunks = SpoolChunks(self.layout, self.names, check_disk)
        self.streams = StreamRecords(self.layout, self.names)
        self.state = StateFile(self.layout)
        self.pause = PauseFile(self.layout)
        self.ended_sounds = EndedSoundsFile(self.layout)
        self.disk = DiskSpace(self.layout, self.chunks)
        self.recorder_lock = RecorderLock(self.layout)

    @property
    def path(self) -> Path:
        return self.layout.path

    @property
    def node(self) -> str:
        return self.names[0]

    def create(self) -> None:
        """Makes the folder, readable by owner and group only, and checks that it can be written."""
        self.check_disk()
        try:
            self.path.mkdir(mode=0o750, parents=True, exist_ok=True)
            probe = self.path / f".probe-{os.getpid()}"  # recorder and archiver may check at the same time
            try:
                write_durably(probe, b"")
            finally:
                probe.unlink(missing_ok=True)
        except OSError as problem:
            remedy = "fix its permissions" if is_denied(problem) else "check the path and its disk"
            if isinstance(problem, FileExistsError):
                remedy = "it is a file, perhaps that of [log] log_file; delete it"
            what = f"the spool cannot be written ({problem.strerror})"
            raise SpoolError(f"{self.path}: {what}; {remedy}, or set [recorder] record_path", problem.errno) from None


def spool_of(settings: Settings) -> Spool:
    """The spool that the settings name."""
    node = settings.node
    return Spool(settings.recorder.record_path, node.name, node.earlier_names, Home(settings).check_disk)


@raises_spool_error
class RecorderLock:
    """Only one recorder may add to a spool: it holds this for as long as it runs, whether it records or is paused."""

    def __init__(self, layout: SpoolLayout) -> None:
        self._layout = layout

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Raises SpoolBusy while another recorder holds it."""
        try:
            lock = open(self._layout.lock_path, "a", opener=never_waiting)  # noqa: SIM115 - closed below
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
                threading.Event().wait(_ATTEMPT_SECONDS)  # not time.sleep: see KernelClock.sleep
            else:
                return True
        return False

    def is_held(self) -> bool:
        """Whether a recorder holds it now."""
        try:
            lock = open(self._layout.lock_path, "rb", opener=never_waiting)  # noqa: SIM115 - closed below
        except FileNotFoundError:
            return False
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who check do not disturb each other
            except BlockingIOError:
                return True
        return False
