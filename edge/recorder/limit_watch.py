"""The active limits: what the recorder detects sounds by, and when they are crossed."""

from __future__ import annotations

import contextlib

from edge.core.kernel_clock import KernelClock
from edge.core.values import Chunk, LevelUnit
from edge.recorder.facts import RecorderObserver
from edge.recorder.store_watch import StoreWatch
from edge.spool.spool import Spool
from edge.spool.thresholds import Crossings, Limits, Measures


class LimitWatch:
    """Holds the active limits, and reports to `observer` when one changes or is crossed: each crossing once."""

    def __init__(
        self, limits: Limits, hysteresis: float, spool: Spool, kernel: KernelClock, observer: RecorderObserver
    ) -> None:
        self._limits = limits  # one reference, replaced as a whole: read and set in different threads
        self._observer = observer
        self._level_crossings = Crossings(hysteresis)
        self._store = StoreWatch(spool, kernel, lambda: self._limits, observer.threshold_crossed)

    @property
    def active(self) -> Limits:
        return self._limits

    def set(self, limits: Limits) -> None:
        """Makes `limits` active. Any thread."""
        self._limits = limits
        self._observer.limits_changed(limits)

    def level_measured(self, level: float, unit: LevelUnit) -> None:
        """Holds a block's level against the limit. The recorder's thread."""
        for crossing in self._level_crossings.update(self._limits, Measures(sound_level=level, level_unit=unit)):
            self._observer.threshold_crossed(crossing)

    def chunk_finished(self, chunk: Chunk) -> None:
        """One more chunk waits in the spool."""
        self._store.chunk_finished(chunk)

    def running(self) -> contextlib.AbstractContextManager[None]:
        """Watches the spool meanwhile."""
        return self._store.running()
