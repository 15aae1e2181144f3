"""Exponential backoff with jitter: how long to wait before the next attempt. Pure; the caller does the waiting."""

from __future__ import annotations

import math
import random
from collections.abc import Callable


class Backoff:
    """Delays of one kind of attempt: `first` seconds, each next one `factor` times as long, never above `longest`.

    Each delay is multiplied by a random number from the range `jitter`, so that clients do not retry in step. An
    attempt that lasted `steady` seconds counts as a success.
    """

    def __init__(
        self,
        first: float,
        longest: float = math.inf,
        *,
        factor: float = 2.0,
        jitter: tuple[float, float] = (1.0, 1.0),
        steady: float = math.inf,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`chance` gives random numbers from 0 to 1."""
        self._first, self._longest, self._factor = first, longest, factor
        self._jitter, self._steady, self._chance = jitter, steady, chance
        self._next = first

    def next_delay(self, lasted: float = 0.0, *, at_least: float = 0.0, at_most: float = math.inf) -> float:
        """Seconds to wait after an attempt that failed, or ended, after `lasted` seconds.

        `at_least` raises this delay and those that follow, before jitter; `at_most` lowers this one alone.
        """
        if lasted >= self._steady:
            self.reset()
        delay = min(max(self._next, at_least), self._longest)
        self._next = min(delay * self._factor, self._longest)
        return self.jittered(min(delay, at_most))

    def jittered(self, delay: float) -> float:
        """`delay` with this backoff's jitter, for one that does not grow."""
        low, high = self._jitter
        return delay * (low + (high - low) * self._chance())

    def reset(self) -> None:
        """Call it after a success: the next delay is the first one again."""
        self._next = self._first
