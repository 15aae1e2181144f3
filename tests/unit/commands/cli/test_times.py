"""Times as people type them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.cli.times import parse_duration, parse_range, parse_time
from edge.core.errors import UsageError
from edge.core.instant import FIRST, LAST, MICROSECONDS, Instant

NOW = Instant.parse("2026-03-04T10:30:00Z")
BERLIN = ZoneInfo("Europe/Berlin")
instants = st.integers(int(FIRST), int(LAST)).map(Instant)
near = st.integers(int(Instant.parse("1971-01-01T00:00:00Z")), int(Instant.parse("2199-01-01T00:00:00Z"))).map(Instant)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-03T22:00:00Z", "2026-03-03T22:00:00Z"),
        ("2026-03-03T22:00:00.25+01:00", "2026-03-03T21:00:00.25Z"),
        ("2026-03-03 22:00:00-05:00", "2026-03-04T03:00:00Z"),
        ("2026-11-22T22:39Z", "2026-11-22T22:39:00Z"),
        ("2026-11-22T22:39+01:00", "2026-11-22T21:39:00Z"),
        ("2026-11-22 22:39-05:00", "2026-11-23T03:39:00Z"),
        ("2026-03-03 22:00", "2026-03-03T21:00:00Z"),
        ("2026-03-03T22:00:05", "2026-03-03T21:00:05Z"),
        ("2026-03-03 22:00:05.5", "2026-03-03T21:00:05.5Z"),
        ("2026-03-03", "2026-03-02T23:00:00Z"),
        ("22:00", "2026-03-04T21:00:00Z"),
        ("7:05:09", "2026-03-04T06:05:09Z"),
        ("today 22:00", "2026-03-04T21:00:00Z"),
        ("yesterday 22:00", "2026-03-03T21:00:00Z"),
        ("Yesterday", "2026-03-02T23:00:00Z"),
        ("now", "2026-03-04T10:30:00Z"),
        ("2026-07-01 12:00", "2026-07-01T10:00:00Z"),  # summer time
        ("2026-10-25 02:30", "2026-10-25T00:30:00Z"),  # occurs twice: the first is meant
    ],
)
def test_times_are_parsed(text: str, expected: str) -> None:
    assert parse_time(text, NOW, BERLIN) == Instant.parse(expected)


@pytest.mark.parametrize(
    "text",
    ["", " ", "noon", "25:00", "22:60", "22", "22:0", "2026-02-30 10:00", "2026-13-01", "tomorrow", "today22:00",
     "2026-03-03T22:00:00X", "10m", "٢٢:٠٠", "22:00\n22:00", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+01:00"],
)  # fmt: skip
def test_invalid_times_are_rejected_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="yesterday 22:00") as caught:
        parse_time(text, NOW, BERLIN)
    assert caught.value.exit_code == 2


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the machine's time zone."""

    def chosen(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield chosen
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("text", ["2026-03-29 02:30", "2026-03-29 02:00", "2026-03-29T02:59:59.999999"])
def test_a_local_time_skipped_by_a_clock_change_is_rejected(text: str, in_zone: Callable[[str], None]) -> None:
    in_zone("Europe/Berlin")
    for zone in (BERLIN, None):  # handed in, and this machine's
        with pytest.raises(UsageError, match="clocks go forward"):
            parse_time(text, NOW, zone)


def test_times_next_to_a_clock_change_are_parsed(in_zone: Callable[[str], None]) -> None:
    in_zone("Europe/Berlin")
    for zone in (BERLIN, None):
        first, after = parse_range("2026-03-29 01:59:59", "2026-03-29 03:00", None, NOW, zone)
        assert after - first == MICROSECONDS
        first, after = parse_range("2026-10-25 01:30", "2026-10-25 03:30", None, NOW, zone)
        assert after - first == 3 * 3_600 * MICROSECONDS


def test_a_day_without_midnight_starts_at_the_clock_change(in_zone: Callable[[str], None]) -> None:
    in_zone("Africa/Cairo")
    for zone in (ZoneInfo("Africa/Cairo"), None):
        assert parse_time("2026-04-24", NOW, zone) == Instant.parse("2026-04-23T22:00:00Z")


def test_yesterday_means_the_local_day() -> None:
    just_after_midnight_in_berlin = Instant.parse("2026-03-03T23:10:00Z")
    assert parse_time("today", just_after_midnight_in_berlin, BERLIN) == Instant.parse("2026-03-03T23:00:00Z")
    assert parse_time("yesterday 22:00", just_after_midnight_in_berlin, BERLIN) == Instant.parse("2026-03-03T21:00:00Z")


@given(instants)
def test_any_instant_survives_a_round_trip(moment: Instant) -> None:
    assert parse_time(str(moment), NOW) == moment


@given(near, st.integers(-14 * 60, 14 * 60))
def test_any_local_time_survives_a_round_trip(moment: Instant, minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    text = moment.datetime().astimezone(zone).strftime("%Y-%m-%d %H:%M:%S.%f")
    assert parse_time(text, NOW, zone) == moment


@given(st.text(max_size=40) | st.from_regex(r"[0-9TZ:. +-]{1,30}"), st.sampled_from([BERLIN, ZoneInfo("UTC")]))
def test_any_text_is_a_time_or_a_usage_error(text: str, zone: ZoneInfo) -> None:
    with contextlib.suppress(UsageError):
        assert FIRST <= parse_time(text, NOW, zone) <= LAST


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("90s", 90), ("2h", 7_200), ("1d", 86_400), ("1h30m", 5_400), ("1.5h", 5_400),
     ("0.25s", 0.25), (" 1H ", 3_600)],
)  # fmt: skip
def test_durations_are_parsed(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds * MICROSECONDS


@pytest.mark.parametrize("text", ["", "10", "m", "-5m", "0s", "10 m", "10m later", "1w", "1e3s", "٣m"])
def test_invalid_durations_are_rejected_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="try 10m"):
        parse_duration(text)


