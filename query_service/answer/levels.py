"""Levels: a request and facts -> one page of its answer. No file, no network, no clock of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from edge.core import wire
from edge.core.errors import QueryRefused
from edge.core.instant import MICROSECONDS, Instant
from edge.core.values import LevelUnit
from query_service.answer.facts import FactReader
from query_service.answer.tiling import KnownChunk, Piece, RangeFacts, tile
from query_service.queries.cursors import make_cursor, start_of
from query_service.queries.levels import LevelsAnswer, LevelStep
from query_service.queries.protocol import RangeRequest
from query_service.queries.values import MAX_ANSWER

FIRST_CHUNKS = 500
_MOST_CHUNKS = 10_000  # for one page: a second's work, a few MB
_GROWTH = 4


def answer_levels(request: RangeRequest, reader: FactReader, now: Instant) -> LevelsAnswer:
    """One page, from as many chunks as it needs. Raises BadCursor, QueryRefused, CatalogError, SpoolError."""
    start, chunks = start_of(request), FIRST_CHUNKS
    while True:
        facts = reader.gather(start, request.to, chunks, now, each_second=True)
        page = levels_page(request, start, facts, now)
        if page is not None:
            return page
        if chunks > _MOST_CHUNKS:
            raise QueryRefused("step: holds too many chunks; choose a shorter one", "bad_request", "step")
        chunks *= _GROWTH  # a step holds more chunks than that


class _Second(NamedTuple):
    start: Instant
    laeq: float
    unit: LevelUnit


def levels_page(request: RangeRequest, start: Instant, facts: RangeFacts, now: Instant) -> LevelsAnswer | None:
    """The steps from `start`, where one begins; None when the facts do not reach to the end of a single one.

    A second counts for the step in which it begins, and where chunks claim the same time for the chunk that owns it.
    """
    size = request.step * MICROSECONDS
    reach = request.to if facts.until >= request.to else Instant(facts.until - (facts.until - request.from_) % size)
    if reach <= start:
        return None
    steps: list[LevelStep] = []
    room = MAX_ANSWER - len(wire.encode(_answer(request, (), int(request.to))))
    tiles = tile(facts, start, reach, now)
    pieces = [piece for piece in tiles if isinstance(piece.owner, KnownChunk) and piece.owner.expired != "erased"]
    seconds = sorted(second for piece in pieces for second in _seconds(piece))
    for first, inside in groupby(seconds, key=lambda second: Instant(second.start - (second.start - start) % size)):
        end = Instant(min(first + size, request.to))
        step = _step(first, end, list(inside), pieces)
        length = len(wire.encode(step)) + 1
        if length > room or len(steps) >= request.limit:
            return _answer(request, tuple(steps), int(first))
        room -= length
        steps.append(step)
    return _answer(request, tuple(steps), int(reach) if reach < request.to else None)


def _answer(request: RangeRequest, steps: tuple[LevelStep, ...], position: int | None) -> LevelsAnswer:
    return LevelsAnswer(
        id=request.id,
        node=request.node,
        from_=request.from_,
        to=request.to,
        step=request.step,
        levels=steps,
        next=None if position is None else make_cursor(request, position),
    )


def _seconds(piece: Piece) -> Iterator[_Second]:
    """Every second that was measured and begins in the piece."""
    if not isinstance(piece.owner, KnownChunk) or piece.owner.chunk.levels is None:
        return
    chunk, levels = piece.owner.chunk, piece.owner.chunk.levels
    length = chunk.ended_at - chunk.started_at
    for number, laeq in enumerate(levels.per_second):
        begins = Instant(chunk.started_at + number * chunk.rate * length // chunk.frames)
        if piece.start <= begins < piece.end:
            yield _Second(begins, laeq, levels.unit)


def _step(start: Instant, end: Instant, seconds: list[_Second], pieces: list[Piece]) -> LevelStep:
    units = {second.unit for second in seconds}
    levels = sorted((second.laeq for second in seconds), reverse=True)
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
    inside = [piece.owner for piece in pieces if piece.start < end and piece.end > start]
    chunks = [owner.chunk for owner in inside if isinstance(owner, KnownChunk)]
    if any(chunk.started_at < start or chunk.ended_at > end for chunk in chunks):
        return None
    return max((chunk.levels.lafmax for chunk in chunks if chunk.levels), default=None)
