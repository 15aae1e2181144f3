"""The active limits: what the recorder detects sounds by, and when they are crossed. The archiver judges for itself."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from edge.core.errors import SpoolError
from edge.core.instant import MICROSECONDS
from edge.core.kernel_clock import KernelClock
from edge.core.values import Chunk, LevelUnit
from edge.recorder.facts import RecorderObserver
from edge.spool import limits as limits_file
from edge.spool import thresholds
from edge.spool.spool import Spool
from edge.spool.thresholds import Crossing, Crossings, Limits, Measures

log = logging.getLogger(__name__)

_REST = 20  # times as long as the last listing took: a large spool costs no more than a twentieth of a core


class LimitWatch:
    """Holds the active limits, and reports to `observer` when one changes or is crossed: each crossing once."""

    def __init__(
        self, limits: Limits, hysteresis: float, spool: Spool, kernel: KernelClock, observer: RecorderObserver
    ) -> None:
        self.active = limits  # one reference, replaced as a whole: read and set in different threads
        self._observer = observer
        self._level_crossings = Crossings(hysteresis, metrics=("sound_level",))
        self.spool_watch = SpoolWatch(spool, kernel, lambda: self.active, observer.threshold_crossed)

    def set(self, limits: Limits) -> None:
        """Makes `limits` active. Any thread."""
        self.active = limits
        self._observer.limits_changed(limits)

    def level_measured(self, level: float, unit: LevelUnit) -> None:
        """Holds a block's level against the limit. The recorder's thread."""
        for crossing in self._level_crossings.update(self.active, Measures(sound_level=level, level_unit=unit)):
            self._observer.threshold_crossed(crossing)


class _Waiting(NamedTuple):
    """Finished chunks that wait to be archived. `since`: no file of theirs is older, in seconds of UTC."""

    chunks: int
    bytes: int
    since: float | None

    def measures(self, now: float, free: int) -> Measures:
        return Measures(
            records_count=self.chunks,
            storage_usage=self.bytes / thresholds.MB,
            oldest_age=max(0.0, now - self.since) if self.since else 0.0,
            disk_free=free / thresholds.MB,
        )


class SpoolWatch:
    """Judges the spool after each finished chunk, in a thread of its own: to list a large spool takes long.

    It counts what was finished since the last listing. That is never less than what waits, as the archiver only takes
    chunks away: so the spool is listed only while a limit is exceeded, or may be.
    """

    def __init__(
        self,
        spool: Spool,
        kernel: KernelClock,
        limits: Callable[[], Limits],
        on_crossing: Callable[[Crossing], None],
        rescan_seconds: float = 60.0,
    ) -> None:
        self._spool, self._kernel = spool, kernel
        self._limits, self._on_crossing = limits, on_crossing
        self._rescan_seconds = rescan_seconds  # between two listings while a limit is exceeded and no chunk comes
        self._crossings = Crossings(over=limits_file.reported(spool.path))
        self._finished = (0, 0)  # chunks and bytes, by this process
        self._listed: tuple[_Waiting, tuple[int, int]] | None = None  # and what had been finished just before
        self._wake, self._closing = threading.Event(), threading.Event()

    def chunk_finished(self, chunk: Chunk) -> None:
        """Counts it, and lets the watch judge. Called by one thread at a time."""
        chunks, size = self._finished
        self._finished = (chunks + 1, size + chunk.bytes)
        self._wake.set()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Judges until the end, last of all what was finished just before."""
        self._closing.clear()
        thread = threading.Thread(target=self._run, args=(self._finished,), name="limits", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._closing.set()
            self._wake.set()
            thread.join()

    def _run(self, checked: tuple[int, int]) -> None:
        """`checked`: what had been finished when it was started, which may be before this thread gets to run."""
        while True:
            woken = self._wake.wait(self._rescan_seconds if self._crossings.over else None)
            self._wake.clear()
            finished, started = self._finished, self._kernel.monotonic()
            if finished != checked or not woken:
                self._check()
                checked = finished
            rest = _REST * (self._kernel.monotonic() - started) / MICROSECONDS
            if self._closing.wait(rest) and not self._wake.is_set():
                return

    def _check(self) -> None:
        try:
            if self._crossings.over or self._may_be_exceeded():
                self._judge()
        except (OSError, SpoolError) as problem:
            log.warning("cannot check the limits: %s", problem)

    def _may_be_exceeded(self) -> bool:
        if self._listed is None:
            return True
        waiting, before = self._listed
        most = _Waiting(
            waiting.chunks + self._finished[0] - before[0], waiting.bytes + self._finished[1] - before[1], waiting.since
        )
        return bool(thresholds.exceeded(self._limits(), most.measures(self._now(), self._spool.disk.free_bytes())))

    def _judge(self) -> None:
        """Lists the spool, and reports what was crossed. OSError or SpoolError when it cannot be listed."""
        now, finished = self._now(), self._finished
        files = [file for file in self._spool.chunks.finished().values() if not file.is_retained]
        oldest = min((file.path.stat().st_mtime for file in files), default=None)
        waiting = _Waiting(len(files), sum(file.bytes for file in files), oldest)
        # where nothing waits, nothing that is finished from now on will be older than now
        self._listed = (waiting._replace(since=oldest or now), finished)
        crossings = self._crossings.update(self._limits(), waiting.measures(now, self._spool.disk.free_bytes()))
        for crossing in crossings:
            self._on_crossing(crossing)
        if crossings:
            try:
                limits_file.save_reported(self._spool.path, self._crossings.over)
            except SpoolError as problem:
                log.warning("after a restart, exceeded limits will be reported again (%s)", problem)

    def _now(self) -> float:
        return self._kernel.now() / MICROSECONDS
