"""When to do what again, and how fast: times in seconds of the monotonic clock."""

from __future__ import annotations

import random
import threading
import time

from msgspec import Struct

from edge.core.errors import ImHearingError, StoreBlocked, StoreUnreachable


class Pace(Struct, frozen=True):
    """Seconds between looks at the spool, and before the store is tried again."""

    rescan: float = 60.0
    report: float = 1.0  # progress of an upload
    first_retry: float = 1.0
    longest_link_retry: float = 60.0  # while the link is down: cheap to try
    longest_retry: float = 300.0
    hold: float = 20.0  # outside the upload window, or over the budget
    blocked_retry: float = 120.0  # a person is needed
    stuck: float = 900.0  # a job of which the store takes nothing: two parts of 8 MB take less on any link that will do


class Throttle:
    """Lets no more than `rate` bytes a second through, on average; 0: any number. For several threads."""

    def __init__(self, rate: float, stop: threading.Event) -> None:
        self._rate = rate
        self._stop = stop
        self._lock = threading.Lock()
        self._free_at = 0.0

    def wait(self, size: int) -> None:
        """Returns when `size` more bytes may be sent, or we must end."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            start = max(now, self._free_at)
            self._free_at = start + size / self._rate
        self._stop.wait(start - now)


class Backoff:
    """How long to wait after failures in a row: doubled, capped, and with jitter, so that nodes do not go in step."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.failures = 0

    def failed(self, problem: ImHearingError) -> float:
        """Seconds until the next try."""
        self.failures += 1
        jitter = random.uniform(0.5, 1.0)  # noqa: S311
        if isinstance(problem, StoreBlocked):
            return self._pace.blocked_retry * jitter
        unreachable = isinstance(problem, StoreUnreachable)
        longest = self._pace.longest_link_retry if unreachable else self._pace.longest_retry
        return min(longest, self._pace.first_retry * 2.0 ** min(self.failures, 20)) * jitter

    def succeeded(self) -> None:
        self.failures = 0
