"""What an upload tells of how it gets on: whoever hears nothing for long takes it for stuck, and ends the process."""

from __future__ import annotations

import threading
from collections.abc import Callable

Progress = Callable[[int], None]  # bytes that the store has by now


class Signs:
    """A `Progress` that also says that it is alive while the store gets nothing: read back, digested, throttled."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()

    def __call__(self, done: int) -> None:
        with self._lock:
            self._done = done
            self._progress(done)

    def again(self) -> None:
        """No more than before, but at work. For any thread."""
        with self._lock:
            self._progress(self._done)
