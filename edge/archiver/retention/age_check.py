"""Whether an archive has really reached its age, right before it is deleted for that."""

from __future__ import annotations

from edge.core.errors import ImHearingError
from edge.core.instant import MICROSECONDS, Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import Archive
from edge.store.interface import StoredObject

_AGREEMENT = 300.0  # seconds between our clock and the store's


class HeldBack(ImHearingError):
    """Something is not deleted, and why. `is_clock`: so is no other; `stored_at`: since when the store has had it."""

    def __init__(self, reason: str, *, is_clock: bool = False, stored_at: Instant | None = None) -> None:
        super().__init__(reason)
        self.is_clock, self.stored_at = is_clock, stored_at


def clock_doubt(clock: KernelClock, ahead: float | None) -> str | None:
    """Why no archive's age is known for sure; `ahead`: see ObjectStore."""
    if not clock.synchronised():
        return "the clock is not synchronised"
    if ahead is None:
        return "the store does not tell the time"
    if abs(ahead) > _AGREEMENT:
        return f"the clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the store's"
    return None


class AgeCheck:
    """`keep_days` as configured; 0: for ever."""

    def __init__(self, keep_days: float, clock: KernelClock) -> None:
        self.keep_days, self._clock = keep_days, clock

    def check(self, archive: Archive, found: StoredObject | None, ahead: float | None) -> None:
        """Raises HeldBack. `found`: what the store says of it, None where it does not. `ahead`: see ObjectStore."""
        if (doubt := clock_doubt(self._clock, ahead)) is not None:
            raise HeldBack(doubt, is_clock=True)
        before = self._clock.now() - round(self.keep_days * 86_400 * MICROSECONDS)
        if not self.keep_days or archive.uploaded_at is None or archive.uploaded_at > before:
            raise HeldBack("it has not reached its age")
        if found is not None and found.stored_at is not None and found.stored_at > before:
            raise HeldBack(f"the store got it on {found.stored_at}", stored_at=found.stored_at)
