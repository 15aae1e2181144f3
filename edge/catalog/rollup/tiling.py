"""Which one state each instant has. Pure: facts and now in, pieces that tile a range exactly out."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from msgspec import Struct

from edge.core.instant import Instant
from edge.core.values import Archive, Chunk, GoneCause, Hole, Where


class KnownChunk(Struct, frozen=True):
    """A finished chunk, its times corrected, and what became of it. `ordinal`: of its stream."""

    chunk: Chunk
    where: Where | None = None
    expired: GoneCause | None = None
    ordinal: int = 0


class Running(Struct, frozen=True):
    """Sound of a stream that no finished chunk holds yet."""

    from_: Instant
    to: Instant
    stream_id: str
    ordinal: int
    uncertain: bool


class RangeFacts(Struct, frozen=True):
    """What is known about a range. Complete for every instant before `until`, where the range goes further.

    `left_out`: where too many chunks claim the same time, they are those of one piece, without so many that lose it.
    """

    chunks: tuple[KnownChunk, ...]
    holes: tuple[Hole, ...]  # an open one reaches to now
    running: Running | None
    archives: dict[str, Archive]
    until: Instant
    left_out: int | None = None


class Nothing(NamedTuple):
    """No fact speaks for this time: a gap of unknown cause, or the future."""

    future: bool


Owner = KnownChunk | Running | Hole | Nothing


class Piece(NamedTuple):
    """[start, end) belongs to `owner`; `losers` claim some of it too."""

    start: Instant
    end: Instant
    owner: Owner
    losers: tuple[KnownChunk, ...]


class _Claim(NamedTuple):
    start: Instant
    end: Instant
    owner: Owner


def tile(facts: RangeFacts, start: Instant, end: Instant, now: Instant) -> list[Piece]:
    """Pieces that tile [start, end) in order; neighbours differ in what an answer says of them.

    A finished chunk or the running stream beats a hole; among them the synchronised beats the uncertain, then the
    later-opened stream. Sound that claims to be from the future is believed, holes are not.
    """
    claims = _claims(facts, start, end, now)
    owned = _merged(_sweep(claims, start, end, now))
    return list(_with_losers(owned, claims))


def strength(owner: KnownChunk | Running) -> tuple[bool, int, str, int]:
    """Whose claim to an instant is the better one: the greater."""
    if isinstance(owner, Running):
        return (not owner.uncertain, owner.ordinal, owner.stream_id, -1)
    chunk = owner.chunk
    return (not chunk.uncertain, owner.ordinal, chunk.stream_id, chunk.seq)


def overlap(chunks: Iterable[KnownChunk], running: Running | None = None) -> bool:
    """Whether two claim the same time: only then do the ordinals of their streams matter."""
    spans = [_span(known) for known in chunks] + ([_span(running)] if running else [])
    spans.sort()
    return any(later[0] < earlier[1] for earlier, later in pairwise(spans))


def _claims(facts: RangeFacts, start: Instant, end: Instant, now: Instant) -> list[_Claim]:
    """The best first, clipped to the range."""
    sound: list[KnownChunk | Running] = [*facts.chunks]
    if facts.running is not None:
        sound.append(facts.running)
    sound.sort(key=strength, reverse=True)
    # the hole that began last knows most; of those the shortest
    holes = sorted(facts.holes, key=lambda hole: (-hole.from_, hole.to, hole.cause))
    claims = [_Claim(*_span(owner), owner) for owner in sound]
    claims += [_Claim(hole.from_, min(hole.to, now), hole) for hole in holes]
    clipped = (_Claim(max(claim.start, start), min(claim.end, end), claim.owner) for claim in claims)
    return [claim for claim in clipped if claim.start < claim.end]


def _span(owner: KnownChunk | Running) -> tuple[Instant, Instant]:
    if isinstance(owner, Running):
        return owner.from_, owner.to
    return owner.chunk.started_at, owner.chunk.ended_at


def _sweep(claims: list[_Claim], start: Instant, end: Instant, now: Instant) -> Iterator[_Claim]:
    """The owner of each stretch between two boundaries of claims."""
    points = {start, end, min(max(now, start), end)}
    points.update(claim.start for claim in claims)
    points.update(claim.end for claim in claims)
    waiting = sorted(enumerate(claims), key=lambda item: item[1].start, reverse=True)
    heap: list[tuple[int, _Claim]] = []  # by place among the claims, the best first; those that ended linger
    for here, there in pairwise(sorted(points)):
        while waiting and waiting[-1][1].start <= here:
            heapq.heappush(heap, waiting.pop())
        while heap and heap[0][1].end <= here:
            heapq.heappop(heap)
        yield _Claim(here, there, heap[0][1].owner if heap else Nothing(future=here >= now))


def _merged(stretches: Iterable[_Claim]) -> list[_Claim]:
    merged: list[_Claim] = []
    for stretch in stretches:
        if merged and _reads_the_same(merged[-1].owner, stretch.owner):
            merged[-1] = merged[-1]._replace(end=stretch.end)
        else:
            merged.append(stretch)
    return merged


def _reads_the_same(left: Owner, right: Owner) -> bool:
    """Whether an answer would say the same of both."""
    return left is right or _gap_cause(left) == _gap_cause(right) is not None


def _gap_cause(owner: Owner) -> str | None:
    if isinstance(owner, Hole):
        return owner.cause
    if isinstance(owner, Nothing):
        return "future" if owner.future else "unknown"
    return None


def _with_losers(owned: list[_Claim], claims: list[_Claim]) -> Iterator[Piece]:
    waiting = [claim for claim in claims if isinstance(claim.owner, KnownChunk)]
    waiting.sort(key=lambda claim: claim.start, reverse=True)
    active: list[_Claim] = []
    for piece in owned:
        while waiting and waiting[-1].start < piece.end:
            active.append(waiting.pop())
        active = [claim for claim in active if claim.end > piece.start]
        if all(claim.owner is piece.owner for claim in active):  # nearly always
            yield Piece(piece.start, piece.end, piece.owner, ())
            continue
        # in an order that does not depend on where a page begins
        lost = sorted(
            (max(claim.start, piece.start), claim.owner.chunk.chunk_id, number)
            for number, claim in enumerate(active)
            if isinstance(claim.owner, KnownChunk) and claim.owner is not piece.owner
        )
        losers = tuple(owner for *_, number in lost if isinstance(owner := active[number].owner, KnownChunk))
        yield Piece(piece.start, piece.end, piece.owner, losers)
