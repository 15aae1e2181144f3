"""Times, durations, counts and levels in readable form. Local time unless `utc`."""

from __future__ import annotations

from datetime import UTC, datetime

from edge.core.instant import MICROSECONDS, Instant

_FLOOR = {"dBFS": -90.0, "dBA": 20.0}  # the left end of the level bar
_SPAN = 90.0  # dB from its left to its right end


def local(moment: Instant, utc: bool = False) -> datetime:
    """An aware datetime; UTC if local time is outside the years 1 to 9999."""
    try:
        return moment.datetime() if utc else moment.datetime().astimezone()
    except (OverflowError, ValueError):
        return moment.datetime().astimezone(UTC)


def clock(moment: Instant, utc: bool = False) -> str:
    """`22:00:05`."""
    return f"{local(moment, utc):%H:%M:%S}"


def precise(moment: Instant, utc: bool = False, with_day: bool = False) -> str:
    """`22:00:05.250`, or `2026-03-03 22:00:05.250`."""
    at = local(moment, utc)
    day = f"{at.year:04}-{at:%m-%d} " if with_day else ""
    return f"{day}{at:%H:%M:%S}.{at.microsecond // 1000:03}"


def full(moment: Instant, utc: bool = False) -> str:
    """`2026-03-03 22:00:05`."""
    at = local(moment, utc)
    return f"{at.year:04}-{at:%m-%d %H:%M:%S}"


def same_day(start: Instant, end: Instant, utc: bool = False) -> bool:
    return local(start, utc).date() == local(end, utc).date()


def when(moment: Instant, now: Instant, utc: bool = False) -> str:
    """`22:00:05` if that is on the day of `now`, else `2026-03-03 22:00:05`."""
    return clock(moment, utc) if same_day(moment, now, utc) else full(moment, utc)


def span(start: Instant, end: Instant, utc: bool = False) -> str:
    """`2026-03-03 22:00:00 to 22:10:00`; the second date only if it differs."""
    return f"{full(start, utc)} to {when(end, start, utc)}"


def zone(start: Instant, end: Instant, utc: bool = False) -> str:
    """`UTC`, or `local, UTC+01:00`; both offsets if the clock changes in between."""
    if utc:
        return "UTC"
    first, last = _offset(start), _offset(end)
    return f"local, {first}" if first == last else f"local, {first}, then {last}"


def _offset(moment: Instant) -> str:
    offset = f"{local(moment):%z}"
    return f"UTC{offset[:3]}:{offset[3:5]}"


def count(number: int, noun: str) -> str:
    """`1 chunk`, `2 chunks`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def length(microseconds: int) -> str:
    """`0.25 s`, `12.3 s`, `5 min 03 s`, `2 h 05 min`, `3 d 4 h`."""
    seconds = microseconds / MICROSECONDS
    if seconds < 1:
        return f"{seconds:.3f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    total = round(seconds)
    if total < 3_600:
        return f"{total // 60} min {total % 60:02} s"
    if total < 86_400:
        return f"{total // 3_600} h {total // 60 % 60:02} min"
    return f"{total // 86_400} d {total // 3_600 % 24} h"


def level_bar(laeq: float, unit: str, width: int) -> str:
    """A bar from silence to the loudest possible level."""
    full = max(0.0, min(1.0, (laeq - _FLOOR.get(unit, -90.0)) / _SPAN)) * width
    return "█" * int(full) + ("▌" if full % 1 >= 0.5 else "")
