"""A range of time at a glance: a bar of cells, and rows that run together what belongs together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from commands.show.formats import length
from edge.core.instant import Instant
from query_service.queries.values import Expired, Future, Gap, Interval, Paused, Pending, Recorded, Recording, Span

_SOUND = (Recorded, Pending, Recording)
_MIXED = "mixed"
# state -> glyph and style; all of one width, and told apart without colour too
GLYPHS = {
    "recorded": ("█", "green"),
    "pending": ("▓", "cyan"),
    "recording": ("▒", "cyan"),
    _MIXED: ("!", "bold red"),
    "paused": ("=", "yellow"),
    "gap": ("_", "red"),
    "expired": ("x", "magenta"),
    "future": ("·", "dim"),
    "before": ("-", "dim"),
}
_MEANING = {
    "pending": ", on the node only; `imhearing archive` uploads it",
    "recording": ", not in a finished chunk yet",
    "before": " the node's first recording",
}


class Before(Span, frozen=True, kw_only=True):
    """The time before the node knows of anything."""


Stretch = Interval | Before


class Row(NamedTuple):
    """Intervals of one state that follow each other, from one archive where they are recorded."""

    state: str
    start: Instant
    end: Instant
    chunks: int
    archive: str | None
    lafmax: float | None
    unit: str
    note: str
    uncertain: bool  # the clock could not be trusted


def state_of(interval: Stretch) -> str:
    """The name of its state, as it stands in the answer."""
    return type(interval).__name__.lower()


def cells(intervals: Sequence[Stretch], start: Instant, end: Instant, width: int) -> list[str]:
    """One state for each of `width` equal cells of [start, end); `mixed`: partly sound, and partly lost.

    What was not recorded, or deleted, on purpose is shown even if the cell has sound too. A cell of several kinds of
    sound shows the one that fills most of it, and so do several kinds of nothing.
    """
    found: list[str] = []
    first = 0
    for index in range(width):
        left = start + (end - start) * index // width
        right = start + (end - start) * (index + 1) // width
        while first < len(intervals) and intervals[first].to <= left:
            first += 1
        last = first
        while last < len(intervals) and intervals[last].from_ < right:
            last += 1
        found.append(_cell(intervals[first:last], left, right))
    return found


def _cell(there: Sequence[Stretch], left: int, right: int) -> str:
    absent = [interval for interval in there if not isinstance(interval, (*_SOUND, Future, Before))]
    if any(map(_is_lost, absent)) and any(isinstance(interval, _SOUND) for interval in there):
        return _MIXED
    share: dict[str, int] = {}
    for interval in absent or there:
        state = state_of(interval)
        share[state] = share.get(state, 0) + min(interval.to, right) - max(interval.from_, left)
    return max(share, key=lambda state: share[state], default="gap")


def _is_lost(interval: Stretch) -> bool:
    """Whether sound is missing that the owner wanted to keep."""
    return isinstance(interval, Gap) or (isinstance(interval, Expired) and interval.cause == "dropped")


def totals(intervals: Sequence[Stretch]) -> dict[str, int]:
    """Microseconds of each state, in the order of `GLYPHS`."""
    sums = dict.fromkeys(GLYPHS, 0)
    for interval in intervals:
        sums[state_of(interval)] += interval.to - interval.from_
    return {state: total for state, total in sums.items() if total}


def legend(intervals: Sequence[Stretch], start: Instant, end: Instant) -> list[tuple[str, str]]:
    """(glyph and words, style) for each state there is, with its length and share."""
    lines = []
    for state, total in totals(intervals).items():
        glyph, style = GLYPHS[state]
        lines.append(
            (f"{glyph} {state} {length(total)} ({_percent(total, end - start)}){_MEANING.get(state, '')}", style)
        )
    return lines


def rows(intervals: Sequence[Stretch]) -> list[Row]:
    """The intervals in order, those run together that differ only in their chunk."""
    found: list[Row] = []
    for interval in intervals:
        row = _row(interval)
        last = found[-1] if found else None
        if last and row.chunks and _kind(last) == _kind(row):
            found[-1] = last._replace(
                end=row.end,
                chunks=last.chunks + row.chunks,
                lafmax=max((level for level in (last.lafmax, row.lafmax) if level is not None), default=None),
            )
        else:
            found.append(row)
    return found


def _kind(row: Row) -> tuple[object, ...]:
    return row.state, row.archive, row.note, row.uncertain


def _row(interval: Stretch) -> Row:
    state, start, end = state_of(interval), interval.from_, interval.to
    uncertain = getattr(interval, "uncertain", False)
    match interval:
        case Recorded():
            return Row(
                state, start, end, 1, interval.where.archive, interval.lafmax, interval.unit or "",
                "encrypted" if interval.encrypted else "", uncertain,
            )  # fmt: skip
        case Pending():
            return Row(state, start, end, 1, None, interval.lafmax, interval.unit or "", "", uncertain)
        case Gap():
            return Row(state, start, end, 0, None, None, "", interval.cause.replace("_", " "), uncertain)
        case Expired():
            archive = interval.where.archive if interval.where else None
            return Row(state, start, end, 1, archive, None, "", interval.cause, uncertain)
        case Recording() | Paused() | Future() | Before():
            return Row(state, start, end, 0, None, None, "", "", uncertain)


def _percent(part: int, whole: int) -> str:
    """Never 100 % while something is missing, never 0 % of something."""
    share = 100 * part / whole
    if share < 0.01:
        return "< 0.01 %"
    return "> 99.99 %" if part < whole and share > 99.99 else f"{share:.4g} %"
