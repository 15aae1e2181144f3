"""The recorder's lock: only one recorder may add to a spool."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator

from edge.core.errors import SpoolBusy
from edge.spool.layout import SpoolLayout


class RecorderLock:
    """Held by a recorder for as long as it runs, whether it records or is paused."""

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
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SpoolBusy(f"{self._layout.path}: another recorder is writing here; stop it first") from None
            yield

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
