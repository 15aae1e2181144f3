"""Extent: from when to when there is sound, and how much."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from edge.core.instant import Instant
from edge.core.values import Count
from query_service.queries.days import SUMS, StateSeconds, UnitLevels
from query_service.queries.declaration import Column, Listing, QueryType
from query_service.queries.values import AnswerHead


class ExtentAnswer(AnswerHead, frozen=True, kw_only=True):
    """The sums, as of a day, of the time from the first sound that is kept to the end of the last; null where none is.
    `archives` in the store, of so many `bytes`."""

    type: Literal["extent"] = "extent"
    from_: Instant | None = field(name="from")
    to: Instant | None
    seconds: StateSeconds
    gaps: Count
    sounds: Count
    levels: tuple[UnitLevels, ...]
    archives: Count
    bytes: Count

    def __post_init__(self) -> None:
        if (self.from_ is None) != (self.to is None):
            raise ValueError("an extent has both ends, or none")


EXTENT = QueryType(
    "extent",
    ExtentAnswer,
    has_range=False,
    listing=Listing(
        rows=lambda answer: (answer,) if answer.from_ is not None else (),
        columns=(
            Column("from", lambda answer: answer.from_),
            Column("to", lambda answer: answer.to),
            *SUMS,
            Column("archives", lambda answer: str(answer.archives), is_number=True),
            Column("GB", lambda answer: f"{answer.bytes / 1e9:.3f}", is_number=True),
        ),
        summary=lambda _: "all that is kept",
        empty="no sound is kept",
    ),
)
