"""`[archive] max_rate`."""

from __future__ import annotations

import threading

from edge.core.kernel_clock import KernelClock


class RateLimiter:
    """Lets `rate` bytes a second through on average; 0: any number. For several threads."""

    def __init__(self, rate: float, stop: threading.Event, clock: KernelClock) -> None:
        self._rate = rate
        self._stop = stop
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = 0.0

    def wait(self, size: int) -> None:
        """Returns when `size` more bytes may be sent, or the process is stopping."""
        if not self._rate:
            return
        with self._lock:
            now = self._clock.monotonic() / 1e6
            start = max(now, self._free_at)
            self._free_at = start + size / self._rate
        self._stop.wait(start - now)
