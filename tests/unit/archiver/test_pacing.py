"""When requests to the store are retried."""

from __future__ import annotations

from edge.archiver.pacing import Pacing, RetryTimer, Timer
from edge.core.errors import ImHearingError, StoreBlocked, StoreError, StoreUnreachable
from tests.support.kernel_clock import ManualClock

PACING = Pacing(first_retry=1, longest_retry=50, longest_link_retry=10, blocked_retry=70)


def _delay(timer: RetryTimer, clock: ManualClock, problem: ImHearingError) -> float:
    """Seconds until the timer is due, to a hundredth."""
    began = clock.monotonic()
    timer.failed(problem)
    while not timer.is_due():
        clock.advance(0.01)
    return (clock.monotonic() - began) / 1e6


def test_retry_delays_double_up_to_a_cap_and_have_jitter() -> None:
    clock = ManualClock()
    timer = RetryTimer(PACING, clock)
    delays = [_delay(timer, clock, StoreError("x")) for _ in range(12)]
    assert delays[0] <= 2.01
    assert max(delays) <= 50.01
    assert delays[-1] >= 25
    assert len(set(delays)) >= 10
    assert _delay(timer, clock, StoreUnreachable("x")) <= 10.01
    assert 35 <= _delay(timer, clock, StoreBlocked("x", "denied")) <= 70.01
    timer.succeeded()
    assert _delay(timer, clock, StoreError("x")) <= 2.01


def test_a_success_ends_the_retry_delay() -> None:
    timer = RetryTimer(PACING, ManualClock())
    timer.failed(StoreError("x"))
    assert not timer.is_due()
    timer.succeeded()
    assert timer.is_due()


def test_a_timer_is_due_at_first_and_again_after_its_time() -> None:
    clock = ManualClock()
    timer = Timer(clock)
    assert timer.is_due()
    timer.start(60.0)
    clock.advance(59.9)
    assert not timer.is_due()
    clock.step_by(-3600.0)  # the wall clock does not matter
    clock.advance(0.1)
    assert timer.is_due()
