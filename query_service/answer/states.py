"""States: a request and facts -> one page of its answer. No file, no network, no clock of its own."""

from __future__ import annotations

from edge.catalog.rollup.tiling import KnownChunk, Nothing, Piece, Running, tile
from edge.core import wire
from edge.core.errors import QueryRefused
from edge.core.instant import Instant
from edge.core.values import Hole
from query_service.answer.facts import FactReader
from query_service.queries.cursors import Cursors
from query_service.queries.protocol import RangeRequest
from query_service.queries.states import StatesAnswer, Stretch
from query_service.queries.values import MAX_ANSWER

_CHUNKS = 2_000  # of one page: a day of minutes, and more


def answer_states(request: RangeRequest, reader: FactReader, cursors: Cursors, now: Instant) -> StatesAnswer:
    """One page, from as many chunks as one question may read. Raises BadCursor, QueryRefused, CatalogError,
    SpoolError."""
    start = cursors.start_of(request)
    facts = reader.gather(start, request.to, min(_CHUNKS, reader.budget.rows_left), now, times_only=True)
    if facts.until <= start:
        facts = reader.gather(start, request.to, reader.budget.rows_left, now, times_only=True)
    if facts.until <= start:
        raise QueryRefused(f"too many recordings claim the time at {start}", "internal")
    return _page(request, joined(tile(facts, start, min(request.to, facts.until), now)), cursors)


def joined(pieces: list[Piece]) -> list[Stretch]:
    """The pieces as stretches, neighbours of the same state and cause as one."""
    found: list[Stretch] = []
    for piece in pieces:
        stretch = _stretch(piece)
        if found and (found[-1].state, found[-1].cause) == (stretch.state, stretch.cause):
            stretch = Stretch(from_=found.pop().from_, to=stretch.to, state=stretch.state, cause=stretch.cause)
        found.append(stretch)
    return found


def _stretch(piece: Piece) -> Stretch:
    owner, (start, end) = piece.owner, piece[:2]
    match owner:
        case KnownChunk(expired=None):
            return Stretch(from_=start, to=end, state="recorded" if owner.where else "pending")
        case KnownChunk():
            return Stretch(from_=start, to=end, state="expired", cause=owner.expired)
        case Running():
            return Stretch(from_=start, to=end, state="recording")
        case Nothing(future=True):
            return Stretch(from_=start, to=end, state="future")
        case Hole(cause="paused"):
            return Stretch(from_=start, to=end, state="paused")
        case _:
            cause = owner.cause if isinstance(owner, Hole) else "unknown"
            return Stretch(from_=start, to=end, state="gap", cause=cause)


def _page(request: RangeRequest, stretches: list[Stretch], cursors: Cursors) -> StatesAnswer:
    """As many stretches as `limit` and MAX_ANSWER (bytes of JSON) allow."""
    room = MAX_ANSWER - len(wire.encode(_answer(request, [], cursors.make(request, int(request.to)))))
    shown: list[Stretch] = []
    for stretch in stretches[: request.limit]:
        room -= len(wire.encode(stretch)) + 1
        if room < 0:
            break
        shown.append(stretch)
    end = shown[-1].to
    return _answer(request, shown, cursors.make(request, int(end)) if end < request.to else None)


def _answer(request: RangeRequest, stretches: list[Stretch], cursor: str | None) -> StatesAnswer:
    return StatesAnswer(
        id=request.id,
        node=request.node,
        from_=request.from_,
        to=request.to,
        states=tuple(stretches),
        next=cursor,
    )
