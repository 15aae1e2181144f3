"""One opened source, until something ends it: cuts what it delivers into streams, and opens each durably."""

from __future__ import annotations

from typing import NamedTuple

from edge.configuration import calibration_file
from edge.configuration.settings import Settings
from edge.core.errors import SpoolError
from edge.core.ids import new_stream_id
from edge.core.instant import Instant
from edge.core.values import EndReason, HoleCause, Stream
from edge.recorder.capture.blocks import Block, SourceFormat
from edge.recorder.durable.disk import Disk
from edge.recorder.durable.journal import Journal, RecorderMode
from edge.recorder.durable.sealing import Seal
from edge.recorder.signal.sounds import SoundDetector
from edge.recorder.stream_recorder import Listener, StreamRecorder, meter_for
from edge.recorder.timing.clock import Revision, StreamClock
from edge.recorder.timing.continuity import Break, Continuity
from edge.recorder.timing.timekeeper import Timekeeper
from edge.spool.spool import Spool


class ModeListener(Listener):
    """Beside what happens in a stream: what the recorder is doing, and what it found out about the time."""

    def mode_changed(self, mode: RecorderMode, since: Instant, reason: str | None, until: Instant | None) -> None:
        """The recorder does something else since `since`."""

    def stream_opened(self, stream: Stream) -> None:
        """A new stream is being recorded."""

    def clock_corrected(self, stream: Stream) -> None:
        """The times of a stream of this boot were told anew. Called in the disk thread."""


class Outcome(NamedTuple):
    """Why a stream ended, and what that means until the next one."""

    reason: EndReason
    mode: RecorderMode
    cause: HoleCause
    message: str | None = None


class Workplace(NamedTuple):
    """What a recorder works with from one repair of the spool to the next."""

    settings: Settings
    spool: Spool
    disk: Disk
    journal: Journal
    timekeeper: Timekeeper
    listener: ModeListener
    seal: Seal | None = None  # None: chunks are not encrypted


class Recording:
    """Takes the blocks of one opened source. OSError or SpoolError when the disk does not take them."""

    def __init__(self, place: Workplace, form: SourceFormat) -> None:
        self._place, self._form = place, form
        self._continuity = Continuity(form.rate)
        self._stream: StreamRecorder | None = None
        self._rotating = False

    def add(self, block: Block) -> None:
        for item in self._continuity.add(block):
            self._take(item)

    def clock_revised(self, revision: Revision) -> None:
        """The belief about the clock is another: the stream moves along, or ends where its time would jump."""
        if revision == "moved":
            self._flush()
            self._end_stream(Outcome("rotated", "recording", "unknown"))
        elif self._stream is not None:
            self._stream.follow(self._place.timekeeper.belief)

    def rotate(self) -> None:
        """Ends the stream before the next block, which begins another: no sample is lost between them. Where a chunk
        has just ended, one block later: the last chunk says why the stream ended."""
        self._rotating = self._stream is not None

    @property
    def stream_id(self) -> str | None:
        """Of the stream being recorded."""
        return self._stream.stream.stream_id if self._stream is not None else None

    def end(self, outcome: Outcome) -> Instant:
        """The source is done with; when the sound ended. Blocks still held back are dropped by a pause alone."""
        if outcome.cause != "paused":
            self._flush()
        return self._end_stream(outcome)

    def abandon(self) -> None:
        """The disk failed: what is on it is for the repair to find."""
        if self._stream is not None:
            self._stream.abandon()

    def _flush(self) -> None:
        for item in self._continuity.flush():
            self._take(item)

    def _take(self, item: Block | Break) -> None:
        if isinstance(item, Break):
            self._end_stream(Outcome("overrun", "recording", "overrun"))
            return
        joins = None
        if self._stream is not None and (
            (self._rotating and self._stream.is_within_chunk) or not self._stream.has_room(len(item.samples))
        ):
            self._rotating = False
            self._stream.end("rotated")
            joins = self._stream.told(self._stream.clock.knot.at)
            self._stream = None
        if self._stream is None:
            self._stream = self._open_stream(item, joins)
        self._stream.write(item)

    def _end_stream(self, outcome: Outcome) -> Instant:
        """Ends the stream if there is one, and notes the hole that begins."""
        place, stream, self._stream = self._place, self._stream, None
        self._rotating = False  # whatever ended it
        at = place.timekeeper.now()
        if stream is not None:
            stream.end(outcome.reason)
            at = stream.told(stream.clock.knot.at)
        elif outcome.mode == "recording":
            return at  # nothing was being recorded, and nothing new is wrong
        place.disk.do(lambda: place.journal.hole_opened(outcome.mode, outcome.cause, at))
        return at

    def _open_stream(self, first: Block, joins: Instant | None) -> StreamRecorder:
        """Writes down durably that a stream begins, then begins it. `joins`: where one ended, to the sample."""
        place, form = self._place, self._form
        place.disk.flush()
        if place.disk.failure is not None:
            raise SpoolError(str(place.disk.failure))
        belief, recorder, state = place.timekeeper.belief, place.settings.recorder, place.journal.state
        clock = StreamClock(form.rate, first.captured_at, belief.offset)
        if joins is not None:
            clock.carry_on(joins)
        opening = clock.knot.at
        stream = Stream(
            stream_id=new_stream_id(opening),
            node=place.spool.node,
            ordinal=state.ordinal + 1,
            boot_id=place.timekeeper.boot_id,
            device=form.device,
            rate=form.rate,
            channels=form.channels,
            bits=form.bits,
            format=recorder.format,
            chunk_frames=max(1, round(recorder.record_period * form.rate)),
            uncertain=not belief.trusted,
            utc_offset=belief.offset,
            knots=((0, opening),),
            before=place.journal.holes_until(opening),
            earlier=state.earlier,
            calibration_db=calibration_file.offset_for(place.settings.catalog.db_path.parent, form.device),
        )
        place.spool.streams.write(stream)
        place.journal.stream_opened(stream)
        place.listener.stream_opened(stream)
        levels, thresholds = place.settings.levels, place.settings.thresholds
        detector = SoundDetector(
            stream.stream_id, form.rate, thresholds.sound_level, levels.hysteresis, levels.hold_seconds
        )
        return StreamRecorder(
            stream, clock, meter_for(stream), detector, place.spool, place.disk, place.journal, place.listener,
            place.seal,
        )  # fmt: skip
