"""When to do what again, and how fast: times in seconds of the monotonic clock."""

from __future__ import annotations

import math
import threading
import time

from msgspec import Struct

from edge.core.backoff import Backoff
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


class StoreBackoff:
    """How long to wait after failures in a row of the store: as `Pace` says, by the kind of failure."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._backoff = Backoff(2 * pace.first_retry, pace.longest_retry, jitter=(0.5, 1.0))

    def failed(self, problem: ImHearingError) -> float:
        """Seconds until the next try."""
        at_most = self._pace.longest_link_retry if isinstance(problem, StoreUnreachable) else math.inf
        delay = self._backoff.next_delay(at_most=at_most)
        return self._backoff.jittered(self._pace.blocked_retry) if isinstance(problem, StoreBlocked) else delay

    def succeeded(self) -> None:
        self._backoff.reset()
