"""Measures the samples of one stream, and reports what is in them: levels, sounds, crossings, input faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edge.core.instant import Instant
from edge.core.values import Levels, SoundSpan
from edge.recorder.capture.blocks import Samples
from edge.recorder.facts import MeasuredBlock, RecorderObserver, TimedSound
from edge.recorder.limit_watch import LimitWatch
from edge.recorder.signal.input_watch import InputWatch
from edge.recorder.signal.levels import LevelMeter
from edge.recorder.signal.sounds import SoundChange, SoundDetector

TimeOf = Callable[[int], Instant]  # of a frame at or after the last knot


class SoundMonitor:
    """Follows one stream. The active limits decide what counts as a sound, from block to block."""

    def __init__(
        self,
        meter: LevelMeter,
        detector: SoundDetector,
        limits: LimitWatch,
        input_watch: InputWatch,
        observer: RecorderObserver,
    ) -> None:
        self._meter, self._detector = meter, detector
        self._limits, self._input_watch = limits, input_watch
        self._observer = observer

    def add(self, samples: Samples, time_of: TimeOf) -> None:
        """The stream's next samples."""
        levels, unit = self._meter.add(samples), self._meter.unit
        self._detector.set_level(self._limits.active.sound_level)
        for second in levels.seconds:
            if self._input_watch.add(second):
                self._observer.input_fault_changed(self._input_watch.fault)
        ends = tuple([time_of(second.end_frame) for second in levels.seconds])
        self._observer.block_measured(MeasuredBlock(levels, unit, ends))
        self._limits.level_measured(self._detector.threshold_level(levels), unit)
        self._report(self._detector.add(levels), time_of)

    def take_chunk(self) -> tuple[Levels, tuple[SoundSpan, ...]]:
        """The levels and sounds of the chunk that ends with the last samples added."""
        return self._meter.take_chunk(), self._detector.take_chunk()

    def finish(self, time_of: TimeOf) -> None:
        """The stream ends with the last samples added."""
        self._report(self._detector.finish(), time_of)

    def _report(self, changes: Iterable[SoundChange], time_of: TimeOf) -> None:
        for event, span in ((change.event, change.span) for change in changes):
            end = None if span.frames is None else time_of(span.first_frame + span.frames)
            self._observer.sound_changed(TimedSound(event, span, self._meter.unit, time_of(span.first_frame), end))
