"""Signs of life during an upload: without any for long, it counts as stuck and the process ends."""

from __future__ import annotations

import threading
from collections.abc import Callable

OnProgress = Callable[[int], None]  # bytes that the store has by now


class ProgressHeartbeat:
    """An `OnProgress` that also shows life while the store gets nothing: reading back, hashing, throttling."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._done = 0
        self._lock = threading.Lock()

    def __call__(self, done: int) -> None:
        with self._lock:
            self._done = done
            self._on_progress(done)

    def again(self) -> None:
        """No more bytes than before, but still at work. For any thread."""
        with self._lock:
            self._on_progress(self._done)
