"""When to record: windows of the day, by the clock or by the sun, and duty cycles. Pure.

`06:00-22:00`, `sunset-30m..sunrise+30m`, `60s/300s` (the first 60 of every 300 seconds), several of them at once
(`sunset..sunrise 60s/300s`), and either of several (`05:00-08:00, sunset..23:00`). Empty: always.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple, get_args

from edge.configuration.settings import Node, Settings
from edge.configuration.sun import Place, SunEvent, sun_time
from edge.core.instant import MICROSECONDS, Instant

_EXAMPLES = "as in 06:00-22:00, sunset-30m..sunrise+30m, 60s/300s, or sunset..sunrise 60s/300s"
_EVENTS: tuple[str, ...] = get_args(SunEvent)
_CLOCK = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)", re.ASCII)
_SUN = re.compile(rf"({'|'.join(_EVENTS)})(?:([+-])([0-9smh.]+))?", re.ASCII)
_LENGTH = re.compile(r"(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?", re.ASCII)
_DEGREES = re.compile(r"[+-]?\d{1,3}(?:\.\d{1,9})?", re.ASCII)
_LONGEST_OFFSET = 12 * 3_600  # seconds
_LONGEST_CYCLE = 86_400  # seconds
_NOMINAL = {"sunrise": 6.0, "sunset": 18.0, "dawn": 5.5, "dusk": 18.5}  # hours, to tell which day an end means
_DAY = 86_400 * MICROSECONDS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AHEAD_DAYS = 2  # looked at for the next change


class Now(NamedTuple):
    """Whether it is time to record, and until when that holds: then ask again."""

    on: bool
    until: Instant


class _Edge(NamedTuple):
    """A time of day: a clock's, or the sun's with an offset."""

    minutes: int | None  # since local midnight, up to 24:00
    event: SunEvent | None
    offset: int  # seconds

    @property
    def nominal(self) -> float:
        """Hours since midnight, the sun's as on an average day."""
        return self.minutes / 60 if self.minutes is not None else _NOMINAL[self.event or "sunset"] + self.offset / 3_600


class _Window(NamedTuple):
    """Each day from `start` to `end`, which is the next day's where it comes before `start` on an average day."""

    start: _Edge
    end: _Edge

    @property
    def next_day(self) -> int:
        return int(self.end.nominal <= self.start.nominal)


class _Duty(NamedTuple):
    """The first `on` of every `cycle` seconds, counted from 1970: all nodes with the same cycle record together."""

    on: int
    cycle: int


_Part = _Window | _Duty


class Schedule:
    """A schedule at a place; `zone` None: this machine's. Make one with `parse`."""

    def __init__(self, choices: tuple[tuple[_Part, ...], ...], place: Place | None, zone: tzinfo | None) -> None:
        self._choices, self._place, self._zone = choices, place, zone

    def at(self, now: Instant) -> Now:
        """Whether `now` is a time to record. The first moment of a window or cycle is one, its end is not.

        `until` is when that changes, or a day from `now` at the latest.
        """
        horizon = Instant(now + _DAY)
        if not self._choices:
            return Now(True, horizon)
        answer = self._at(now)
        while answer.until < horizon and (following := self._at(answer.until)).on == answer.on:
            answer = following
        return Now(answer.on, min(answer.until, horizon))

    def _at(self, now: Instant) -> Now:
        """The same, but it may change to the same again."""
        answers = [self._choice_at(parts, now) for parts in self._choices]
        on = any(answer.on for answer in answers)
        if on:
            return Now(True, max(answer.until for answer in answers if answer.on))
        return Now(False, min(answer.until for answer in answers))

    def _choice_at(self, parts: tuple[_Part, ...], now: Instant) -> Now:
        answers = [self._part_at(part, now) for part in parts]
        if all(answer.on for answer in answers):
            return Now(True, min(answer.until for answer in answers))
        return Now(False, max(answer.until for answer in answers if not answer.on))

    def _part_at(self, part: _Part, now: Instant) -> Now:
        return _duty_at(part, now) if isinstance(part, _Duty) else self._window_at(part, now)

    def _window_at(self, window: _Window, now: Instant) -> Now:
        today = now.datetime().astimezone(self._zone).date()
        spans = _joined(self._span(window, today + timedelta(days=day)) for day in range(-3, _AHEAD_DAYS + 2))
        for start, end in spans:
            if now < start:
                return Now(False, Instant(min(start, now + _DAY)))
            if now < end:
                return Now(True, Instant(min(end, now + _DAY)))
        return Now(False, Instant(now + _DAY))

    def _span(self, window: _Window, day: date) -> tuple[int, int]:
        """One day's window; where it ends before it begins (the sun sets after 22:00) there is none."""
        return self._moment(window.start, day, last=False), self._moment(
            window.end, day + timedelta(days=window.next_day), last=True
        )

    def _moment(self, edge: _Edge, day: date, *, last: bool) -> int:
        if edge.minutes is not None:
            return _local(day, edge.minutes, self._zone, last)
        assert edge.event is not None and self._place is not None  # noqa: S101, PT018 - parse saw to it
        shift = _days_apart(day, self._place.longitude, self._zone)
        return sun_time(edge.event, day - timedelta(days=shift), self._place) + edge.offset * MICROSECONDS


