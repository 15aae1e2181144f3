"""The recorder's own time: the boot's monotonic clock and a believed offset, revised every second."""

from __future__ import annotations

from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import SpoolState
from edge.recorder.timing.clock import Belief, Revision

_REVISE_EVERY = 1_000_000  # µs


class Timekeeper:
    """Starts from what `state` believed, if that was in this boot."""

    def __init__(self, kernel: KernelClock, state: SpoolState | None) -> None:
        self.kernel = kernel
        self._revised_at = 0
        if state is not None and state.utc_offset is not None and state.boot_id == kernel.boot_id:
            self.belief = Belief(state.utc_offset, state.trusted)
        else:
            trusted = kernel.synchronised()
            self.belief = Belief(kernel.utc_offset(), trusted)

    @property
    def boot_id(self) -> str:
        return self.kernel.boot_id

    def now(self) -> Instant:
        """The time that streams and holes are recorded in."""
        return Instant(self.kernel.monotonic() + self.belief.offset)

    def revise(self) -> Revision | None:
        """Reads the kernel's clocks, at most once a second; what they mean for times recorded before."""
        now = self.kernel.monotonic()
        if now - self._revised_at < _REVISE_EVERY and self._revised_at:
            return None
        self._revised_at = now
        synchronised = self.kernel.synchronised()  # first: a daemon sets the clock before it declares it synchronised
        self.belief, revision = self.belief.revised(self.kernel.utc_offset(), synchronised)
        return revision
