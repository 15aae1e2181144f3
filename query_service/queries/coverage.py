"""Coverage: which state each instant of a range has, and where its sound is."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from edge.core.ids import ArchiveId
from edge.core.instant import Instant
from edge.core.values import Count
from query_service.queries.declaration import QueryType
from query_service.queries.values import AnswerHead, ArchivePlace, Interval, Overlapped


class CoverageAnswer(AnswerHead, frozen=True, kw_only=True):
    """The intervals tile [from, to) of the request, or, page by page, from where `cursor` stood to `next`."""

    type: Literal["coverage"] = "coverage"
    from_: Instant = field(name="from")
    to: Instant
    intervals: tuple[Interval, ...]
    archives: dict[ArchiveId, ArchivePlace]
    overlapped: tuple[Overlapped, ...] = ()
    overlapped_left_out: Count = 0  # more of them than one message carries
    next: str | None = None


COVERAGE = QueryType("coverage", CoverageAnswer, joins=("intervals", "archives", "overlapped", "overlapped_left_out"))
