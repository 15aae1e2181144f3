"""The recording schedule: windows of the day, by clock or sun, and duty cycles. Pure.

`06:00-22:00`, `sunset-30m..sunrise+30m`, `60s/300s` (the first 60 of every 300 seconds), a combination of them
(`sunset..sunrise 60s/300s`), or alternatives (`05:00-08:00, sunset..23:00`). Empty: always.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple, get_args

from edge.configuration.settings import Node, Settings
from edge.configuration.sun import Place, SunEvent, sun_time
from edge.core.instant import MICROSECONDS, Instant

_EXAMPLES = "examples: 06:00-22:00, sunset-30m..sunrise+30m, 60s/300s, or sunset..sunrise 60s/300s"
_EVENTS: tuple[str, ...] = get_args(SunEvent)
_CLOCK = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)", re.ASCII)
_SUN = re.compile(rf"({'|'.join(_EVENTS)})(?:([+-])([0-9smh.]+))?", re.ASCII)
_LENGTH = re.compile(r"(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?", re.ASCII)
_DEGREES = re.compile(r"[+-]?\d{1,3}(?:\.\d{1,9})?", re.ASCII)
_MAX_OFFSET = 12 * 3_600  # seconds
_MAX_CYCLE = 86_400  # seconds
_NOMINAL = {"sunrise": 6.0, "sunset": 18.0, "dawn": 5.5, "dusk": 18.5}  # hours, to decide which day a window ends
_DAY = 86_400 * MICROSECONDS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOOKAHEAD_DAYS = 2  # searched for the next change


class ScheduleState(NamedTuple):
    """Whether it is time to record, and until when this state lasts."""

    on: bool
    until: Instant


class _Boundary(NamedTuple):
    """A time of day, by the clock or by the sun with an offset."""

    minutes: int | None  # since local midnight, up to 24:00
    event: SunEvent | None
    offset: int  # seconds

    @property
    def nominal(self) -> float:
        """Hours since midnight; for the sun, on an average day."""
        return self.minutes / 60 if self.minutes is not None else _NOMINAL[self.event or "sunset"] + self.offset / 3_600


class _Window(NamedTuple):
    """From `start` to `end` every day; the next day's `end` if it precedes `start` on an average day."""

    start: _Boundary
    end: _Boundary

    @property
    def next_day(self) -> int:
        return int(self.end.nominal <= self.start.nominal)


class _DutyCycle(NamedTuple):
    """The first `on` of every `cycle` seconds since 1970, so that nodes with the same cycle record simultaneously."""

    on: int
    cycle: int


_Part = _Window | _DutyCycle


class Schedule:
    """A schedule at a place, made by `parse`; `zone` None is the local time zone."""

    def __init__(self, alternatives: tuple[tuple[_Part, ...], ...], place: Place | None, zone: tzinfo | None) -> None:
        self._alternatives, self._place, self._zone = alternatives, place, zone

    def at(self, now: Instant) -> ScheduleState:
        """The state at `now`; windows and cycles include their start and exclude their end.

        `until` is when it changes, or a day from `now` at the latest.
        """
        horizon = Instant(now + _DAY)
        if not self._alternatives:
            return ScheduleState(True, horizon)
        state = self._at(now)
        while state.until < horizon and (following := self._at(state.until)).on == state.on:
            state = following
        return ScheduleState(state.on, min(state.until, horizon))

    def _at(self, now: Instant) -> ScheduleState:
        """Like `at`, but the next state may be the same as this one."""
        states = [self._alternative_at(parts, now) for parts in self._alternatives]
        if any(state.on for state in states):
            return ScheduleState(True, max(state.until for state in states if state.on))
        return ScheduleState(False, min(state.until for state in states))

    def _alternative_at(self, parts: tuple[_Part, ...], now: Instant) -> ScheduleState:
        states = [
            _duty_cycle_at(part, now) if isinstance(part, _DutyCycle) else self._window_at(part, now) for part in parts
        ]
        if all(state.on for state in states):
            return ScheduleState(True, min(state.until for state in states))
        return ScheduleState(False, max(state.until for state in states if not state.on))

    def _window_at(self, window: _Window, now: Instant) -> ScheduleState:
        today = now.datetime().astimezone(self._zone).date()
        spans = _merge(self._span(window, today + timedelta(days=day)) for day in range(-3, _LOOKAHEAD_DAYS + 2))
        for start, end in spans:
            if now < start:
                return ScheduleState(False, Instant(min(start, now + _DAY)))
            if now < end:
                return ScheduleState(True, Instant(min(end, now + _DAY)))
        return ScheduleState(False, Instant(now + _DAY))

    def _span(self, window: _Window, day: date) -> tuple[int, int]:
        """The window on `day`; empty if it ends before it starts (as when the sun sets after 22:00)."""
        return self._moment(window.start, day, last=False), self._moment(
            window.end, day + timedelta(days=window.next_day), last=True
        )

    def _moment(self, boundary: _Boundary, day: date, *, last: bool) -> int:
        if boundary.minutes is not None:
            return _local(day, boundary.minutes, self._zone, last)
        assert boundary.event is not None and self._place is not None  # noqa: S101, PT018 - checked by parse
        shift = _days_apart(day, self._place.longitude, self._zone)
        return sun_time(boundary.event, day - timedelta(days=shift), self._place) + boundary.offset * MICROSECONDS


