"""One stream, from its first block to its last: cuts it into chunks on exact frames, measures it, hands chunks on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from edge.core.errors import SpoolError
from edge.core.ids import chunk_id
from edge.core.instant import Instant
from edge.core.values import Chunk, EndedSound, EndReason, Hole, Levels, SoundSpan, Stream
from edge.recorder.capture.blocks import Block, Samples
from edge.recorder.context import RecordingContext
from edge.recorder.durable.chunk_writer import ChunkWriter, draft, finish_chunk
from edge.recorder.facts import MeasuredBlock, TimedSound
from edge.recorder.signal.input_watch import InputWatch
from edge.recorder.signal.levels import meter_for
from edge.recorder.signal.sounds import SoundChange, SoundDetector
from edge.recorder.timing.clock import Belief, StreamClock
from edge.recorder.timing.correction import believed, corrected_stream

TimeOf = Callable[[int], Instant]  # of a frame at or after the last knot


class StreamRecorder:
    """Records the stream `stream`, whose first frame was captured at the clock's opening knot.

    While the stream is uncertain, its clock and manifests keep the offset of its opening, so that one shift corrects
    the whole stream; `to_utc` adds it.

    Nothing here waits for the disk, except for what the operating system makes a plain write wait.
    """

    def __init__(self, stream: Stream, clock: StreamClock, input_watch: InputWatch, context: RecordingContext) -> None:
        self.stream = stream
        self.clock = clock
        self._sound = SoundMonitor(stream, input_watch, context)
        self._context = context
        self._utc_offset = stream.utc_offset  # of the knots to come
        self.frames = 0  # recorded so far
        self._seq = 0
        self._opening_refined = False
        self._writer: ChunkWriter | None = None

    @property
    def is_within_chunk(self) -> bool:
        """Whether a chunk has been started, which would be the last if the stream ended now."""
        return self._writer is not None

    def has_room(self, frames: int) -> bool:
        """Whether that many more can be recorded before chunk numbers run out."""
        return self.frames + frames <= (self._context.tuning.last_seq + 1) * self.stream.chunk_frames

    def to_utc(self, at: Instant) -> Instant:
        """A time of the clock, or of a manifest not yet written, as now believed."""
        return believed(at, self.stream.uncertain, self.stream)

    def time_of(self, frame: int) -> Instant:
        """The time of a frame at or after the last knot, as now believed."""
        return self.to_utc(self.clock.time_of(frame))

    def follow(self, belief: Belief) -> None:
        """Follows a trusted clock; corrects an uncertain stream where the belief has changed."""
        if self.stream.uncertain and (belief.trusted or belief.offset != self.stream.utc_offset):
            before, corrected = self.stream, corrected_stream(self.stream, belief)
            self.stream = corrected
            self._context.ended_sounds.shift(corrected.shift - before.shift)
            if belief.trusted:
                self.clock.shift(corrected.shift)
            self._write_record(corrected)
            self._context.disk.do(lambda: self._context.observer.clock_corrected(corrected))
        if not self.stream.uncertain:
            self._utc_offset = belief.offset

    def write(self, block: Block) -> None:
        """Records a block that joins the one before. OSError or SpoolError when the disk does not take it."""
        self.clock.observe(self.frames, block.captured_at)
        samples = block.samples
        while len(samples):
            room = self.stream.chunk_frames - self._chunk_frames
            self._write_piece(samples[:room])
            samples = samples[room:]
            if self._chunk_frames == self.stream.chunk_frames:
                self._finish_chunk(None)
        if not self._opening_refined and self.frames >= self.stream.rate:
            self._refine_opening()

    def end(self, reason: EndReason) -> None:
        """The stream ends with the last block written; its last chunk may be short. Nothing else may follow."""
        self._sound.finish(self.time_of)
        if self._writer is not None:
            self._finish_chunk(reason)
        frame, at = self.clock.knot
        ended = self.stream = msgspec.structs.replace(
            self.stream, knots=(self.stream.knots[0], (frame, self.to_utc(at)))
        )  # fmt: skip
        self._write_record(ended)

    def leave_to_repair(self) -> None:
        """The disk failed: closes the file, and leaves what it holds to the repair."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with contextlib.suppress(OSError, SpoolError):
                writer.close()

    @property
    def _chunk_frames(self) -> int:
        """Of the chunk being recorded, so far: all before are whole."""
        return self.frames - self._seq * self.stream.chunk_frames

    def _write_record(self, stream: Stream) -> None:
        self._context.disk.do(lambda: self._context.spool.streams.write(stream))

    def _refine_opening(self) -> None:
        """After a second the least delay of all blocks is known: the first one alone may have come late."""
        self._opening_refined = True
        opening = self.to_utc(self.clock.refine_opening())
        refined = self.stream = msgspec.structs.replace(
            self.stream, knots=((0, opening),), before=_ending_at(self.stream.before, opening)
        )
        self._write_record(refined)
        self._context.disk.do(lambda: self._context.journal.knot_passed(0, opening))
        self._context.observer.opening_refined(refined)

    def _write_piece(self, samples: Samples) -> None:
        if self._writer is None:
            self._writer = self._begin_chunk()
        self._writer.write(samples)
        self.frames += len(samples)
        self._sound.add(samples, self.time_of)

    def _begin_chunk(self) -> ChunkWriter:
        stream, spool, seal = self.stream, self._context.spool, self._context.seal
        path = spool.layout.part_path(chunk_id(stream.stream_id, self._seq), stream.format)
        if seal is None:
            writer = ChunkWriter(path, stream.rate, stream.channels, stream.bits, stream.format)
        else:  # in clear, and for nobody else
            path = seal.folder / path.name
            writer = ChunkWriter(path, stream.rate, stream.channels, stream.bits, stream.format, 0o600)
        self._context.disk.watch(writer)
        return writer

    def _finish_chunk(self, reason: EndReason | None) -> None:
        assert self._writer is not None  # noqa: S101 - for the type checker
        writer, self._writer = self._writer, None
        writer.close()  # here: what its encoder still holds must not wait for a slow disk thread
        manifest = self._draft(reason)
        frame, at = self.frames, self.to_utc(manifest.ended_at)
        self._context.disk.do(lambda: self._finish_durably(writer.path, manifest, frame, at))
        self._seq += 1

    def _draft(self, reason: EndReason | None) -> Chunk:
        """The manifest, without what only the finished file can say."""
        if not self._opening_refined:
            self._refine_opening()
        stream = self.stream
        start = self.clock.knot.at
        end = self.clock.advance(self.frames, self._utc_offset).at
        levels, sounds = self._sound.take_chunk()
        return draft(
            stream,
            self._seq,
            self._chunk_frames,
            (start, end),
            rate=round(self.clock.measured_rate, 3),
            levels=levels,
            sounds=sounds,
            end_reason=reason,
        )

    def _finish_durably(self, part: Path, manifest: Chunk, frame: int, at: Instant) -> None:
        """In the disk thread: makes the chunk durable, then reports it."""
        context = self._context
        finish = context.seal.finish if context.seal is not None else finish_chunk
        chunk = finish(context.spool, part, manifest)
        context.journal.knot_passed(frame, at)
        context.report_finished(chunk)


