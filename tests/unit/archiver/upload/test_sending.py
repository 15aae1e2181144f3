"""The limit of the upload rate."""

from __future__ import annotations

import threading

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
    limiter = RateLimiter(1_000, stop, clock)
    for _ in range(4):
        limiter.wait(500)
    clock.advance(10.0)
    limiter.wait(500)
    assert stop.seconds == [0, 0.5, 1.0, 1.5, 0]


def test_an_upload_rate_of_zero_means_no_limit() -> None:
    stop = _RecordedWaits()
    RateLimiter(0, stop, ManualClock()).wait(10**12)
    assert stop.seconds == []
