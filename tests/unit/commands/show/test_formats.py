"""Sizes, counts, lengths, times and level bars."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.show import formats as show
from commands.show.node_view import size
from edge.core.instant import MICROSECONDS, Instant


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2026-03-28T12:00:00Z", "2026-03-28T13:00:00Z", "local, UTC+01:00"),
        ("2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z", "local, UTC+01:00, then UTC+02:00"),
        ("2026-10-24T22:00:00Z", "2026-10-25T12:00:00Z", "local, UTC+02:00, then UTC+01:00"),
    ],
)
def test_both_utc_offsets_are_shown_across_a_clock_change(
    start: str, end: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        first, last = Instant.parse(start), Instant.parse(end)
        assert show.zone(first, last) == expected
        assert show.zone(first, last, utc=True) == "UTC"
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.floats(-300, 300), st.sampled_from(["dBFS", "dBA"]), st.integers(0, 100))
def test_a_level_bar_never_exceeds_its_width(level: float, unit: str, width: int) -> None:
    assert len(show.level_bar(level, unit, width)) <= width


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (1_234_567, "1.2 MB"), (8e10, "80.0 GB")]
)
def test_byte_counts_are_shown_with_a_readable_unit(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 chunks"), (1, "1 chunk"), (2, "2 chunks")])
def test_counts_use_singular_and_plural(number: int, text: str) -> None:
    assert show.count(number, "chunk") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.250 s"), (12.34, "12.3 s"), (59.99, "1 min 00 s"), (303, "5 min 03 s"), (3_599.9, "1 h 00 min"),
     (7_500, "2 h 05 min"), (86_400 * 3 + 4 * 3_600, "3 d 4 h")],
)  # fmt: skip
def test_durations_are_shown_with_readable_units(seconds: float, text: str) -> None:
    assert show.length(round(seconds * MICROSECONDS)) == text


def test_the_first_and_last_times_can_be_formatted() -> None:
    for moment in (Instant.parse("0001-01-01T00:00:00Z"), Instant.parse("9999-12-31T23:59:59Z")):
        assert show.full(moment)
        assert show.zone(moment, moment)
