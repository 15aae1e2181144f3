"""A moment that more chunks claim than one question may read: which one counts is found out over several questions."""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from edge.catalog.budget import Budget
from edge.catalog.rollup.tiling import KnownChunk, Piece, Running, strength
from edge.catalog.values import ChunkClaim
from edge.core.errors import BudgetSpent
from edge.core.ids import seq_of, stream_of
from edge.core.instant import MICROSECONDS, Instant

_KEPT = 16  # moments
_MEMORY = 10 * MICROSECONDS  # later, other chunks may be there
_SHOWN = 400  # more chunks that outdo nobody than one page of 48 kB names


class Crowd:
    """The first piece of [start, ...): its owner, where it ends, and who else claims some of it. `alone`: that piece by
    the facts of the spool alone; `most`: as many chunks can be read once the owner is known."""

    def __init__(self, start: Instant, alone: Piece, most: int) -> None:
        rival = alone.owner
        self.start, self.until = start, alone.end
        self.after: tuple[Instant, str] | None = None  # what was read so far: in order of start, then ID
        self.is_whole = False
        self.count = 0  # of chunks with a part in the piece
        self._best = strength(rival) if isinstance(rival, KnownChunk | Running) else None
        self._bound = alone.end
        self._owner: str | None = None  # None: the spool's
        self._others: list[str] = []  # the first, in the order in which an answer names them
        self._most = max(1, min(_SHOWN, most))

    @property
    def chunk_ids(self) -> list[str]:
        """The owner's, and the first of those that it outdoes."""
        others = [name for name in self._others if name != self._owner][: self._most - 1]
        return ([self._owner] if self._owner else []) + others

    def read(
        self,
        claims_after: Callable[[tuple[Instant, str] | None, int], Sequence[ChunkClaim]],
        is_here: Callable[[ChunkClaim], bool],
        budget: Budget,
    ) -> None:
        """Goes on where it stopped, to the end of the piece. `claims_after`: the next claims with a part in the range,
        some at most; `is_here`: whether the chunk still exists. Raises BudgetSpent."""
        while not self.is_whole:
            claims = claims_after(self.after, max(1, budget.rows_left // 2))  # `is_here` may read each one, too
            budget.count_row()
            for _ in claims[1:]:
                budget.count_row()
            self._take_in(claims, is_here)
            self.is_whole |= not claims
            if budget.should_stop:
                raise BudgetSpent("many recordings claim the same time; repeat the question to search on")

    def _take_in(self, claims: Iterable[ChunkClaim], is_here: Callable[[ChunkClaim], bool]) -> None:
        for claim in claims:
            is_counted = is_here(claim)
            self.after = claim.started_at, claim.chunk_id
            if not is_counted:
                continue
            rank = (not claim.uncertain, claim.ordinal, stream_of(claim.chunk_id), seq_of(claim.chunk_id))
            is_better = self._best is None or rank > self._best
            if claim.started_at > self.start and (is_better or claim.started_at >= self.until):
                self.until = min(self.until, claim.started_at)
                self.is_whole = True
                return
            if is_better:
                self._best, self._owner = rank, claim.chunk_id
                self.until = min(self._bound, claim.ended_at)
            self._add(claim)

    def _add(self, claim: ChunkClaim) -> None:
        self.count += 1
        if claim.started_at > self.start:
            self._others.append(claim.chunk_id)
        else:  # they begin where the piece does
            insort(self._others, claim.chunk_id)
        del self._others[self._most :]


class Crowds:
    """The last ones, so that a question that is repeated goes on where it stopped."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Instant, Instant], tuple[Instant, Crowd]] = OrderedDict()

    def find(self, start: Instant, end: Instant, now: Instant) -> Crowd | None:
        """The one at `start`, if it was of use a moment ago."""
        used_at, crowd = self._kept.pop((start, end), (now, None))
        if crowd is None or abs(now - used_at) > _MEMORY:
            return None
        self.keep(crowd, end, now)
        return crowd

    def keep(self, crowd: Crowd, end: Instant, now: Instant) -> None:
        self._kept[crowd.start, end] = now, crowd
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def drop(self, crowd: Crowd, end: Instant) -> None:
        self._kept.pop((crowd.start, end), None)
