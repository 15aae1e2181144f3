"""Pure: what the store costs this calendar month (UTC), from the bytes kept there; and when uploading is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import time, timedelta

from msgspec import Struct

from edge.core.instant import Instant

GIGABYTE = 1_000_000_000


def month_cost(kept: Iterable[tuple[int, Instant]], now: Instant, price_per_gb: float) -> float:
    """What this calendar month will have cost at its end, if all that is kept stays; `kept`: (bytes, since when)."""
    first, end = month_of(now)
    length = end - first
    shares = (size / GIGABYTE * max(0, end - max(since, first)) / length for size, since in kept)
    return price_per_gb * sum(shares)


class Window(Struct, frozen=True):
    """Local times of day between which uploading is allowed; over midnight when `until` is not after `since`."""

    since: time
    until: time

    @classmethod
    def parse(cls, text: str) -> Window | None:
        """From text like `22:00-06:00`; None for an empty one. Raises ValueError."""
        if not text:
            return None
        match = re.fullmatch(r"(\d\d:\d\d)-(\d\d:\d\d)", text)
        if not match:
            raise ValueError(f"not a span like 22:00-06:00: {text[:40]!r}")
        return cls(time.fromisoformat(match[1]), time.fromisoformat(match[2]))

    def is_open(self, now: time) -> bool:
        if self.since < self.until:
            return self.since <= now < self.until
        return now >= self.since or now < self.until

    def __str__(self) -> str:
        return f"{self.since:%H:%M}-{self.until:%H:%M}"


def month_of(now: Instant) -> tuple[Instant, Instant]:
    """The first instants of this month and of the next."""
    first = now.datetime().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + timedelta(days=32)).replace(day=1)
    return Instant.from_seconds(first.timestamp()), Instant.from_seconds(following.timestamp())
