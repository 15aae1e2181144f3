"""Reports what the recorder is doing: each mode once, to systemd and to the observer."""

from __future__ import annotations

from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.core.systemd import Heartbeat
from edge.recorder.durable.journal import RecorderMode
from edge.recorder.facts import RecorderObserver


class ModeReporter:
    """Knows the mode that was reported last."""

    def __init__(self, kernel: KernelClock, heartbeat: Heartbeat, observer: RecorderObserver) -> None:
        self._kernel, self._heartbeat, self._observer = kernel, heartbeat, observer
        self._reported: tuple[RecorderMode, str | None, Instant | None] | None = None

    @property
    def has_reported(self) -> bool:
        return self._reported is not None

    def report(
        self, mode: RecorderMode, reason: str | None = None, since: Instant | None = None, until: Instant | None = None
    ) -> bool:
        """Reports a mode that is new, or has another reason or end; whether it did. `since`: now, where not given."""
        if (mode, reason, until) == self._reported:
            return False
        self._reported = (mode, reason, until)
        self._heartbeat.status(f"{mode}: {reason}" if reason else mode)
        self._observer.mode_changed(mode, since or self._kernel.now(), reason, until)
        return True
