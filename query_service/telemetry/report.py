"""What became of one day, from its coverage and its levels. Pure: no file, no network, no clock."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable

from edge.core.instant import MICROSECONDS, Instant
from edge.core.values import Hole, HoleCause
from edge.messaging.events import DailyReport, LoudMinute
from query_service.queries.levels import LevelStep
from query_service.queries.values import Expired, Gap, Interval, Paused, Pending, Recorded, Recording

_HOUR = 3_600 * MICROSECONDS
_LOUDEST = 5
STEP = 60  # seconds of a loud minute


class DayTally:
    """Adds up one day, piece by piece: a day of short chunks is many pages."""

    def __init__(self, start: Instant, end: Instant) -> None:
        self._start, self._end = start, end
        self._lasted: dict[str, int] = defaultdict(int)  # µs by what they were
        self._gaps: dict[HoleCause, int] = defaultdict(int)
        self._holes: list[Hole] = []  # the last one may go on
        self._longest: Hole | None = None
        self._count = 0
        self._stored: dict[str, int] = {}  # bytes by chunk: several intervals may name one
        self._loudest: list[tuple[float, int, LoudMinute]] = []

    def add_coverage(self, intervals: Iterable[Interval]) -> None:
        """The next intervals, in order."""
        for interval in intervals:
            self._add(interval)

    def _add(self, interval: Interval) -> None:
        length = interval.to - interval.from_
        match interval:
            case Recorded() | Pending() | Recording():
                self._lasted["recorded"] += length
                self._lasted["uncertain"] += length if interval.uncertain else 0
                if isinstance(interval, Recorded):
                    self._lasted["uploaded"] += length
                    self._stored[interval.chunk_id] = interval.where.length
            case Gap():
                self._gaps[interval.cause] += length
                self._add_hole(Hole(interval.cause, interval.from_, interval.to))
            case Paused():
                self._lasted["paused"] += length
            case Expired():
                self._lasted["expired"] += length

    def _add_hole(self, hole: Hole) -> None:
        """Pages cut gaps: what goes on where the last one ended is the same one."""
        last = self._holes[-1] if self._holes else None
        if last is not None and (last.cause, last.to) == (hole.cause, hole.from_):
            hole = Hole(hole.cause, last.from_, hole.to)
        else:
            self._count += 1
        self._holes = [hole]
        if self._longest is None or hole.to - hole.from_ > self._longest.to - self._longest.from_:
            self._longest = hole

    def add_levels(self, steps: Iterable[LevelStep]) -> None:
        """The next minutes."""
        for step in steps:
            if step.laeq is not None and step.unit is not None:
                item = step.laeq, -step.from_, LoudMinute(step.from_, step.laeq, step.unit)
                push = heapq.heappush if len(self._loudest) < _LOUDEST else heapq.heappushpop
                push(self._loudest, item)

    def report(self, node: str, now: Instant, month_cost: float | None) -> DailyReport:
        return DailyReport(
            at=now,
            node=node,
            started_at=self._start,
            ended_at=self._end,
            recorded_hours=_hours(self._lasted["recorded"]),
            uploaded_hours=_hours(self._lasted["uploaded"]),
            uploaded_bytes=sum(self._stored.values()),
            paused_hours=_hours(self._lasted["paused"]),
            gap_hours={cause: _hours(length) for cause, length in sorted(self._gaps.items())},
            gaps=self._count,
            longest_gap=self._longest,
            expired_hours=_hours(self._lasted["expired"]),
            uncertain_hours=_hours(self._lasted["uncertain"]),
            loudest=tuple(minute for _, _, minute in sorted(self._loudest, reverse=True)),
            month_cost=month_cost,
        )


def _hours(microseconds: int) -> float:
    return round(microseconds / _HOUR, 6)
