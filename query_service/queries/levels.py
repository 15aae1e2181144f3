"""Levels: LAeq, LAFmax and percentiles of equal steps of a range."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from edge.core.instant import Instant
from edge.core.values import Count, LevelUnit, Positive
from query_service.queries.declaration import Bar, Column, Listing, QueryType
from query_service.queries.values import AnswerHead, Span

DEFAULT_STEP = 60  # seconds


class LevelStep(Span, frozen=True, kw_only=True):
    """Levels of one step, from the one-second LAeq of `seconds` seconds that were recorded in it; null without any.

    `laeq` is their energy mean, `l10` to `l90` what they exceed 10 to 90 % of the time, `laeq_max` the greatest.
    `lafmax` is null where a chunk with part of it reaches beyond the step. `unit` is null, as are the levels, where
    calibrated and uncalibrated ones meet.
    """

    seconds: Count
    unit: LevelUnit | None
    laeq: float | None
    laeq_max: float | None
    lafmax: float | None
    l10: float | None
    l50: float | None
    l90: float | None


class LevelsAnswer(AnswerHead, frozen=True, kw_only=True):
    """Steps of `step` seconds from `from` on, the last one cut at `to`; those without sound are left out. In order of
    time, or, if the request says so, the loudest ones alone, in one page."""

    type: Literal["levels"] = "levels"
    from_: Instant = field(name="from")
    to: Instant
    step: Positive
    levels: tuple[LevelStep, ...]
    next: str | None = None


def _bar(step: LevelStep) -> Bar | str:
    return "" if step.laeq is None else Bar(step.laeq, step.unit or "")


def _note(answer: LevelsAnswer) -> str:
    units = sorted({step.unit or "calibrated and uncalibrated mixed" for step in answer.levels})
    return f"in {' and '.join(units)}; - where the step alone has no such level"


LEVELS = QueryType(
    "levels",
    LevelsAnswer,
    fields=("step", "order"),
    joins=("levels",),
    listing=Listing(
        rows=lambda answer: answer.levels,
        columns=(
            Column("from", lambda step: step.from_),
            Column("LAeq", lambda step: step.laeq, is_number=True),
            Column("LAFmax", lambda step: step.lafmax, is_number=True),
            Column("L10", lambda step: step.l10, is_number=True),
            Column("L50", lambda step: step.l50, is_number=True),
            Column("L90", lambda step: step.l90, is_number=True),
            Column("", _bar, is_bar=True),
        ),
        summary=lambda answer: f"steps of {answer.step} s",
        empty="no levels: nothing is recorded there",
        note=_note,
    ),
)