def place_of(node: Node) -> Place | None:
    """The node's position; None if it is not configured. Raises ValueError."""
    if not node.latitude and not node.longitude:
        return None
    return Place(
        _degrees(node.latitude, 90, "latitude", "52.52"), _degrees(node.longitude, 180, "longitude", "13.405")
    )  # fmt: skip


def _degrees(text: str, limit: int, name: str, example: str) -> float:
    if not _DEGREES.fullmatch(text) or not abs(float(text)) <= limit:
        raise ValueError(f"{name} {text[:40]!r}: expected degrees from -{limit} to {limit}, such as {example}")
    return float(text)


def schedule_of(settings: Settings, zone: tzinfo | None = None) -> Schedule:
    """The recorder's schedule. Raises ValueError."""
    return parse(settings.recorder.schedule, place_of(settings.node), zone)


def parse(text: str, place: Place | None = None, zone: tzinfo | None = None) -> Schedule:
    """The schedule that `text` describes. ValueError explains what is wrong and gives examples."""
    if not text.strip():
        return Schedule((), place, zone)
    alternatives = []
    for alternative in text.lower().split(","):
        words = alternative.split()
        if not words:
            raise ValueError(f"nothing before or after a comma; {_EXAMPLES}")
        alternatives.append(tuple(_part(word) for word in words))
    if place is None and any(_needs_sun(part) for parts in alternatives for part in parts):
        raise ValueError("sunrise and sunset need a position; set [node] latitude and longitude")
    return Schedule(tuple(alternatives), place, zone)


def _part(word: str) -> _Part:
    if "/" in word:
        return _duty_cycle(word)
    start, dots, end = word.partition("..")
    if not dots:
        start, _, end = word.partition("-")
        if not (_CLOCK.fullmatch(start) and _CLOCK.fullmatch(end)):
            raise ValueError(f"{word[:40]!r} is not a time window; {_EXAMPLES}")
    window = _Window(_boundary(start, word), _boundary(end, word))
    if window.start == window.end:
        raise ValueError(f"{word[:40]!r} starts and ends at the same time; leave it out to record all day")
    return window


def _boundary(text: str, word: str) -> _Boundary:
    if clock := _CLOCK.fullmatch(text):
        minutes = int(clock[1]) * 60 + int(clock[2])
        if minutes <= 24 * 60:
            return _Boundary(minutes, None, 0)
    if sun := _SUN.fullmatch(text):
        offset = _length(sun[3]) if sun[3] else 0
        if offset is not None and offset <= _MAX_OFFSET:
            event: SunEvent = sun[1]  # type: ignore[assignment]  # guaranteed by the pattern
            return _Boundary(None, event, -offset if sun[2] == "-" else offset)
    raise ValueError(
        f"{text[:40] or word[:40]!r} is not a time of day; use a clock time (06:00) or {', '.join(_EVENTS)},"
        f" plus or minus up to 12 hours (sunset-30m); {_EXAMPLES}"
    )


def _duty_cycle(word: str) -> _DutyCycle:
    on, _, cycle = word.partition("/")
    duty = _DutyCycle(_length(on) or 0, _length(cycle) or 0)
    if not duty.on or not duty.cycle:
        raise ValueError(f"{word[:40]!r} is not a duty cycle; {_EXAMPLES}")
    if not duty.on < duty.cycle <= _MAX_CYCLE:
        raise ValueError(f"{word[:40]!r}: the first length must be shorter than the second, which is at most a day")
    return duty


def _length(text: str) -> int | None:
    """`30m`, `1h30m`, `90s` in seconds; None for anything else."""
    match = _LENGTH.fullmatch(text)
    if not text or not match:
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3_600 + minutes * 60 + seconds


def _needs_sun(part: _Part) -> bool:
    return isinstance(part, _Window) and (part.start.event is not None or part.end.event is not None)


def _duty_cycle_at(duty: _DutyCycle, now: Instant) -> ScheduleState:
    cycle = duty.cycle * MICROSECONDS
    start = now - now % cycle
    off_at = start + duty.on * MICROSECONDS
    return ScheduleState(True, Instant(off_at)) if now < off_at else ScheduleState(False, Instant(start + cycle))


def _merge(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted, without empty spans; those that touch or overlap are merged."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def _local(day: date, minutes: int, zone: tzinfo | None, last: bool) -> int:
    """A local time; if a clock change makes it occur twice, the first or the `last` of both."""
    day += timedelta(days=minutes // (24 * 60))
    moment = datetime.combine(day, time(minutes // 60 % 24, minutes % 60, fold=int(last)), zone)
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def _days_apart(day: date, longitude: float, zone: tzinfo | None) -> int:
    """Days by which the calendar is ahead of solar time: 1 on islands that moved the date line (Kiribati)."""
    noon = datetime.combine(day, time(12), zone).astimezone(zone)
    hours = (noon.utcoffset() or timedelta()) / timedelta(hours=1)
    return round((hours - longitude / 15) / 24)