@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse_duration(text) > 0


@given(st.integers(1, 999_999_999), st.sampled_from("smhd"))
def test_last_never_starts_before_the_first_representable_time(count: int, unit: str) -> None:
    start, end = parse_range(None, None, f"{count}{unit}", NOW)
    assert FIRST <= start < end == NOW


def test_from_without_to_means_until_now() -> None:
    assert parse_range("10:00", None, None, NOW, BERLIN) == (Instant.parse("2026-03-04T09:00:00Z"), NOW)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [  # at 11:30 on 4 March in Berlin
        ("22:00", "22:10", ("2026-03-03T21:00:00Z", "2026-03-03T21:10:00Z")),
        ("10:00", "11:00", ("2026-03-04T09:00:00Z", "2026-03-04T10:00:00Z")),
        ("11:00", "12:00", ("2026-03-04T10:00:00Z", "2026-03-04T11:00:00Z")),  # in the middle of it
        ("23:00", None, ("2026-03-03T22:00:00Z", "2026-03-04T10:30:00Z")),
        ("yesterday 20:00", "22:00", ("2026-03-03T19:00:00Z", "2026-03-03T21:00:00Z")),
        ("today 22:00", "today 22:10", ("2026-03-04T21:00:00Z", "2026-03-04T21:10:00Z")),
        ("today 10:00", "22:00", ("2026-03-04T09:00:00Z", "2026-03-04T21:00:00Z")),
    ],
)
def test_a_time_without_a_day_is_the_most_recent_one(start: str, end: str | None, expected: tuple[str, str]) -> None:
    first, stop = (Instant.parse(text) for text in expected)
    assert parse_range(start, end, None, NOW, BERLIN) == (first, stop)


@pytest.mark.parametrize(
    ("start", "end", "last", "words"),
    [
        ("22:10", "22:00", None, "must be before"),
        ("22:00", "22:00", None, "must be before"),
        ("23:00", "06:00", None, "must be before"),
        ("12:00", "11:00", None, "must be before"),
        ("today 23:00", None, None, "must be before now"),
        ("today 22:00", "today 21:00", None, "must be before"),
        ("2026-03-03 22:00", "2026-03-03 21:00", None, "must be before"),
        (None, "22:00", None, "--from and --to"),
        (None, None, None, "missing time range"),
        ("22:00", None, "10m", "--last cannot be combined"),
        (None, "22:00", "10m", "--last cannot be combined"),
    ],
)
def test_invalid_ranges_are_rejected(start: str | None, end: str | None, last: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_range(start, end, last, NOW, BERLIN)
