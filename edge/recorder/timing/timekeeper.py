"""The recorder's own time: the boot's monotonic clock and a believed offset, looked at again every second."""

from __future__ import annotations

from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import SpoolState
from edge.recorder.timing.clock import Belief, Revision

_LOOK_EVERY = 1_000_000  # µs


class Timekeeper:
    """Goes on from what `state` believed, if that was in this boot."""

    def __init__(self, kernel: KernelClock, state: SpoolState | None) -> None:
        self._kernel = kernel
        self._looked_at = 0
        if state is not None and state.utc_offset is not None and state.boot_id == kernel.boot_id:
            self.belief = Belief(state.utc_offset, state.trusted)
        else:
            trusted = kernel.synchronised()
            self.belief = Belief(kernel.utc_offset(), trusted)

    @property
    def boot_id(self) -> str:
        return self._kernel.boot_id

    def now(self) -> Instant:
        """The time in which streams and holes are told."""
        return Instant(self._kernel.monotonic() + self.belief.offset)

    def look(self) -> Revision | None:
        """Looks at the kernel's clocks, at most once a second; what that means for what was told before."""
        now = self._kernel.monotonic()
        if now - self._looked_at < _LOOK_EVERY and self._looked_at:
            return None
        self._looked_at = now
        synchronised = self._kernel.synchronised()  # first: a daemon sets the clock, then says that it is right
        self.belief, revision = self.belief.revised(self._kernel.utc_offset(), synchronised)
        return revision
