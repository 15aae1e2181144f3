"""Levels: a request and facts -> one page of its answer. No file, no network, no clock of its own."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import chain, groupby
from typing import NamedTuple

from edge.core import wire
from edge.core.errors import BudgetSpent, QueryRefused
from edge.core.instant import MICROSECONDS, Instant
from edge.core.values import Chunk, LevelUnit
from query_service.answer.facts import FactReader
from query_service.answer.scans import Scans
from query_service.answer.tiling import KnownChunk, Piece, RangeFacts, tile
from query_service.queries.cursors import Cursors
from query_service.queries.levels import LevelsAnswer, LevelStep
from query_service.queries.protocol import RangeRequest
from query_service.queries.values import MAX_ANSWER

MOST_STEPS = 320  # about what one page of 48 kB holds
_SOUND = 30_000 * MICROSECONDS  # for one page, unless a step is longer
_CHUNKS = 2_000  # for one page, unless a step holds more
_GROWTH = 4


def answer_levels(
    request: RangeRequest, reader: FactReader, cursors: Cursors, scans: Scans, now: Instant
) -> LevelsAnswer:
    """One page with a step at least, from as many chunks as it needs. Raises BadCursor, QueryRefused, CatalogError,
    SpoolError."""
    start = begun = cursors.start_of(request)
    if isinstance(reached := scans.resume(request), int):
        start = Instant(reached)
    size = request.step * MICROSECONDS
    duration = min(min(request.limit, MOST_STEPS) * size, max(size, _SOUND))
    chunks = max(_CHUNKS, request.step + 2)  # none is shorter than a second
    while True:
        try:
            facts = reader.gather(start, request.to, min(chunks, reader.budget.rows_left), now, duration=duration)
        except BudgetSpent:
            if start == begun:
                raise
            scans.stop(request, int(start))
        steps, reach = levels_of(request, start, facts, now)
        if steps or reach == request.to:
            return levels_page(request, steps, reach, cursors)
        del facts  # it can be large, as can what comes next
        if reach > start:  # nothing was measured there
            start = reach
            if reader.budget.should_stop:
                scans.stop(request, int(start))
            continue
        # a step holds more chunks than that
        duration, chunks = duration * _GROWTH, chunks * _GROWTH
        if not reader.budget.rows_left or duration > _GROWTH**3 * max(size, _SOUND):
            raise QueryRefused("step: holds too many chunks; choose a shorter one", "bad_request", "step")


class _Seconds(NamedTuple):
    """Levels of seconds in a row that begin in the step from `first` on."""

    first: int
    laeq: tuple[float, ...]
    unit: LevelUnit


def levels_of(
    request: RangeRequest, start: Instant, facts: RangeFacts, now: Instant
) -> tuple[list[LevelStep], Instant]:
    """The steps from `start`, where one begins, as many as a page may have; and how far that is all there is.

    A second counts for the step in which it begins, and where chunks claim the same time for the chunk that owns it.
    """
    size = request.step * MICROSECONDS
    reach = request.to if facts.until >= request.to else Instant(facts.until - (facts.until - request.from_) % size)
    if reach <= start:
        return [], start
    tiles = tile(facts, start, reach, now)
    pieces = [piece for piece in tiles if isinstance(piece.owner, KnownChunk) and piece.owner.expired != "erased"]
    steps: list[LevelStep] = []
    for first, inside in groupby(_seconds(pieces, start, size), key=lambda seconds: seconds.first):
        if len(steps) == min(request.limit, MOST_STEPS):
            return steps, Instant(first)
        steps.append(_step(Instant(first), Instant(min(first + size, request.to)), list(inside), pieces))
    return steps, reach


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


def _seconds(pieces: list[Piece], start: Instant, size: int) -> Iterator[_Seconds]:
    """Every second that was measured and begins in one of the pieces, in order, by steps of `size` µs from `start`."""
    for piece in pieces:
        if not isinstance(piece.owner, KnownChunk) or piece.owner.chunk.levels is None:
            continue
        chunk, levels = piece.owner.chunk, piece.owner.chunk.levels
        first = piece.start - (piece.start - start) % size
        for step in range(first, piece.end, size):
            begin, end = _second_at(chunk, max(step, piece.start)), _second_at(chunk, min(step + size, piece.end))
            if laeq := levels.per_second[begin:end]:
                yield _Seconds(step, laeq, levels.unit)


def _second_at(chunk: Chunk, moment: int) -> int:
    """The first second of a chunk that begins at `moment` or later. Second n is n * rate frames after its start."""
    length = chunk.ended_at - chunk.started_at
    return max(0, -((chunk.started_at - moment) * chunk.frames // (chunk.rate * length)))


def _step(start: Instant, end: Instant, seconds: list[_Seconds], pieces: list[Piece]) -> LevelStep:
    units = {each.unit for each in seconds}
    levels = sorted(chain.from_iterable(each.laeq for each in seconds), reverse=True)
    if len(units) > 1:  # of different references: no mean has a meaning
        return LevelStep(
            from_=start, to=end, seconds=len(levels), unit=None,
            laeq=None, laeq_max=None, lafmax=None, l10=None, l50=None, l90=None,
        )  # fmt: skip
    return LevelStep(
        from_=start,
        to=end,
        seconds=len(levels),
        unit=units.pop(),
        laeq=round(energy_mean(levels), 2),
        laeq_max=levels[0],
        lafmax=_lafmax(start, end, pieces),
        l10=exceeded(levels, 10),
        l50=exceeded(levels, 50),
        l90=exceeded(levels, 90),
    )


def energy_mean(levels: list[float]) -> float:
    """The level of the mean power, dB: LAeq of the whole from those of equal parts (IEC 61672-1, 3.9)."""
    return 10 * math.log10(sum(10 ** (level / 10) for level in levels) / len(levels))


def exceeded(descending: list[float], percent: int) -> float:
    """The level that is exceeded `percent` of the time: the nearest of those measured, given in descending order."""
    return descending[min(len(descending) - 1, len(descending) * percent // 100)]


def _lafmax(start: Instant, end: Instant, pieces: list[Piece]) -> float | None:
    """Known per chunk alone: null where one reaches beyond the step."""
    first = bisect_right(pieces, start, key=lambda piece: piece.end)
    last = bisect_left(pieces, end, key=lambda piece: piece.start)
    chunks = [piece.owner.chunk for piece in pieces[first:last] if isinstance(piece.owner, KnownChunk)]
    if any(chunk.started_at < start or chunk.ended_at > end for chunk in chunks):
        return None
    return max((chunk.levels.lafmax for chunk in chunks if chunk.levels), default=None)
