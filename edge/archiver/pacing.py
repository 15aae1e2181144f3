"""When to do what again, and which problems to log again. Durations in seconds."""

from __future__ import annotations

import logging
import math

from msgspec import Struct

from edge.core.backoff import Backoff
from edge.core.errors import ImHearingError, StoreBlocked, StoreUnreachable
from edge.core.kernel_clock import KernelClock


class Pacing(Struct, frozen=True):
    """Intervals between rescans and reports, and before the store is tried again."""

    rescan: float = 60.0
    report: float = 1.0  # progress of an upload
    first_retry: float = 1.0
    longest_link_retry: float = 60.0  # while the link is down: cheap to try
    longest_retry: float = 300.0
    hold: float = 20.0  # outside the upload window, or over the budget
    blocked_retry: float = 120.0  # a person is needed
    stuck: float = 900.0  # no progress in a job: two parts of 8 MB take less on any usable link


class Timer:
    """Due at once, and again some time after it was last started."""

    def __init__(self, clock: KernelClock) -> None:
        self._clock = clock
        self._due_at = 0

    def is_due(self) -> bool:
        return self._clock.monotonic() >= self._due_at

    def start(self, seconds: float) -> None:
        self._due_at = self._clock.monotonic() + round(seconds * 1e6)

    def expire(self) -> None:
        self._due_at = 0


class RetryTimer(Timer):
    """Due unless a failure was recent. The delay grows with each failure in a row, as `pacing` says, with jitter."""

    def __init__(self, pacing: Pacing, clock: KernelClock) -> None:
        super().__init__(clock)
        self._pacing = pacing
        self._backoff = Backoff(2 * pacing.first_retry, pacing.longest_retry, jitter=(0.5, 1.0))

    def failed(self, problem: ImHearingError) -> None:
        at_most = self._pacing.longest_link_retry if isinstance(problem, StoreUnreachable) else math.inf
        delay = self._backoff.next_delay(at_most=at_most)
        if isinstance(problem, StoreBlocked):
            delay = self._backoff.jittered(self._pacing.blocked_retry)
        self.start(delay)

    def hold(self) -> None:
        """Due again soon, without a failure."""
        self.start(self._pacing.hold)

    def succeeded(self) -> None:
        self._backoff.reset()
        self.expire()


class WarnOnce:
    """Logs the first problem with each name: most come back with every rescan."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._names: set[str] = set()

    def __call__(self, name: str, problem: Exception) -> None:
        if name not in self._names:
            self._names.add(name)
            self._log.warning("%s", problem)


class LogChanges:
    """Logs a problem unless it is the one logged last."""

    def __init__(self, log: logging.Logger, level: int = logging.WARNING) -> None:
        self._log, self._level = log, level
        self._last = ""

    def __call__(self, problem: Exception) -> None:
        if str(problem) != self._last:
            self._log.log(self._level, "%s", problem)
        self._last = str(problem)

    def clear(self) -> None:
        """The problem is over: it is logged again when it comes back."""
        self._last = ""
