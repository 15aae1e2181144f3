"""How many clips may be made in a day. Counted from the store's listing, so that a restart does not begin anew."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from edge.core.errors import QueryRefused, StoreBlocked
from edge.core.instant import MICROSECONDS, Instant

log = logging.getLogger(__name__)

CLIPS_PER_DAY = 200
BYTES_PER_DAY = 2_000_000_000
_DAY = 86_400 * MICROSECONDS

# the sizes of the clips that were stored since
Stored = Callable[[Instant], Iterable[int]]


class QuotaSpent(QueryRefused):
    """No clip more today; `seconds` until there may be one."""

    def __init__(self, seconds: float) -> None:
        super().__init__("the node has made as many clips as it may in a day (UTC); fetch the range instead", "busy")
        self.seconds = seconds


class ClipQuota:
    """Of one node, by days of UTC. One clip at a time."""

    def __init__(
        self, stored: Stored, clock: Callable[[], Instant] = lambda: Instant.from_seconds(time.time())
    ) -> None:
        self._stored = stored
        self._clock = clock
        self._day = -1
        self._clips = self._bytes = 0

    def check(self) -> None:
        """Raises QuotaSpent where no clip may be made now, StoreError where that cannot be seen."""
        now = self._clock()
        if now // _DAY != self._day:
            sizes = self._sizes(Instant(now - now % _DAY))
            self._day, self._clips, self._bytes = now // _DAY, len(sizes), sum(sizes)
        if self._clips >= CLIPS_PER_DAY or self._bytes >= BYTES_PER_DAY:
            raise QuotaSpent((_DAY - now % _DAY) / MICROSECONDS)

    def count(self, size: int) -> None:
        """A clip of `size` bytes was stored."""
        self._clips += 1
        self._bytes += size

    def _sizes(self, midnight: Instant) -> list[int]:
        try:
            return list(self._stored(midnight))
        except StoreBlocked as problem:
            if problem.reason != "denied":
                raise
            log.warning("today's clips are counted from now on only: the store does not let the node list them")
            return []
