"""Schedules: what each means, and that a state lasts until the announced change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.configuration.loader import load
from edge.configuration.schedule import Schedule, parse
from edge.configuration.sun import Place, sun_time
from edge.core.errors import ConfigError
from edge.core.instant import Instant

BERLIN, HERE = ZoneInfo("Europe/Berlin"), Place(52.52, 13.405)
SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000

SCHEDULES = [
    "06:00-22:00", "22:00-06:00", "00:00-24:00", "02:30-02:45", "60s/300s", "1m/1h", "sunset-30m..sunrise+30m",
    "sunrise..sunset", "dusk..dawn 30s/10m", "sunset..23:00", "05:00-08:00, sunset..23:00 60s/300s", "12:00..sunrise",
]  # fmt: skip


def at(text: str) -> Instant:
    return Instant.parse(f"{text}Z")


def local(text: str, zone: ZoneInfo = BERLIN) -> Instant:
    return Instant(round(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * SECOND))


def hours_on(schedule: Schedule, start: Instant, end: Instant) -> float:
    """By what it says itself, change by change."""
    now, total = start, 0
    while now < end:
        answer = schedule.at(now)
        assert answer.until > now
        until = min(answer.until, end)
        total += (until - now) * answer.on
        now = Instant(until)
    return total / HOUR


def test_an_empty_schedule_means_always() -> None:
    assert parse("").at(at("2026-03-03T22:00:00")).on
    assert parse("  ").at(at("1970-01-01T00:00:00")).on


@pytest.mark.parametrize(
    ("text", "moment", "on", "until"),
    [
        ("06:00-22:00", "2026-03-03T05:59:59", False, "2026-03-03T06:00:00"),
        ("06:00-22:00", "2026-03-03T06:00:00", True, "2026-03-03T22:00:00"),
        ("06:00-22:00", "2026-03-03T22:00:00", False, "2026-03-04T06:00:00"),
        ("22:00-06:00", "2026-03-03T23:00:00", True, "2026-03-04T06:00:00"),  # crosses midnight
        ("22:00-06:00", "2026-03-04T05:59:59", True, "2026-03-04T06:00:00"),
        ("22:00-06:00", "2026-03-04T12:00:00", False, "2026-03-04T22:00:00"),
        ("22:00-24:00", "2026-03-03T23:59:59", True, "2026-03-04T00:00:00"),
        ("05:00-08:00, 07:00-09:00", "2026-03-03T08:30:00", True, "2026-03-03T09:00:00"),
        ("05:00-08:00, 10:00-11:00", "2026-03-03T08:30:00", False, "2026-03-03T10:00:00"),
    ],
)
def test_clock_windows_include_their_start_and_exclude_their_end(text: str, moment: str, on: bool, until: str) -> None:
    assert parse(text, zone=BERLIN).at(local(moment)) == (on, local(until))


def test_a_duty_cycle_starts_on_the_full_hour() -> None:
    schedule = parse("60s/300s")
    assert schedule.at(at("2026-03-03T22:05:00")) == (True, at("2026-03-03T22:06:00"))
    assert schedule.at(at("2026-03-03T22:06:00")) == (False, at("2026-03-03T22:10:00"))


def test_a_window_and_a_duty_cycle_combine() -> None:
    schedule = parse("06:00-06:10 60s/300s", zone=BERLIN)
    noon = local("2026-03-03T12:00")
    assert hours_on(schedule, noon, Instant(noon + 24 * HOUR)) * 60 == pytest.approx(2)


def test_a_sunset_to_sunrise_window_applies_its_offsets() -> None:
    schedule = parse("sunset-30m..sunrise+30m", HERE, BERLIN)
    begins = sun_time("sunset", date(2026, 3, 3), HERE) - 30 * MINUTE
    ends = sun_time("sunrise", date(2026, 3, 4), HERE) + 30 * MINUTE
    assert schedule.at(Instant(begins - 1)) == (False, begins)
    assert schedule.at(Instant(begins)) == (True, ends)
    assert not schedule.at(Instant(ends)).on


def test_a_day_whose_sunset_follows_the_windows_end_has_no_window() -> None:
    schedule = parse("sunset..21:00", HERE, BERLIN)
    assert hours_on(schedule, local("2026-06-21T12:00"), local("2026-06-22T12:00")) == 0  # it sets at 21:33
    assert hours_on(schedule, local("2026-12-21T12:00"), local("2026-12-22T12:00")) == pytest.approx(5.1, abs=0.1)


def test_a_night_window_vanishes_in_polar_day_and_never_ends_in_polar_night() -> None:
    tromso, zone = Place(69.65, 18.96), ZoneInfo("Europe/Oslo")
    night, margin = parse("sunset..sunrise", tromso, zone), parse("sunset-30m..sunrise+30m", tromso, zone)
    summer, winter = local("2026-06-20T12:00", zone), local("2026-12-20T12:00", zone)
    assert hours_on(night, summer, Instant(summer + 24 * HOUR)) < 0.1
    assert hours_on(margin, summer, Instant(summer + 24 * HOUR)) == pytest.approx(1, abs=0.1)
    assert hours_on(night, winter, Instant(winter + 24 * HOUR)) == pytest.approx(24, abs=0.1)


def test_a_window_covers_both_passes_of_a_repeated_hour() -> None:
    spring, autumn = "2026-03-29T00:00", "2026-10-25T00:00"
    assert hours_on(parse("01:00-05:00", zone=BERLIN), local(spring), local("2026-03-30T00:00")) == 3
    assert hours_on(parse("01:00-05:00", zone=BERLIN), local(autumn), local("2026-10-26T00:00")) == 5
    # 02:15 to 02:45 does not exist in spring: it comes as 03:15 to 03:45; in autumn both are meant, and what is between
    assert hours_on(parse("02:15-02:45", zone=BERLIN), local(autumn), local("2026-10-26T00:00")) == 1.5


def test_sun_windows_are_right_beyond_the_date_line_and_on_utc() -> None:
    kiribati = parse("sunset..22:00", Place(1.87, -157.4), timezone(timedelta(hours=14)))
    noon = Instant.parse("2026-03-03T12:00:00+14:00")
    assert hours_on(kiribati, noon, Instant(noon + 24 * HOUR)) == pytest.approx(3.3, abs=0.3)
    auckland = parse("sunset..sunrise", Place(-36.85, 174.76), ZoneInfo("UTC"))
    assert hours_on(auckland, noon, Instant(noon + 24 * HOUR)) == pytest.approx(11.2, abs=0.3)


@given(st.sampled_from(SCHEDULES), st.integers(0, 366 * 86_400), st.integers(0, 10_000))
def test_the_state_lasts_until_the_announced_change(text: str, second: int, part: int) -> None:
    schedule = parse(text, HERE, BERLIN)
    now = Instant(at("2026-01-01T00:00:00") + second * SECOND)
    answer = schedule.at(now)
    assert now < answer.until <= now + 24 * HOUR
    between = Instant(now + (answer.until - now - 1) * part // 10_000)
    assert schedule.at(between).on == answer.on


@pytest.mark.parametrize(
    "text",
    [
        "now", "06:00", "06:00-", "-22:00", "06:00-25:00", "24:30-06:00", "6-22", "06:00-06:00", "06:00 - 22:00", ",",
        "06:00-22:00,", "60s/", "/300s", "300s/60s", "60s/60s", "0s/60s", "1s/25h", "60/300", "sunset", "sunset-30m",
        "sunset..", "sunset-30..sunrise", "sunset-13h..sunrise", "noon..sunset", "sunset..sunset", "..", "0s/0s",
        "06:00-22:00-23:00", "٠٦:00-22:00", "1.5h/3h",
    ],
)  # fmt: skip
def test_invalid_schedules_are_rejected_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"06:00|shorter|record all day"):
        parse(text, HERE)


@given(st.text(alphabet="0123456789:-./,smh sunriet+", max_size=30))
def test_any_text_is_a_schedule_or_a_value_error(text: str) -> None:
    try:
        schedule = parse(text, HERE, BERLIN)
    except ValueError:
        return
    now = datetime(2026, 6, 1, tzinfo=UTC)
    assert schedule.at(Instant(round(now.timestamp() * SECOND))).until > 0


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["recorder.schedule=sunset..sunrise"], "recorder.schedule: sunrise and sunset need a position"),
        (["recorder.schedule=nonsense"], "recorder.schedule: 'nonsense' is not a time window"),
        (["node.latitude=91", "node.longitude=0"], "node.latitude: latitude '91'"),
        (["node.latitude=52"], "longitude: longitude ''"),
        (["node.latitude=nan", "node.longitude=0"], "node.latitude: latitude 'nan'"),
    ],
)
def test_an_invalid_schedule_is_a_configuration_fault(tmp_path: Path, overrides: list[str], expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, overrides=overrides, environ={})
    assert expected in str(refused.value)
    assert refused.value.exit_code == 78