def _ending_at(holes: tuple[Hole, ...], opening: Instant) -> tuple[Hole, ...]:
    """The holes before a stream, the last one up to where the stream begins."""
    return (*holes[:-1], msgspec.structs.replace(holes[-1], to=opening)) if holes else ()


class SoundMonitor:
    """Measures the samples of one stream, and reports what is in them: levels, sounds, crossings, input faults.

    The active limits decide what counts as a sound, from block to block.
    """

    def __init__(self, stream: Stream, input_watch: InputWatch, context: RecordingContext) -> None:
        self._limits, self._observer, self._input_watch = context.limits, context.observer, input_watch
        self._stream, self._ended = stream, context.ended_sounds
        level, by = context.limits.active.sound_level, context.settings.levels
        self._meter = meter_for(stream)
        self._detector = SoundDetector(stream.stream_id, stream.rate, level, by.hysteresis, by.hold_seconds)

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
        for change in changes:
            span, start = change.span, time_of(change.span.first_frame)
            end = None if span.frames is None else time_of(span.first_frame + span.frames)
            if end is not None:  # before it is announced: whoever hears that may query it
                self._ended.add(self._ended_sound(span, start, end))
            self._observer.sound_changed(TimedSound(change.event, span, self._meter.unit, start, end))

    def _ended_sound(self, span: SoundSpan, start: Instant, end: Instant) -> EndedSound:
        begins_in = chunk_id(self._stream.stream_id, span.first_frame // self._stream.chunk_frames)
        return EndedSound(
            sound_id=span.sound_id, chunk_id=begins_in, started_at=start, ended_at=end,
            lafmax=span.lafmax, laeq=span.laeq, unit=self._meter.unit,
        )  # fmt: skip
