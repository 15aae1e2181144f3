"""Days: each local day of a range in sums."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from edge.core.instant import Instant
from edge.core.values import Count, GoneCause, HoleCause, LevelUnit
from query_service.queries.declaration import Cell, Column, Listing, QueryType
from query_service.queries.values import AnswerHead, Span

MOST_DAYS = 400
# No calendar has more: the years 1 to 9999 are 3.2e11 seconds. The sum of all causes still fits into a timedelta.
Seconds = Annotated[float, Meta(ge=0, le=1e12)]


class StateSeconds(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Seconds in each state of an interval; those that do not occur are left out. Together they are all the time."""

    recorded: Seconds = 0.0
    pending: Seconds = 0.0
    recording: Seconds = 0.0
    paused: Seconds = 0.0
    gap: dict[HoleCause, Seconds] = {}
    expired: dict[GoneCause, Seconds] = {}
    future: Seconds = 0.0

    @property
    def sound(self) -> float:
        return self.recorded + self.pending + self.recording


class UnitLevels(Struct, frozen=True, kw_only=True):
    """Of the one-second LAeq of `seconds` seconds: `laeq` is their energy mean, `laeq_max` the greatest."""

    unit: LevelUnit
    seconds: Count
    laeq: float
    laeq_max: float


class Day(Span, frozen=True, kw_only=True):
    """A local day: from its midnight to the next, `hours` later, which are 23 or 25 when clocks change.

    `gaps` that have a part in it, `sounds` that begin in it; `levels` by their unit.
    """

    date: str
    hours: float
    seconds: StateSeconds
    gaps: Count
    sounds: Count
    levels: tuple[UnitLevels, ...]


class DaysAnswer(AnswerHead, frozen=True, kw_only=True):
    """The local days that have a part in [from, to), each of them whole. `zone`: whose days, an IANA name; null if it
    is the node's own and has no name."""

    type: Literal["days"] = "days"
    from_: Instant = field(name="from")
    to: Instant
    zone: str | None
    days: tuple[Day, ...]
    next: str | None = None


def _length(seconds: float) -> Cell:
    return timedelta(seconds=seconds) if seconds else None


def _level(sums: Any, name: str) -> str:
    return " ".join(f"{getattr(levels, name):.1f} {levels.unit}" for levels in sums.levels) or "-"


# of a day, or of all days
SUMS = (
    Column("sound", lambda sums: _length(sums.seconds.sound), is_number=True),
    Column("paused", lambda sums: _length(sums.seconds.paused), is_number=True),
    Column("expired", lambda sums: _length(sum(sums.seconds.expired.values())), is_number=True),
    Column("missing", lambda sums: _length(sum(sums.seconds.gap.values())), is_number=True),
    Column("gaps", lambda sums: str(sums.gaps), is_number=True),
    Column("sounds", lambda sums: str(sums.sounds), is_number=True),
    Column("LAeq", lambda sums: _level(sums, "laeq"), is_number=True),
    Column("loudest", lambda sums: _level(sums, "laeq_max"), is_number=True),
)
DAYS = QueryType(
    "days",
    DaysAnswer,
    fields=("zone",),
    joins=("days",),
    listing=Listing(
        rows=lambda answer: answer.days,
        columns=(
            Column("day", lambda day: day.date),
            Column("hours", lambda day: f"{day.hours:g}", is_number=True),
            *SUMS,
        ),
        summary=lambda answer: f"days of {answer.zone}" if answer.zone else "the node's days",
        empty="no days",
    ),
)
