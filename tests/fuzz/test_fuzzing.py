"""Every parser of foreign bytes, for a second or two each: only our own errors come out, soon and in little memory."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.inputs import inputs
from tests.fuzz.target import Target, check
from tests.fuzz.targets import all_targets

# of each parser; those that are slow get fewer, so that all of it takes less than half a minute
EXAMPLES = {"manifest": 50, "correction": 50, "state files": 50, "http": 80, "ably server": 80, "ini": 60, "flac": 80}
NAMES = sorted(all_targets())


@pytest.mark.parametrize("name", NAMES)
def test_a_parser_accepts_its_seeds(name: str) -> None:
    """Otherwise nothing behind its first check would be fuzzed."""
    target = all_targets()[name]
    assert [seed for seed in target.seeds if not check(target, seed)] == []


@pytest.mark.parametrize("name", NAMES)
def test_foreign_bytes_give_a_value_or_one_of_our_errors(name: str) -> None:
    target = all_targets()[name]

    @settings(
        max_examples=EXAMPLES.get(name, 120), deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(data=inputs(target))
    def run(data: bytes) -> None:
        check(target, data)

    run()


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), RecursionError()])
def test_another_error_is_a_finding(error: Exception) -> None:
    def fails(_: bytes) -> None:
        raise error

    with pytest.raises(type(error)):
        check(Target("x", fails, [b""]), b"")
