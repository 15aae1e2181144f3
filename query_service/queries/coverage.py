"""Coverage: which state each instant of a range has, and where its sound is."""

from __future__ import annotations

from typing import Literal

from msgspec import field
from msgspec.structs import replace

from edge.core.ids import ArchiveId
from edge.core.instant import Instant
from edge.core.values import Count
from query_service.queries.declaration import QueryType
from query_service.queries.values import AnswerHead, ArchivePlace, Gap, Interval, Overlapped


class CoverageAnswer(AnswerHead, frozen=True, kw_only=True):
    """The intervals tile [from, to) of the request, or, page by page, from where `cursor` stood to `next`."""

    type: Literal["coverage"] = "coverage"
    from_: Instant = field(name="from")
    to: Instant
    intervals: tuple[Interval, ...]
    archives: dict[ArchiveId, ArchivePlace]
    overlapped: tuple[Overlapped, ...] = ()
    overlapped_left_out: Count = 0  # more of them than one message carries
    known_since: Instant | None = None  # if [from, to) begins before anything that the node knows of: when that began
    next: str | None = None


def split_at_beginning(answer: CoverageAnswer) -> tuple[Instant, tuple[Interval, ...]]:
    """Until when the answer's time is before everything that the node knows of, and its intervals from there on."""
    intervals, reached = answer.intervals, answer.intervals[0].from_ if answer.intervals else answer.from_
    known_since = answer.known_since
    while known_since is not None and intervals and intervals[0].from_ < known_since:
        first = intervals[0]
        if not isinstance(first, Gap) or first.cause != "unknown":
            break
        reached = min(first.to, known_since)
        intervals = intervals[1:] if reached == first.to else (replace(first, from_=reached), *intervals[1:])
    return reached, intervals


COVERAGE = QueryType("coverage", CoverageAnswer, joins=("intervals", "archives", "overlapped", "overlapped_left_out"))
