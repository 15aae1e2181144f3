"""When to do what again: pure, times in seconds of the monotonic clock."""

from __future__ import annotations

import random

from msgspec import Struct

from edge.errors import ImHearingError, StoreBlocked, StoreUnreachable


class Pace(Struct, frozen=True):
    """Seconds between looks at the spool, and before the store is tried again."""

    rescan: float = 60.0
    report: float = 1.0  # progress of an upload
    first_retry: float = 1.0
    longest_link_retry: float = 60.0  # while the link is down: cheap to try
    longest_retry: float = 300.0
    blocked_retry: float = 120.0  # a person is needed


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
