"""What the recorder reports: the facts, and the interface of whoever observes them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from edge.core.instant import Instant
from edge.core.values import Chunk, LevelUnit, RecorderMode, SoundSpan, Stream
from edge.recorder.signal.input_watch import InputFault
from edge.recorder.signal.levels import BlockLevels
from edge.recorder.timing.correction import believed
from edge.spool.thresholds import Crossing, Limits


class MeasuredBlock(NamedTuple):
    """The levels of one block. `seconds_at` are the ends of the seconds that it completed."""

    levels: BlockLevels
    unit: LevelUnit
    seconds_at: tuple[Instant, ...]


class TimedSound(NamedTuple):
    """What happened to a sound, and when the sound was. `ended_at` is None until it ends."""

    event: Literal["started", "updated", "ended"]
    span: SoundSpan
    unit: LevelUnit
    started_at: Instant
    ended_at: Instant | None


class RecorderObserver:
    """Receives the facts, in the recorder's thread where it does not say otherwise. Does nothing with them."""

    def limits_changed(self, limits: Limits) -> None:
        """These limits are active from now on. Called in the thread that takes commands."""

    def mode_changed(self, mode: RecorderMode, since: Instant, reason: str | None, until: Instant | None) -> None:
        """The recorder has been in another mode since `since`."""

    def stream_opened(self, stream: Stream) -> None:
        """A new stream is being recorded."""

    def opening_refined(self, stream: Stream) -> None:
        """The time at which the stream opened, and so the length of the hole before it, will not get any better."""

    def input_fault_changed(self, fault: InputFault | None) -> None:
        """Something seems to be wrong with the sound; None: nothing any more."""

    def block_measured(self, block: MeasuredBlock) -> None:
        """A block was measured."""

    def sound_changed(self, sound: TimedSound) -> None:
        """A sound started, continues or ended."""

    def threshold_crossed(self, crossing: Crossing) -> None:
        """A limit was crossed. Called in the recorder's thread or in that of the spool watch."""

    def chunk_finished(self, chunk: Chunk) -> None:
        """The chunk is durably on disk. Called in the disk thread; for a recovered chunk, in the recorder's."""

    def clock_corrected(self, stream: Stream) -> None:
        """The times of a stream of this boot were corrected. Called in the disk thread."""


def sound_cut_off(chunk: Chunk, stream: Stream | None) -> TimedSound | None:
    """The last sound of a recovered `chunk`, if it ended there: perhaps nobody reported that before the crash."""
    span = chunk.sounds[-1] if chunk.recovered and chunk.sounds else None
    if span is None or span.frames is None:
        return None
    frames = (span.first_frame, span.first_frame + span.frames)
    times = (Instant(chunk.started_at + (at - chunk.first_frame) * 1_000_000 // chunk.rate) for at in frames)
    start, end = (believed(at, chunk.uncertain, stream) for at in times)
    return TimedSound("ended", span, chunk.levels.unit if chunk.levels else "dBFS", start, end)
