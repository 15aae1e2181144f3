"""States: in which state a range was, and why, without the chunks."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from msgspec import field

from edge.core.instant import Instant
from edge.core.values import GoneCause, HoleCause
from query_service.queries.declaration import Column, Listing, QueryType
from query_service.queries.values import AnswerHead, Span


class Stretch(Span, frozen=True, kw_only=True, omit_defaults=True):
    """Time in one state. `cause`: of a gap, or of what expired."""

    state: Literal["recorded", "pending", "recording", "paused", "gap", "expired", "future"]
    cause: HoleCause | GoneCause | None = None


class StatesAnswer(AnswerHead, frozen=True, kw_only=True):
    """The stretches tile [from, to) of the request, or, page by page, from where `cursor` stood to `next`. Neighbours
    in a page differ; a stretch that goes on in the next page is there again."""

    type: Literal["states"] = "states"
    from_: Instant = field(name="from")
    to: Instant
    states: tuple[Stretch, ...]
    next: str | None = None


STATES = QueryType(
    "states",
    StatesAnswer,
    joins=("states",),
    listing=Listing(
        rows=lambda answer: answer.states,
        columns=(
            Column("from", lambda stretch: stretch.from_),
            Column("to", lambda stretch: stretch.to),
            Column("length", lambda stretch: timedelta(microseconds=stretch.to - stretch.from_), is_number=True),
            Column("state", lambda stretch: stretch.state),
            Column("cause", lambda stretch: stretch.cause or ""),
        ),
        summary=lambda answer: f"{len(answer.states)} stretches",
        empty="no time",
    ),
)
