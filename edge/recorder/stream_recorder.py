"""One stream, from its first block to its last: cuts it into chunks on exact frames, measures it, hands chunks on."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import msgspec

from edge.core.errors import SpoolError
from edge.core.ids import LAST_SEQ, chunk_id
from edge.core.instant import Instant
from edge.core.values import Chunk, EndReason, Hole, Stream
from edge.recorder.capture.blocks import Block, Samples
from edge.recorder.durable.chunk_writer import ChunkWriter, sync_and_digest, with_digest
from edge.recorder.durable.disk import Disk
from edge.recorder.durable.draft import draft
from edge.recorder.durable.journal import Journal
from edge.recorder.durable.sealing import Seal
from edge.recorder.signal.levels import FULL_SCALE_16, FULL_SCALE_24, BlockLevels, LevelMeter
from edge.recorder.signal.sounds import SoundChange, SoundDetector
from edge.recorder.timing.clock import Belief, StreamClock
from edge.recorder.timing.correction import believed, corrected_stream
from edge.spool.spool import Spool

log = logging.getLogger(__name__)


class Listener:
    """Who wants to know. Called in the recorder's thread, where it does not say otherwise."""

    def stream_timed(self, stream: Stream) -> None:
        """The stream's opening, and with it the length of the hole before, are known as well as they will be."""

    def measured(self, levels: BlockLevels, stream: StreamRecorder) -> None:
        """A block's levels."""

    def sound_changed(self, change: SoundChange, stream: StreamRecorder) -> None:
        """A sound started, goes on or ended."""

    def chunk_finished(self, chunk: Chunk) -> None:
        """The chunk is on disk, durably. Called in the disk thread."""

    def clock_corrected(self, stream: Stream) -> None:
        """The times of a stream of this boot were told anew. Called in the disk thread."""


