"""The loudest steps of a range. The roll-up says how loud each quarter-hour can be at most: only those that may hold
one of the steps wanted are read. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from heapq import nsmallest
from operator import itemgetter

from msgspec.structs import replace

from edge.catalog.rollup.summary import QUARTER
from edge.core.errors import CatalogBusy, QueryRefused
from edge.core.instant import MICROSECONDS, Instant
from edge.core.values import LevelUnit
from query_service.answer.facts import FactReader
from query_service.answer.levels import LevelScan
from query_service.answer.scans import Scans
from query_service.queries.cursors import Cursors
from query_service.queries.levels import LevelsAnswer, LevelStep
from query_service.queries.protocol import RangeRequest

MOST_LOUDEST = 200  # as many as one page holds
_MOST_DAYS = 400
_AT_ONCE = 6_144  # quarter-hours of the roll-up: 64 days
_FIRST: dict[LevelUnit | None, float] = {"dBA": 0.0, "dBFS": 10_000.0, None: 20_000.0}  # units that nothing compares
_LIVE = -10_000.0  # before all: the roll-up does not know how loud it is
_ROUNDED = 0.01  # dB


def answer_loudest(
    request: RangeRequest, reader: FactReader, cursors: Cursors, scans: Scans, now: Instant
) -> LevelsAnswer:
    """All that is wanted in one page; what takes more than one question may is put off. Raises BadCursor, QueryRefused,
    CatalogError, SpoolError."""
    cursors.start_of(request)  # refuses a cursor: there is only one page
    if request.to - request.from_ > _MOST_DAYS * 86_400 * MICROSECONDS:
        raise QueryRefused(f"the loudest steps are found in at most {_MOST_DAYS} days", "bad_request", "to")
    resumed = scans.resume(request)
    search = resumed if isinstance(resumed, _Search) else _Search(request, reader)
    try:
        while search.advance(reader, now):
            if reader.budget.should_stop:
                scans.stop(request, search)
    except CatalogBusy:
        scans.keep(request, search)
        raise
    return LevelsAnswer(
        id=request.id,
        node=request.node,
        from_=request.from_,
        to=request.to,
        step=request.step,
        levels=tuple(search.found),
    )


def _rank(unit: LevelUnit | None, level: float | None) -> float:
    """The smaller, the sooner in the answer."""
    return _FIRST[unit] - (level or 0.0)


def _key(step: LevelStep) -> tuple[float, Instant]:
    return _rank(step.unit, step.laeq), step.from_


class _Search:
    """The range in blocks of a quarter-hour or a step, if that is longer; those that can be loudest are read first."""

    def __init__(self, request: RangeRequest, reader: FactReader) -> None:
        self._request = request
        size = request.step * MICROSECONDS
        self._size = size * -(-QUARTER // size)
        self.found: list[LevelStep] = []  # the loudest so far, in order
        self._scan: LevelScan | None = None  # of the first block left
        # arrays: a year has 35,000
        bounds = sorted(self._bounds(reader).items(), key=itemgetter(1, 0), reverse=True)
        self._numbers = array("q", (number for number, _ in bounds))
        self._ranks = array("d", (rank for _, rank in bounds))

    def advance(self, reader: FactReader, now: Instant) -> bool:
        """Reads something more; False where nothing that is left can be louder than what was found."""
        request = self._request
        most = min(request.limit, MOST_LOUDEST)
        if not self._numbers or (len(self.found) == most and _key(self.found[-1])[0] < self._ranks[-1]):
            return False
        start = request.from_ + self._numbers[-1] * self._size
        block = replace(request, to=Instant(min(request.to, start + self._size)))
        scan = self._scan = self._scan or LevelScan(Instant(start))
        steps, _ = scan.take_in(block, reader.gather_levels(scan.reached, block.to, now), now)
        self.found = nsmallest(most, [*self.found, *(step.values() for step in steps)], key=_key)
        if scan.reached == block.to:
            self._scan = None
            self._numbers.pop()
            self._ranks.pop()
        return True

    def _bounds(self, reader: FactReader) -> dict[int, float]:
        """Of each block with levels, the best rank that a step of it can have: no mean exceeds the loudest second."""
        request, bounds = self._request, dict[int, float]()
        for start, end in reader.sound_only_in_spool(request.from_, request.to):
            for number in self._blocks(start, end):
                bounds[number] = _LIVE
        first, last = request.from_ // QUARTER, -(-request.to // QUARTER)
        for begin in range(first, last, _AT_ONCE):
            for quarter, dbfs, dba in reader.catalog.rollup.loudest_seconds(begin, min(last, begin + _AT_ONCE)):
                rank = _rank("dBFS", dbfs) if dba is None else _rank("dBA", dba)
                for number in self._blocks(quarter * QUARTER, (quarter + 1) * QUARTER):
                    bounds[number] = min(rank - _ROUNDED, bounds.get(number, rank))
        return bounds

    def _blocks(self, start: int, end: int) -> Iterable[int]:
        """The numbers of those with a part in [start, end)."""
        request = self._request
        first, last = max(start, request.from_), min(end, request.to) - 1
        return range((first - request.from_) // self._size, (last - request.from_) // self._size + 1)
