"""Levels: a request and facts -> one page of its answer. No file, no network, no clock of its own."""

from __future__ import annotations

import math
from array import array
from itertools import repeat
from operator import truediv

from edge.catalog.rollup.summary import second_at
from edge.catalog.rollup.tiling import KnownChunk, Piece, RangeFacts, tile
from edge.core import wire
from edge.core.errors import CatalogBusy
from edge.core.instant import MICROSECONDS, Instant
from edge.core.values import Chunk, LevelUnit
from query_service.answer.facts import FactReader
from query_service.answer.scans import ALL, CHUNKS, SOUND, Scans
from query_service.queries.cursors import Cursors
from query_service.queries.levels import LevelsAnswer, LevelStep
from query_service.queries.protocol import RangeRequest
from query_service.queries.values import MAX_ANSWER

MOST_STEPS = 320  # about what one page of 48 kB holds
_ENOUGH = 4_000  # chunks: a question that has read so many without an item is put off


def answer_levels(
    request: RangeRequest, reader: FactReader, cursors: Cursors, scans: Scans, now: Instant
) -> LevelsAnswer:
    """One page with a step at least. A step with more chunks than one question may read takes several, which are put
    off. Raises BadCursor, QueryRefused, CatalogError, SpoolError."""
    start = cursors.start_of(request)
    resumed = scans.resume(request)
    scan = resumed if isinstance(resumed, LevelScan) else LevelScan(start)
    begun, budget = scan.reached, reader.budget
    rows_to_keep = budget.rows_left - _ENOUGH
    size = request.step * MICROSECONDS
    most = min(request.limit, MOST_STEPS)
    duration = min(most * size, SOUND)
    chunks = CHUNKS
    while True:
        try:
            facts = reader.gather(scan.reached, request.to, min(chunks, budget.rows_left), now, duration=duration)
        except CatalogBusy:
            scans.keep(request, scan)
            raise
        is_stuck = facts.until <= scan.reached
        if not is_stuck:
            steps, reach = scan.take_in(request, facts, now)
            if len(steps) > most:
                steps, reach = steps[:most], steps[most].start
            if steps or reach == request.to:
                return levels_page(request, [step.values() for step in steps], reach, cursors)
        del facts  # it can be large, as can what comes next
        if is_stuck and scan.reached == begun:
            chunks, duration = budget.rows_left, ALL
        elif is_stuck or budget.should_stop or budget.rows_left <= rows_to_keep or not budget.has_bytes_left:
            scans.stop(request, scan)


class LevelsOfStep:
    """What was read of the step from `start` to `end`."""

    def __init__(self, start: Instant, end: Instant) -> None:
        self.start = start
        self.end = end
        self._units: set[LevelUnit] = set()
        self._levels = array("d")  # LAeq of each second
        self._lafmax: float | None = None
        self._is_exceeded = False  # a chunk reaches beyond the step: its LAFmax may be from there

    @property
    def is_empty(self) -> bool:
        return not self._levels

    def take_in(self, piece: Piece, chunk: Chunk) -> None:
        """The seconds of `chunk` that begin in the piece and in this step."""
        self._is_exceeded |= chunk.started_at < self.start or chunk.ended_at > self.end
        if chunk.levels is None:
            return
        lafmax = chunk.levels.lafmax
        self._lafmax = lafmax if self._lafmax is None else max(lafmax, self._lafmax)
        begin, end = second_at(chunk, max(self.start, piece.start)), second_at(chunk, min(self.end, piece.end))
        if laeq := chunk.levels.per_second[begin:end]:
            self._levels.extend(laeq)
            self._units.add(chunk.levels.unit)

    def values(self) -> LevelStep:
        levels = sorted(self._levels, reverse=True)
        if len(self._units) > 1:  # of different references: no mean has a meaning
            return LevelStep(
                from_=self.start, to=self.end, seconds=len(levels), unit=None,
                laeq=None, laeq_max=None, lafmax=None, l10=None, l50=None, l90=None,
            )  # fmt: skip
        (unit,) = self._units
        return LevelStep(
            from_=self.start,
            to=self.end,
            seconds=len(levels),
            unit=unit,
            laeq=round(energy_mean(levels), 2),
            laeq_max=levels[0],
            lafmax=None if self._is_exceeded else self._lafmax,
            l10=exceeded(levels, 10),
            l50=exceeded(levels, 50),
            l90=exceeded(levels, 90),
        )


class LevelScan:
    """How far one page came: `reached` may lie within a step, what was read of which is kept.

    A second counts for the step in which it begins, and where chunks claim the same time for the chunk that owns it.
    """

    def __init__(self, start: Instant) -> None:
        self.reached = start
        self._open: LevelsOfStep | None = None

    def take_in(self, request: RangeRequest, facts: RangeFacts, now: Instant) -> tuple[list[LevelsOfStep], Instant]:
        """The steps with levels that are complete by now, and how far they are all."""
        size = request.step * MICROSECONDS
        reach = min(request.to, facts.until)
        steps = {self._open.start: self._open} if self._open else {}
        for piece in tile(facts, self.reached, reach, now):
            if isinstance(piece.owner, KnownChunk) and piece.owner.expired != "erased":
                for start in range(_step_start(request, piece.start), piece.end, size):
                    step = steps.get(Instant(start))
                    if step is None:
                        step = LevelsOfStep(Instant(start), Instant(min(start + size, request.to)))
                        steps[step.start] = step
                    step.take_in(piece, piece.owner.chunk)
        self.reached = reach
        complete_until = reach if reach == request.to else _step_start(request, reach)
        self._open = steps.pop(complete_until, None)
        return [step for step in steps.values() if not step.is_empty], complete_until


def _step_start(request: RangeRequest, moment: Instant) -> Instant:
    """The start of the step in which `moment` lies."""
    return Instant(moment - (moment - request.from_) % (request.step * MICROSECONDS))


def levels_page(request: RangeRequest, steps: list[LevelStep], reach: Instant, cursors: Cursors) -> LevelsAnswer:
    """The page with as many of these steps as MAX_ANSWER (bytes of JSON) allows."""
    room = MAX_ANSWER - len(wire.encode(_answer(request, [], cursors.make(request, int(request.to)))))
    for number, step in enumerate(steps):
        room -= len(wire.encode(step)) + 1
        if room < 0:
            return _answer(request, steps[:number], cursors.make(request, int(step.from_)))
    return _answer(request, steps, None if reach >= request.to else cursors.make(request, int(reach)))


def _answer(request: RangeRequest, steps: list[LevelStep], cursor: str | None) -> LevelsAnswer:
    return LevelsAnswer(
        id=request.id,
        node=request.node,
        from_=request.from_,
        to=request.to,
        step=request.step,
        levels=tuple(steps),
        next=cursor,
    )


def energy_mean(levels: list[float]) -> float:
    """The level of the mean power, dB: LAeq of the whole from those of equal parts (IEC 61672-1, 3.9)."""
    powers = map(pow, repeat(10.0), map(truediv, levels, repeat(10)))  # a loop in C: a day has 86,400
    return 10 * math.log10(sum(powers) / len(levels))


def exceeded(descending: list[float], percent: int) -> float:
    """The level that is exceeded `percent` of the time: the nearest of those measured, given in descending order."""
    return descending[min(len(descending) - 1, len(descending) * percent // 100)]
