"""Delays between attempts: how they grow, what limits them, and what resets them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.core.backoff import Backoff


def test_delays_grow_by_the_factor_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 30.0)
    assert [backoff.next_delay() for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    slower = Backoff(1.0, 10.0, factor=3.0)
    assert [slower.next_delay() for _ in range(4)] == [1, 3, 9, 10]


def test_a_success_resets_the_delay() -> None:
    backoff = Backoff(1.0)
    assert [backoff.next_delay() for _ in range(3)] == [1, 2, 4]
    backoff.reset()
    assert backoff.next_delay() == 1


def test_a_long_attempt_counts_as_a_success() -> None:
    backoff = Backoff(1.0, steady=60.0)
    assert [backoff.next_delay(59.9) for _ in range(3)] == [1, 2, 4]
    assert backoff.next_delay(60.0) == 1


def test_at_least_raises_all_later_delays_and_at_most_lowers_only_one() -> None:
    backoff = Backoff(1.0, 50.0)
    assert backoff.next_delay(at_least=15.0) == 15
    assert backoff.next_delay(at_most=10.0) == 10
    assert backoff.next_delay() == 50
    assert Backoff(1.0, 5.0).next_delay(at_least=15.0) == 5


@given(st.floats(0, 1), st.integers(1, 20))
def test_jitter_multiplies_each_delay_without_accumulating(chance: float, attempts: int) -> None:
    backoff = Backoff(1.0, 8.0, jitter=(0.5, 1.5), chance=lambda: chance)
    delays = [backoff.next_delay() for _ in range(attempts)]
    assert delays == [min(2.0**attempt, 8.0) * (0.5 + chance) for attempt in range(attempts)]
    assert backoff.jittered(100.0) == 100.0 * (0.5 + chance)


def test_by_default_two_clients_do_not_retry_in_step() -> None:
    delays = {Backoff(1.0, jitter=(0.5, 1.0)).next_delay() for _ in range(20)}
    assert len(delays) > 1
    assert all(0.5 <= delay <= 1.0 for delay in delays)
