"""One opened source, until something ends it: cuts what it delivers into streams, and opens each durably."""

from __future__ import annotations

from typing import NamedTuple

from edge.configuration import calibration_file
from edge.core.errors import SpoolError
from edge.core.ids import new_stream_id
from edge.core.instant import Instant
from edge.core.values import EndReason, HoleCause, Stream
from edge.recorder.capture.blocks import Block, SourceFormat
from edge.recorder.context import RecordingContext
from edge.recorder.durable.journal import RecorderMode
from edge.recorder.signal.input_watch import InputWatch
from edge.recorder.signal.sounds import SoundDetector
from edge.recorder.sound_monitor import SoundMonitor, meter_for
from edge.recorder.stream_recorder import StreamRecorder
from edge.recorder.timing.clock import Revision, StreamClock
from edge.recorder.timing.continuity import Break, Continuity


class StreamEnding(NamedTuple):
    """Why a stream ended, and what that means until the next one."""

    reason: EndReason
    mode: RecorderMode
    cause: HoleCause
    message: str | None = None


class SourceRecorder:
    """Takes the blocks of one opened source. OSError or SpoolError when the disk does not take them."""

    def __init__(self, context: RecordingContext, form: SourceFormat) -> None:
        self._context, self._form = context, form
        self._continuity = Continuity(form.rate)
        self._input_watch = InputWatch()
        self._stream: StreamRecorder | None = None
        self._rotating = False

    def add(self, block: Block) -> None:
        for item in self._continuity.add(block):
            self._take(item)

    def clock_revised(self, revision: Revision) -> None:
        """The belief about the clock has changed: the stream follows it, or ends where its time would jump."""
        if revision == "moved":
            self._flush()
            self._end_stream(StreamEnding("rotated", "recording", "unknown"))
        elif self._stream is not None:
            self._stream.follow(self._context.timekeeper.belief)

    def rotate(self) -> None:
        """Ends the stream before the next block, which starts another: no sample is lost between them. Where a chunk
        has just ended, one block later: the stream's last chunk says why it ended."""
        self._rotating = self._stream is not None

    @property
    def stream_id(self) -> str | None:
        """Of the stream being recorded."""
        return self._stream.stream.stream_id if self._stream is not None else None

    def end(self, ending: StreamEnding) -> Instant:
        """Stops recording from the source; returns when its sound ended. Only a pause drops blocks still held back."""
        if ending.cause != "paused":
            self._flush()
        return self._end_stream(ending)

    def abandon(self) -> None:
        """The disk failed: leaves what is on it to the repair."""
        if self._stream is not None:
            self._stream.abandon()

    def _flush(self) -> None:
        for item in self._continuity.flush():
            self._take(item)

    def _take(self, item: Block | Break) -> None:
        if isinstance(item, Break):
            self._end_stream(StreamEnding("overrun", "recording", "overrun"))
            return
        joins = None
        if self._stream is not None and (
            (self._rotating and self._stream.is_within_chunk) or not self._stream.has_room(len(item.samples))
        ):
            self._rotating = False
            self._stream.end("rotated")
            joins = self._stream.to_utc(self._stream.clock.knot.at)
            self._stream = None
        if self._stream is None:
            self._stream = self._open_stream(item, joins)
        self._stream.write(item)

    def _end_stream(self, ending: StreamEnding) -> Instant:
        """Ends the stream if there is one, and records where a hole starts."""
        context, stream, self._stream = self._context, self._stream, None
        self._rotating = False
        at = context.timekeeper.now()
        if stream is not None:
            stream.end(ending.reason)
            at = stream.to_utc(stream.clock.knot.at)
        elif ending.mode == "recording":
            return at  # nothing was being recorded, and nothing new is wrong
        context.disk.do(lambda: context.journal.hole_opened(ending.mode, ending.cause, at))
        return at

    def _open_stream(self, first: Block, joins: Instant | None) -> StreamRecorder:
        """Durably records that a stream opens, then opens it. `joins`: where the stream before ended, to the sample."""
        context, form = self._context, self._form
        context.disk.flush()
        if context.disk.failure is not None:
            raise SpoolError(str(context.disk.failure))
        clock = StreamClock(form.rate, first.captured_at, context.timekeeper.belief.offset)
        if joins is not None:
            clock.carry_on(joins)
        stream = self._new_stream(clock.knot.at)
        context.spool.streams.write(stream)
        context.journal.stream_opened(stream)
        context.observer.stream_opened(stream)
        levels, sound_level = context.settings.levels, context.limits.active.sound_level
        detector = SoundDetector(stream.stream_id, form.rate, sound_level, levels.hysteresis, levels.hold_seconds)
        sound = SoundMonitor(meter_for(stream), detector, context.limits, self._input_watch, context.observer)
        return StreamRecorder(stream, clock, sound, context)

    def _new_stream(self, opening: Instant) -> Stream:
        context, form = self._context, self._form
        belief, recorder, state = context.timekeeper.belief, context.settings.recorder, context.journal.state
        return Stream(
            stream_id=new_stream_id(opening),
            node=context.spool.node,
            ordinal=state.ordinal + 1,
            boot_id=context.timekeeper.boot_id,
            device=form.device,
            rate=form.rate,
            channels=form.channels,
            bits=form.bits,
            format=recorder.format,
            chunk_frames=max(1, round(recorder.record_period * form.rate)),
            uncertain=not belief.trusted,
            utc_offset=belief.offset,
            knots=((0, opening),),
            before=context.journal.holes_until(opening),
            earlier=state.earlier,
            calibration_db=calibration_file.offset_for(context.settings.catalog.db_path.parent, form.device),
        )
