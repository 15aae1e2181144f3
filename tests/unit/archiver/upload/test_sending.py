"""The limit of the upload rate."""

from __future__ import annotations

import threading

import pytest

from edge.archiver.upload.sending import RateLimiter
from tests.support.kernel_clock import ManualClock


class _RecordedWaits(threading.Event):
    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0.0)
        return False


def test_the_average_upload_rate_stays_at_the_limit() -> None:
    stop, clock = _RecordedWaits(), ManualClock()
    signs: list[float] = []
    limiter = RateLimiter(1_000, stop, clock, lambda: signs.append(clock.monotonic()))
    for _ in range(4):
        limiter.wait(500)
    clock.advance(10.0)
    limiter.wait(500)
    assert stop.seconds == [0, 0.5, 1.0, 1.5, 0]
    assert len(signs) == 5


@pytest.mark.parametrize(("rate", "step"), [(0.2, 1), (1_000.5, 1_000), (1e9, 10**9)])
def test_no_step_takes_longer_than_a_second_unless_it_is_a_single_byte(rate: float, step: int) -> None:
    assert RateLimiter(rate, threading.Event(), ManualClock(), lambda: None).step == step
