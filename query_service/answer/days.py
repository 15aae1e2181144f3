"""Days: a request -> one page of its answer, from the sums of each local day."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from edge.catalog.rollup.summary import Summary
from edge.core import wire
from edge.core.errors import BudgetSpent, CatalogBusy, QueryRefused
from edge.core.instant import FIRST, LAST, MICROSECONDS, Instant
from edge.core.local_zone import local_zone_name, zone_named
from query_service.answer.facts import FactReader
from query_service.answer.scans import Scans
from query_service.answer.sums import Sums, totals
from query_service.queries.cursors import Cursors
from query_service.queries.days import MOST_DAYS, Day, DaysAnswer
from query_service.queries.protocol import RangeRequest
from query_service.queries.values import MAX_ANSWER

_HOUR = 3_600 * MICROSECONDS


class LocalDay(NamedTuple):
    """From its midnight to the next, which can be 23 or 25 hours later."""

    date: date
    start: Instant
    end: Instant


class _Begun(NamedTuple):
    """A day of which `summary` has all up to `reached`."""

    day: LocalDay
    reached: Instant
    summary: Summary


def answer_days(request: RangeRequest, reader: FactReader, cursors: Cursors, scans: Scans, now: Instant) -> DaysAnswer:
    """One page with a day at least. A day with more than one question may read takes several, which are put off.
    Raises BadCursor, QueryRefused, CatalogError, SpoolError."""
    zone, name = _zone(request.zone)
    start = cursors.start_of(request)
    days = [day for day in local_days(request.from_, request.to, zone) if day.end > start]
    sums = Sums(reader, [(day.start, day.end) for day in days], now)
    resumed = scans.resume(request)
    begun = resumed if isinstance(resumed, _Begun) else _Begun(days[0], days[0].start, Summary())
    page = _Page(request, name, cursors)
    for day in days:
        if begun.day != day:
            begun = _Begun(day, day.start, Summary())
        while begun.reached < day.end:
            try:
                found, reached = sums.part(begun.reached, day.end)
            except CatalogBusy as problem:
                if isinstance(problem, BudgetSpent) and page.days:
                    return page.answer(day.start)
                scans.keep(request, begun)
                raise
            begun.summary.join(found)
            begun = begun._replace(reached=reached)
            if reader.budget.should_stop and begun.reached < day.end:
                if page.days:
                    return page.answer(day.start)
                scans.stop(request, begun)
        if not page.add(day, begun.summary) or (reader.budget.should_stop and day != days[-1]):
            return page.answer(page.end)
    return page.answer(None)


def local_days(start: Instant, end: Instant, zone: tzinfo | None) -> list[LocalDay]:
    """The days with a part in [start, end), in order and without a gap; of this machine's zone where none is given.

    QueryRefused if there are too many. A range of 400 days that begins within a day touches 401.
    """
    days: list[LocalDay] = []
    try:
        day = start.datetime().astimezone(zone).date()
        begin = _midnight(day, zone)
        while begin < end:
            if len(days) > MOST_DAYS:
                raise QueryRefused(f"the range has more than {MOST_DAYS} days", "bad_request", "to")
            following = day + timedelta(days=1)
            midnight = _midnight(following, zone)
            if midnight > max(begin, start):  # a day that a zone left out is empty
                days.append(LocalDay(day, begin, midnight))
            day, begin = following, midnight
        if days[0].start < FIRST or days[-1].end > LAST:
            raise OverflowError(day)
    except (ValueError, OverflowError, OSError):  # of the C library, too
        raise QueryRefused("the range reaches beyond the years that have days", "bad_request", "from") from None
    return days


def _midnight(day: date, zone: tzinfo | None) -> Instant:
    """When a day begins: at the first midnight of two, and where clocks skip it, when they do."""
    return Instant.from_seconds(datetime.combine(day, time(), zone).timestamp())


def _zone(name: str | None) -> tuple[tzinfo | None, str | None]:
    """The zone and its name. Raises QueryRefused."""
    if name is None:
        return None, local_zone_name()
    try:
        return zone_named(name), name
    except ValueError as problem:
        raise QueryRefused(str(problem), "bad_request", "zone") from None


class _Page:
    """Collects days while they fit."""

    def __init__(self, request: RangeRequest, zone: str | None, cursors: Cursors) -> None:
        self._request, self._zone, self._cursors = request, zone, cursors
        self.days: list[Day] = []
        self.end = request.to
        self._room = MAX_ANSWER - len(wire.encode(self.answer(request.to)))

    def add(self, day: LocalDay, summary: Summary) -> bool:
        """Whether it found room; the next page then begins at `end`."""
        entry = Day(
            from_=day.start,
            to=day.end,
            date=day.date.isoformat(),
            hours=round((day.end - day.start) / _HOUR, 4),
            **totals(summary),
        )
        size = len(wire.encode(entry)) + 1
        if self.days and (size > self._room or len(self.days) >= self._request.limit):
            self.end = day.start
            return False
        self._room -= size
        self.days.append(entry)
        self.end = day.end
        return True

    def answer(self, next_from: Instant | None) -> DaysAnswer:
        request = self._request
        return DaysAnswer(
            id=request.id,
            node=request.node,
            from_=request.from_,
            to=request.to,
            zone=self._zone,
            days=tuple(self.days),
            next=None if next_from is None else self._cursors.make(request, int(next_from)),
        )
