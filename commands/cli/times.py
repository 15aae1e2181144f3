"""Parses times and durations as people type them. Pure: `now` and the time zone are arguments."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from edge.core.errors import UsageError
from edge.core.instant import FIRST, LAST, MICROSECONDS, Instant

_EXAMPLES = "try 2026-03-03T22:00:00Z, '2026-03-03 22:00' (local time), 22:00, 'yesterday 22:00', or --last 10m"
_DURATIONS = "try 10m, 90s, 2h, 1d or 1h30m"
_LOCAL = re.compile(
    r"(?:(?P<day>\d{4}-\d\d-\d\d|today|yesterday)(?:[ T]+|$))?"
    r"(?P<clock>(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,6}))?)?)?",
    re.ASCII | re.IGNORECASE,
)
_NO_SECONDS = re.compile(r"(?<=[Tt ]\d\d:\d\d)(?=(?:[Zz]|[+-]\d\d:\d\d)$)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEP = re.compile(r"(\d{1,9})(?:\.(\d{1,6}))?(s|m|h|d)", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_time(text: str, now: Instant, zone: tzinfo | None = None) -> Instant:
    """RFC 3339 (seconds optional), or local time in `zone` (None: this machine's). Raises UsageError.

    A local time that occurs twice because of a clock change means the first; one that is skipped is an error.
    """
    text = text.strip()
    if text.lower() == "now":
        return now
    if re.search(r"(?:[Zz]|[+-]\d\d:\d\d)$", text) and ":" in text:
        try:
            return _checked(Instant.parse(_NO_SECONDS.sub(":00", text).replace(" ", "T", 1)))
        except (ValueError, OverflowError):
            raise UsageError(f"{text[:60]!r} is not a time; {_EXAMPLES}") from None
    match = _LOCAL.fullmatch(text)
    if not match or not text:
        raise UsageError(f"{text[:60]!r} is not a time; {_EXAMPLES}")
    try:
        local = datetime.combine(_day(match["day"], now, zone), _clock(match), zone)
        moment = local.astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
            if match["clock"] is not None:
                raise UsageError(f"{text[:60]!r} does not exist: clocks go forward then; use a time before or after")
            # a day without a midnight starts where midnight would be by the previous day's clock
            moment = (local - timedelta(days=1)).astimezone(UTC) + timedelta(days=1)
        return _checked(Instant((moment - _EPOCH) // timedelta(microseconds=1)))
    except (ValueError, OverflowError):
        raise UsageError(f"{text[:60]!r} does not exist; {_EXAMPLES}") from None


def parse_duration(text: str) -> int:
    """`10m`, `90s`, `2h`, `1d`, `1h30m` in microseconds; UsageError for anything else, and for 0."""
    steps = _STEP.findall(text.strip().lower())
    if not steps or _STEP.sub("", text.strip().lower()):
        raise UsageError(f"{text[:60]!r} is not a duration; {_DURATIONS}")
    total = 0
    for whole, fraction, unit in steps:
        total += (int(whole) * MICROSECONDS + int(fraction.ljust(6, "0") if fraction else 0)) * _UNITS[unit]
    if total == 0:
        raise UsageError(f"{text[:60]!r} is zero; {_DURATIONS}")
    return total


def parse_range(
    start: str | None, end: str | None, last: str | None, now: Instant, zone: tzinfo | None = None
) -> tuple[Instant, Instant]:
    """The range given by --from, --to and --last; the end is exclusive. UsageError.

    A time without a day is the most recent one; --to, however, is on the day of a --from without a day, and is today
    if it would otherwise not be after a --from of today.
    """
    if last is not None:
        if start is not None or end is not None:
            raise UsageError("--last cannot be combined with --from and --to")
        length = parse_duration(last)
        return Instant(max(now - length, FIRST)), now
    if start is None:
        raise UsageError("missing time range; use --last 10m, or --from and --to, such as --from 22:00 --to 22:10")
    first = _most_recent(start, now, zone)
    if end is None:
        stop = now
    elif _has_no_day(start) and _has_no_day(end):
        stop = parse_time(f"{_local_day(first, zone)} {end.strip()}", now, zone)
    else:
        stop = _most_recent(end, now, zone)
        if stop <= first and _local_day(first, zone) == _local_day(now, zone):
            stop = parse_time(end, now, zone)
    if first >= stop:
        limit = f"--to ({end})" if end is not None else "now"
        raise UsageError(f"--from ({start}) must be before {limit}")
    return first, stop


def parse_day(text: str, now: Instant, zone: tzinfo | None = None) -> tuple[Instant, Instant]:
    """`today`, `yesterday` or 2026-03-03: that day, up to now. Raises UsageError."""
    match = _LOCAL.fullmatch(text.strip())
    if match is None or match["day"] is None or match["clock"] is not None:
        raise UsageError(f"{text[:60]!r} is not a day; try today, yesterday or 2026-03-03")
    start = parse_time(text, now, zone)
    following = _day(match["day"], now, zone) + timedelta(days=1)
    if start >= now:
        raise UsageError(f"{text[:60]!r} has not begun; try today or yesterday")
    return start, min(now, parse_time(following.isoformat(), now, zone))


def _most_recent(text: str, now: Instant, zone: tzinfo | None) -> Instant:
    """As `parse_time`, but of a time without a day that is still to come today, the one of yesterday."""
    moment = parse_time(text, now, zone)
    return parse_time(f"yesterday {text.strip()}", now, zone) if moment > now and _has_no_day(text) else moment


def _has_no_day(text: str) -> bool:
    """Whether it is a time of day alone, such as `22:00`."""
    match = _LOCAL.fullmatch(text.strip())
    return match is not None and match["day"] is None and match["clock"] is not None


def _checked(moment: Instant) -> Instant:
    if not FIRST <= moment <= LAST:  # an offset can lead outside the years 1 to 9999
        raise ValueError(int(moment))
    return moment


def _day(text: str | None, now: Instant, zone: tzinfo | None) -> date:
    today = _local_day(now, zone)
    if text is None or text.lower() == "today":
        return today
    if text.lower() == "yesterday":
        return today - timedelta(days=1)
    return date.fromisoformat(text)


def _local_day(moment: Instant, zone: tzinfo | None) -> date:
    return moment.datetime().astimezone(zone).date()


def _clock(match: re.Match[str]) -> time:
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    return time(hour, minute, second, int((match["fraction"] or "").ljust(6, "0")))
