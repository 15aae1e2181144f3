from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.instant import FIRST, LAST, Instant


@given(st.integers(FIRST, LAST))
def test_an_instant_survives_a_text_round_trip(micros: int) -> None:
    text = str(Instant(micros))
    assert Instant.parse(text) == micros
    assert len(text) == 27
    assert text.endswith("Z")


@given(st.integers(FIRST, LAST), st.integers(FIRST, LAST))
def test_instants_as_text_sort_chronologically(one: int, other: int) -> None:
    assert (str(Instant(one)) < str(Instant(other))) == (one < other)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-03-03T22:00:00Z", "2026-03-03T22:00:00.000000Z"),
        ("2026-03-03t22:00:00.5z", "2026-03-03T22:00:00.500000Z"),
        ("2026-03-03T22:00:00+02:00", "2026-03-03T20:00:00.000000Z"),
        ("2026-03-03T22:00:00.000001-00:30", "2026-03-03T22:30:00.000001Z"),
    ],
)
def test_offsets_and_fractions_are_parsed(text: str, same: str) -> None:
    assert str(Instant.parse(text)) == same


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026-03-03", "2026-03-03T22:00:00", "2026-03-03 22:00:00Z", "2026-13-03T22:00:00Z",
        "2026-03-03T24:00:00Z", "2026-03-03T22:00:00.1234567Z", "2026-03-03T22:00:00Z\n", "２026-03-03T22:00:00Z",
    ],
)  # fmt: skip
def test_malformed_times_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="not a time"):
        Instant.parse(text)
