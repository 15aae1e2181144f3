"""One opened source, until something ends it: cuts what it delivers into streams, and opens each durably."""

from __future__ import annotations

import logging
from collections import deque
from itertools import chain
from typing import NamedTuple

from edge import calibration_file
from edge.clock import Revision, StreamClock
from edge.errors import SpoolError
from edge.instant import Instant
from edge.model import EndReason, HoleCause, Stream
from edge.names import new_stream_id
from edge.recorder.blocks import Block, SourceFormat
from edge.recorder.continuity import Break, Continuity
from edge.recorder.disk import Disk
from edge.recorder.held_blocks import HeldBlocks, HeldForm, HeldSound, StreamAt
from edge.recorder.journal import Journal, RecorderMode
from edge.recorder.sealing import Seal
from edge.recorder.sounds import SoundDetector
from edge.recorder.stream_recorder import Listener, StreamRecorder, meter_for
from edge.recorder.timekeeper import Timekeeper
from edge.settings import Settings
from edge.spool import Spool

log = logging.getLogger(__name__)

_TAIL_FRAMES = 8_192  # of what went on last: twice what an encoder may hold, which a crash loses
_TAIL_BLOCKS = 3
_HELD_BYTES = 40_000_000  # of the file: what is held back is less than half of that


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
    held: HeldBlocks
    seal: Seal | None = None  # None: chunks are not encrypted


class Recording:
    """Takes the blocks of one opened source. OSError or SpoolError when the disk does not take them."""

    def __init__(self, place: Workplace, form: SourceFormat) -> None:
        self._place, self._form = place, form
        self._continuity = Continuity(form.rate)
        self._stream: StreamRecorder | None = None
        self._rotating = False
        self._moved = False
        self._tail: deque[Block] = deque()  # what the stream got last
        self._tail_frames = 0
        self._held_frame = 0  # of the file of blocks held back: the next one that goes on

    def add(self, block: Block) -> None:
        held, was_holding = self._place.held, self._continuity.is_holding
        held.add(block)  # before it is judged: a crash within the judgement changes nothing about it
        for item in self._continuity.add(block):
            self._take(item)
        if not self._continuity.is_holding:
            if was_holding:
                held.discard()
        elif not was_holding or held.bytes > _HELD_BYTES:
            self._hold()

    def _hold(self) -> None:
        """From now on blocks are held back. The end of the stream comes first: its encoder holds some of it."""
        at = (
            StreamAt(0, self._stream.stream.stream_id, self._stream.frames - self._tail_frames)
            if self._stream
            else None
        )
        form, place = self._form, self._place
        recipients = place.seal.recipients if place.seal else ()
        node, boot_id = place.spool.node, place.timekeeper.boot_id
        place.held.begin(
            HeldForm(node, boot_id, form.device, form.rate, form.channels, form.bits, recipients),
            at,
            [*self._tail, *self._continuity.held],
        )
        self._held_frame = self._tail_frames

    def replay(self, left: HeldSound) -> None:
        """Records what a crash left of the blocks held back, from where the last stream that got some of them ended."""
        next_frame, joins = self._end_of_known(left)
        self._place.held.resume(left.path)
        judged = (self._continuity.add(block) for block in left.blocks())
        for items in chain(judged, [self._continuity.flush()]):
            for item in items:
                if isinstance(item, Block):
                    joins = self._write_rest(item, next_frame, joins)
                elif self._held_frame >= next_frame:  # else the crash came after it
                    joins = None
                    self._break(item)

    def _write_rest(self, block: Block, next_frame: int, joins: Instant | None) -> Instant | None:
        """Records what of `block` lies at or after `next_frame`; gives what the next one joins."""
        skipped = min(len(block.samples), max(0, next_frame - self._held_frame))
        self._held_frame += skipped
        if skipped == len(block.samples):
            return joins
        captured_at = block.captured_at + skipped * 1_000_000 // self._form.rate
        self._write(block._replace(samples=block.samples[skipped:], captured_at=captured_at), joins)
        return None

    def _end_of_known(self, left: HeldSound) -> tuple[int, Instant | None]:
        """The frame of the file at which the streams end that hold some of it, and when that was."""
        for known in reversed(left.streams):
            try:
                knots = self._place.spool.stream(known.stream_id).knots
            except SpoolError:
                continue  # it got nothing before the crash
            frame = known.held_frame + knots[-1][0] - known.stream_frame
            if len(knots) > 1 and frame >= 0:
                return frame, knots[-1][1]
        return 0, None

    def clock_revised(self, revision: Revision) -> None:
        """The belief about the clock is another: the stream moves along, or ends where its time would jump."""
        if revision == "moved":
            self._moved = True
            if not self._continuity.is_holding:
                self._end_moved()
        elif self._stream is not None:
            self._stream.follow(self._place.timekeeper.belief)

    def _end_moved(self) -> None:
        self._moved = False
        self._end_stream(Outcome("rotated", "recording", "unknown"))

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
            for item in self._continuity.flush():
                self._take(item)
        at = self._end_stream(outcome)
        if self._place.held.is_open:
            self._place.disk.flush()
            if outcome.cause == "paused" or self._place.disk.failure is None:
                self._place.held.discard()
        return at

    def abandon(self) -> None:
        """The disk failed: what is on it is for the repair to find."""
        self._place.held.let_go()
        if self._stream is not None:
            self._stream.abandon()

    def _take(self, item: Block | Break) -> None:
        if self._moved:
            self._end_moved()
        if isinstance(item, Break):
            self._break(item)
        else:
            self._write(item, None)

    def _break(self, item: Break) -> None:
        where = "" if item.certain else "; where exactly is concluded from the size of the card's buffer"
        log.warning("the sound card lost %.3f s%s", item.missing / 1e6, where)
        self._end_stream(Outcome("overrun", "recording", "overrun"))

    def _write(self, block: Block, joins: Instant | None) -> None:
        """Records a block; `joins`: a stream that it begins joins one that ended then."""
        if self._stream is not None and (
            (self._rotating and self._stream.is_within_chunk) or not self._stream.has_room(len(block.samples))
        ):
            self._rotating = False
            self._stream.end("rotated")
            joins = self._stream.told(self._stream.clock.knot.at)
            self._stream = None
        if self._stream is None:
            self._stream = self._open_stream(block, joins)
            self._tail.clear()
            self._tail_frames = 0
            if self._place.held.is_open:
                self._place.held.note_stream(StreamAt(self._held_frame, self._stream.stream.stream_id, 0))
        self._stream.write(block)
        self._held_frame += len(block.samples)
        self._keep_tail(block)

    def _keep_tail(self, block: Block) -> None:
        tail = self._tail
        tail.append(block)
        self._tail_frames += len(block.samples)
        while len(tail) > _TAIL_BLOCKS and self._tail_frames - len(tail[0].samples) >= _TAIL_FRAMES:
            self._tail_frames -= len(tail.popleft().samples)

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
        place.spool.write_stream(stream)
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
