"""Times as people type them -> instants. Pure: the present and the time zone are handed in."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from edge.core.errors import UsageError
from edge.core.instant import FIRST, LAST, MICROSECONDS, Instant

_EXAMPLES = "try 2026-03-03T22:00:00Z, '2026-03-03 22:00' (local time), 22:00 (today), 'yesterday 22:00', or --last 10m"
_DURATIONS = "try 10m, 90s, 2h, 1d or 1h30m"
_LOCAL = re.compile(
    r"(?:(?P<day>\d{4}-\d\d-\d\d|today|yesterday)(?:[ T]+|$))?"
    r"(?P<clock>\d{1,2}:\d\d(?::\d\d(?:\.\d{1,6})?)?)?",
    re.ASCII | re.IGNORECASE,
)
_NO_SECONDS = re.compile(r"(?<=[Tt ]\d\d:\d\d)(?=(?:[Zz]|[+-]\d\d:\d\d)$)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?", re.ASCII)
_STEP = re.compile(r"(\d{1,9})(?:\.(\d{1,6}))?(s|m|h|d)", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_time(text: str, now: Instant, zone: tzinfo | None = None) -> Instant:
    """RFC 3339, also without seconds, or local time of `zone` (None: this machine's). UsageError for all else.

    Of a local time that a clock change makes occur twice, the first is meant; one that it skips is refused.
    """
    text = text.strip()
    if text.lower() == "now":
        return now
    if re.search(r"(?:[Zz]|[+-]\d\d:\d\d)$", text) and ":" in text:
        try:
            return _checked(Instant.parse(_NO_SECONDS.sub(":00", text).replace(" ", "T", 1)))
        except (ValueError, OverflowError):
            raise UsageError(f"{text[:60]!r} is no time; {_EXAMPLES}") from None
    match = _LOCAL.fullmatch(text)
    if not match or not text:
        raise UsageError(f"{text[:60]!r} is no time; {_EXAMPLES}")
    try:
        local = datetime.combine(_day(match["day"], now, zone), _clock(match["clock"]), zone)
        moment = local.astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
            if match["clock"] is not None:
                raise UsageError(
                    f"{text[:60]!r} is no time that exists: the clocks go forward then; name one before or after"
                )
            # a day that has no midnight begins when it would have come by the clock of the day before
            moment = (local - timedelta(days=1)).astimezone(UTC) + timedelta(days=1)
        return _checked(Instant((moment - _EPOCH) // timedelta(microseconds=1)))
    except (ValueError, OverflowError):
        raise UsageError(f"{text[:60]!r} is no time that exists; {_EXAMPLES}") from None


def parse_duration(text: str) -> int:
    """`10m`, `90s`, `2h`, `1d`, `1h30m` in microseconds; UsageError with examples for all else, and for 0."""
    steps = _STEP.findall(text.strip().lower())
    if not steps or _STEP.sub("", text.strip().lower()):
        raise UsageError(f"{text[:60]!r} is no length of time; {_DURATIONS}")
    total = 0
    for whole, fraction, unit in steps:
        total += (int(whole) * MICROSECONDS + int(fraction.ljust(6, "0") if fraction else 0)) * _UNITS[unit]
    if total == 0:
        raise UsageError(f"{text[:60]!r} is no time at all; {_DURATIONS}")
    return total


def parse_range(
    start: str | None, end: str | None, last: str | None, now: Instant, zone: tzinfo | None = None
) -> tuple[Instant, Instant]:
    """The range that --from, --to and --last name together: `from` inclusive, `to` exclusive. UsageError."""
    if last is not None:
        if start is not None or end is not None:
            raise UsageError("--last goes without --from and --to")
        length = parse_duration(last)
        return Instant(max(now - length, FIRST)), now
    if start is None:
        raise UsageError("which time? Give --last 10m, or --from and --to, as in --from 22:00 --to 22:10")
    first = parse_time(start, now, zone)
    after = now if end is None else parse_time(end, now, zone)
    if first >= after:
        named = f"--to ({end})" if end is not None else "now"
        raise UsageError(f"--from ({start}) must be before {named}")
    return first, after


def _checked(moment: Instant) -> Instant:
    if not FIRST <= moment <= LAST:  # an offset can lead out of the years 1 to 9999
        raise ValueError(int(moment))
    return moment


def _day(word: str | None, now: Instant, zone: tzinfo | None) -> date:
    today = now.datetime().astimezone(zone).date()
    if word is None or word.lower() == "today":
        return today
    if word.lower() == "yesterday":
        return today - timedelta(days=1)
    return date.fromisoformat(word)


def _clock(text: str | None) -> time:
    match = _CLOCK.fullmatch(text or "0:00")
    if not match:
        raise ValueError(text)
    hour, minute, second, fraction = match.groups()
    return time(int(hour), int(minute), int(second or 0), int((fraction or "").ljust(6, "0")))