class StreamRecorder:
    """Records the stream `stream`, whose first frame was captured at the clock's opening knot.

    While the stream is uncertain, its clock and manifests keep to the offset of its opening, so that one shift for the
    whole stream corrects them; `told` adds it.

    Nothing here waits for the disk, except what the operating system makes a plain write wait.
    """

    def __init__(
        self,
        stream: Stream,
        clock: StreamClock,
        meter: LevelMeter,
        detector: SoundDetector,
        spool: Spool,
        disk: Disk,
        journal: Journal,
        listener: Listener,
        seal: Seal | None = None,
    ) -> None:
        self.stream = stream
        self.clock = clock
        self.meter = meter
        self.detector = detector
        self._spool, self._disk, self._journal = spool, disk, journal
        self._listener = listener
        self._seal = seal
        self._utc_offset = stream.utc_offset  # of the knots to come
        self._frames = 0  # of the stream
        self._chunk_start = 0
        self._seq = 0
        self._timed = False
        self._writer: ChunkWriter | None = None

    @property
    def frames(self) -> int:
        """Recorded so far."""
        return self._frames

    @property
    def is_within_chunk(self) -> bool:
        """Whether a chunk is begun, which an end would make its last."""
        return self._writer is not None

    def has_room(self, frames: int) -> bool:
        """Whether so many more can be recorded before the numbers of chunks run out."""
        return self._frames + frames <= (LAST_SEQ + 1) * self.stream.chunk_frames

    def told(self, at: Instant) -> Instant:
        """A time of the clock or of a manifest not yet written, as now believed."""
        return believed(at, self.stream.uncertain, self.stream)

    def time_of(self, frame: int) -> Instant:
        """The time of a frame at or after the last knot, as now believed."""
        return self.told(self.clock.time_of(frame))

    def follow(self, belief: Belief) -> None:
        """The clock was looked at: a trusted one is followed; an uncertain stream is told anew where it must be."""
        if self.stream.uncertain and (belief.trusted or belief.offset != self.stream.utc_offset):
            corrected = self.stream = corrected_stream(self.stream, belief)
            if belief.trusted:
                self.clock.shift(corrected.shift)
            self._disk.do(lambda: self._spool.streams.write(corrected))
            self._disk.do(lambda: self._listener.clock_corrected(corrected))
        if not self.stream.uncertain:
            self._utc_offset = belief.offset

    def write(self, block: Block) -> None:
        """Records a block that joins the one before. OSError or SpoolError when the disk does not take it."""
        self.clock.observe(self._frames, block.captured_at)
        samples = block.samples
        while len(samples):
            room = self._chunk_start + self.stream.chunk_frames - self._frames
            self._write_piece(samples[:room])
            samples = samples[room:]
            if self._frames - self._chunk_start == self.stream.chunk_frames:
                self._finish_chunk(None)
        if not self._timed and self._frames >= self.stream.rate:
            self._time_opening()

    def end(self, reason: EndReason) -> None:
        """The stream ends with the last block written; its last chunk may be short. Nothing else may follow."""
        for change in self.detector.finish():
            self._listener.sound_changed(change, self)
        if self._writer is not None:
            self._finish_chunk(reason)
        frame, at = self.clock.knot
        ended = self.stream = msgspec.structs.replace(
            self.stream, knots=(self.stream.knots[0], (frame, self.told(at)))
        )  # fmt: skip
        self._disk.do(lambda: self._spool.streams.write(ended))

    def abandon(self) -> None:
        """The disk failed: lets go of the file; what it holds is for the repair to find."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with contextlib.suppress(OSError, SpoolError):
                writer.close()

    def _time_opening(self) -> None:
        """After a second the least delay of all blocks is known: the first one alone may have come late."""
        self._timed = True
        opening = self.told(self.clock.refine_opening())
        timed = self.stream = msgspec.structs.replace(
            self.stream, knots=((0, opening),), before=_ending_at(self.stream.before, opening)
        )
        self._disk.do(lambda: self._spool.streams.write(timed))
        self._disk.do(lambda: self._journal.knot_passed(0, opening))
        self._listener.stream_timed(timed)

    def _write_piece(self, samples: Samples) -> None:
        if self._writer is None:
            self._begin_chunk()
        assert self._writer is not None  # noqa: S101 - for the type checker
        self._writer.write(samples)
        self._frames += len(samples)
        levels = self.meter.add(samples)
        self._listener.measured(levels, self)
        for change in self.detector.add(levels):
            self._listener.sound_changed(change, self)

    def _begin_chunk(self) -> None:
        path = self._spool.layout.part_path(chunk_id(self.stream.stream_id, self._seq), self.stream.format)
        if self._seal is not None:
            path = self._seal.folder / path.name
        self._writer = ChunkWriter(
            path, self.stream.rate, self.stream.channels, self.stream.bits, self.stream.format
        )  # fmt: skip
        self._disk.watch(self._writer)

    def _finish_chunk(self, reason: EndReason | None) -> None:
        assert self._writer is not None  # noqa: S101 - for the type checker
        writer, self._writer = self._writer, None
        writer.close()  # here: what its encoder still holds must not wait for a slow disk thread
        unsealed = self._draft(reason)
        frame, at = self._frames, self.told(unsealed.ended_at)
        self._disk.do(lambda: self._store(writer.path, unsealed, frame, at))
        self._chunk_start = self._frames
        self._seq += 1

    def _draft(self, reason: EndReason | None) -> Chunk:
        """The manifest, but for what only the finished file tells."""
        if not self._timed:
            self._time_opening()
        stream = self.stream
        start = self.clock.knot.at
        end = self.clock.advance(self._frames, self._utc_offset).at
        return draft(
            stream,
            self._seq,
            self._frames - self._chunk_start,
            (start, end),
            rate=round(self.clock.measured_rate, 3),
            levels=self.meter.take_chunk().levels,
            sounds=self.detector.take_chunk(),
            end_reason=reason,
        )

    def _store(self, part: Path, unsealed: Chunk, frame: int, at: Instant) -> None:
        """In the disk thread: makes the chunk durable, then tells of it."""
        if self._seal is not None:
            chunk = self._seal.finish(self._spool, part, unsealed)
        else:
            chunk = with_digest(unsealed, sync_and_digest(part))
            self._spool.chunks.finish(part, chunk)
        self._journal.knot_passed(frame, at)
        self._listener.chunk_finished(chunk)


def _ending_at(holes: tuple[Hole, ...], opening: Instant) -> tuple[Hole, ...]:
    """The holes before a stream, the last one up to where the stream begins."""
    return (*holes[:-1], msgspec.structs.replace(holes[-1], to=opening)) if holes else ()


def meter_for(stream: Stream) -> LevelMeter:
    full_scale = FULL_SCALE_16 if stream.bits == 16 else FULL_SCALE_24
    return LevelMeter(stream.rate, stream.channels, full_scale, stream.calibration_db)
