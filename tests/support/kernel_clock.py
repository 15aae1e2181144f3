"""A kernel clock that tests set by hand."""

from __future__ import annotations

from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock

NOON = Instant.parse("2026-11-22T12:00:00Z")


def at(seconds: float) -> Instant:
    """So many seconds after NOON."""
    return Instant(NOON + round(seconds * 1e6))


class ManualClock(KernelClock):
    """Starts at noon, synchronised, 1,000 s after boot; `step_by`, `advance` and `boot` change it."""

    def __init__(self, synchronised: bool = True) -> None:
        self.boot_id = "boot-1"
        self.uptime = 1_000_000_000
        self.offset = NOON - self.uptime
        self.is_synchronised = synchronised

    def now(self) -> Instant:
        return Instant(self.uptime + self.offset)

    def monotonic(self) -> int:
        return self.uptime

    def utc_offset(self) -> int:
        return self.offset

    def synchronised(self) -> bool:
        return self.is_synchronised

    def sleep(self, seconds: float) -> None:
        self.advance(max(0.0, seconds))

    def advance(self, seconds: float) -> None:
        self.uptime += round(seconds * 1_000_000)

    def step_by(self, seconds: float) -> None:
        """Sets the wall clock forward, or back if negative."""
        self.offset += round(seconds * 1_000_000)

    def boot(self, boot_id: str, wrong_by: float = 0.0, off_for: float = 60.0, synchronised: bool = False) -> None:
        """The machine was off for a while, and its clock is now wrong by some seconds."""
        now = self.now() + round((off_for + wrong_by) * 1_000_000)
        self.boot_id, self.uptime, self.is_synchronised = boot_id, 10_000_000, synchronised
        self.offset = now - self.uptime