def place_of(node: Node) -> Place | None:
    """Where the node stands; None where it does not say. ValueError says what is wrong."""
    if not node.latitude and not node.longitude:
        return None
    return Place(
        _degrees(node.latitude, 90, "latitude", "52.52"), _degrees(node.longitude, 180, "longitude", "13.405")
    )  # fmt: skip


def _degrees(text: str, most: int, name: str, example: str) -> float:
    if not _DEGREES.fullmatch(text) or not abs(float(text)) <= most:
        raise ValueError(f"{name} {text[:40]!r}: give degrees from -{most} to {most}, as in {example}")
    return float(text)


def schedule_of(settings: Settings, zone: tzinfo | None = None) -> Schedule:
    """The recorder's. ValueError."""
    return parse(settings.recorder.schedule, place_of(settings.node), zone)


def parse(text: str, place: Place | None = None, zone: tzinfo | None = None) -> Schedule:
    """The schedule that `text` describes. ValueError says what is wrong with it, and how it is written."""
    if not text.strip():
        return Schedule((), place, zone)
    choices = []
    for choice in text.lower().split(","):
        words = choice.split()
        if not words:
            raise ValueError(f"a comma with nothing beside it; {_EXAMPLES}")
        choices.append(tuple(_part(word) for word in words))
    if place is None and any(_needs_sun(part) for parts in choices for part in parts):
        raise ValueError("needs to know where the sun rises; set [node] latitude and longitude")
    return Schedule(tuple(choices), place, zone)


def _part(word: str) -> _Part:
    if "/" in word:
        return _duty(word)
    start, dots, end = word.partition("..")
    if not dots:
        start, _, end = word.partition("-")
        if not (_CLOCK.fullmatch(start) and _CLOCK.fullmatch(end)):
            raise ValueError(f"{word[:40]!r} is no time of day; {_EXAMPLES}")
    window = _Window(_edge(start, word), _edge(end, word))
    if window.start == window.end:
        raise ValueError(f"{word[:40]!r} ends when it begins; leave it out to record all day")
    return window


def _edge(text: str, word: str) -> _Edge:
    if clock := _CLOCK.fullmatch(text):
        minutes = int(clock[1]) * 60 + int(clock[2])
        if minutes <= 24 * 60:
            return _Edge(minutes, None, 0)
    if sun := _SUN.fullmatch(text):
        offset = _length(sun[3]) if sun[3] else 0
        if offset is not None and offset <= _LONGEST_OFFSET:
            event: SunEvent = sun[1]  # type: ignore[assignment]  # one of them, says the pattern
            return _Edge(None, event, -offset if sun[2] == "-" else offset)
    raise ValueError(
        f"{text[:40] or word[:40]!r} is no time of day; give a clock's (06:00) or {', '.join(_EVENTS)},"
        f" with up to 12 hours added or taken away (sunset-30m); {_EXAMPLES}"
    )


def _duty(word: str) -> _Duty:
    on, _, cycle = word.partition("/")
    duty = _Duty(_length(on) or 0, _length(cycle) or 0)
    if not duty.on or not duty.cycle:
        raise ValueError(f"{word[:40]!r} is no duty cycle; {_EXAMPLES}")
    if not duty.on < duty.cycle <= _LONGEST_CYCLE:
        raise ValueError(f"{word[:40]!r}: the first must be shorter than the second, and that a day at most")
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


def _duty_at(duty: _Duty, now: Instant) -> Now:
    cycle = duty.cycle * MICROSECONDS
    begun = now - now % cycle
    off_from = begun + duty.on * MICROSECONDS
    return Now(True, Instant(off_from)) if now < off_from else Now(False, Instant(begun + cycle))


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, those that touch or overlap as one; empty ones are left out."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


def _local(day: date, minutes: int, zone: tzinfo | None, last: bool) -> int:
    """A local time; of one that a change of the clock makes twice, the first or the `last`."""
    day += timedelta(days=minutes // (24 * 60))
    moment = datetime.combine(day, time(minutes // 60 % 24, minutes % 60, fold=int(last)), zone)
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def _days_apart(day: date, longitude: float, zone: tzinfo | None) -> int:
    """How many days the calendar is ahead of the sun's own: 1 on islands that moved the date line (Kiribati)."""
    noon = datetime.combine(day, time(12), zone).astimezone(zone)
    hours = (noon.utcoffset() or timedelta()) / timedelta(hours=1)
    return round((hours - longitude / 15) / 24)
