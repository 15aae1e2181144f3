"""Which archives are read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.archiver.plan.read_back import ReadBackPolicy


@given(st.text())
def test_always_includes_every_archive_and_first_none_beyond_the_first(key: str) -> None:
    assert ReadBackPolicy.parse("always").includes(key)
    assert not ReadBackPolicy.parse("first").includes(key)


@given(st.text(), st.floats(0, 1))
def test_another_attempt_at_an_archive_is_decided_alike(key: str, share: float) -> None:
    assert ReadBackPolicy(share).includes(key) == ReadBackPolicy(share).includes(key)


@pytest.mark.parametrize("share", ["0.1", "0.5", "0.999"])
def test_a_fraction_includes_that_share_of_all_archives(share: str) -> None:
    policy = ReadBackPolicy.parse(share)
    included = sum(policy.includes(f"imhearing/porch/{number}.zip") for number in range(2_000))
    assert included / 2_000 == pytest.approx(float(share), abs=0.04)
