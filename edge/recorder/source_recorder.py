"""One opened source, until something ends it: cuts what it delivers into streams, and opens each durably."""

from __future__ import annotations

import logging
from collections import deque
from itertools import chain
from typing import NamedTuple

from edge.configuration import calibration_file
from edge.core.errors import ConfigError, SpoolError
from edge.core.ids import new_stream_id
from edge.core.instant import Instant
from edge.core.values import EndReason, HoleCause, RecorderMode, Stream
from edge.recorder.capture.blocks import Block, SourceFormat
from edge.recorder.context import RecordingContext
from edge.recorder.durable.held_blocks import HeldForm, HeldSound, StreamAt, discard, found_in
from edge.recorder.durable.sealing import Seal, make_own, volatile_folder
from edge.recorder.signal.input_watch import InputWatch
from edge.recorder.stream_recorder import StreamRecorder
from edge.recorder.timing.clock import Revision, StreamClock
from edge.recorder.timing.continuity import Break, Continuity

log = logging.getLogger(__name__)

_TAIL_FRAMES = 8_192  # of the stream's end: twice what an encoder may hold, which a crash loses
_TAIL_BLOCKS = 3
_HELD_BYTES = 40_000_000  # of the file: what is held back is less than half of that


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
        self._rotating = self._clock_moved = False
        self._tail: deque[Block] = deque()  # the end of the stream
        self._tail_frames = 0
        self._held_frame = 0  # of the file of blocks held back: the next one to be recorded

    def add(self, block: Block) -> None:
        held, was_holding = self._context.held, self._continuity.is_holding
        held.add(block)  # before it is judged: a crash within the judgement changes nothing about it
        for item in self._continuity.add(block):
            self._take(item)
        if not self._continuity.is_holding:
            if was_holding:
                held.clear()
        elif not was_holding or held.bytes > _HELD_BYTES:
            self._hold()

    def _hold(self) -> None:
        """From now on blocks are held back. The end of the stream comes first: its encoder still holds some of it."""
        at = None
        if self._stream is not None:
            at = StreamAt(0, self._stream.stream.stream_id, self._stream.frames - self._tail_frames)
        context = self._context
        recipients = context.seal.recipients if context.seal else ()
        form = HeldForm(context.spool.node, context.timekeeper.boot_id, *self._form, recipients)
        context.held.begin(form, at, [*self._tail, *self._continuity.held])
        self._held_frame = self._tail_frames

    def replay(self, held: HeldSound) -> None:
        """Records the blocks that a crash left, from where the last stream that got some of them ended."""
        next_frame, joins = self._end_of_known(held)
        self._context.held.resume(held)
        judged = (self._continuity.add(block) for block in held.blocks())
        for items in chain(judged, [self._continuity.flush()]):
            for item in items:
                if isinstance(item, Block):
                    joins = self._write_rest(item, next_frame, joins)
                elif self._held_frame >= next_frame:  # else the crash came after it
                    joins = None
                    self._break(item)

    def _write_rest(self, block: Block, next_frame: int, joins: Instant | None) -> Instant | None:
        """Records what of `block` lies at or after `next_frame`; returns what the next one joins."""
        skipped = min(len(block.samples), max(0, next_frame - self._held_frame))
        self._held_frame += skipped
        if skipped == len(block.samples):
            return joins
        captured_at = block.captured_at + skipped * 1_000_000 // self._form.rate
        self._write(block._replace(samples=block.samples[skipped:], captured_at=captured_at), joins)
        return None

    def _end_of_known(self, held: HeldSound) -> tuple[int, Instant | None]:
        """The frame of the file at which the streams end that hold some of it, and when that was."""
        for known in reversed(held.streams):
            try:
                knots = self._context.spool.streams.read(known.stream_id).knots
            except SpoolError:
                continue  # it got nothing before the crash
            frame = known.held_frame + knots[-1][0] - known.stream_frame
            if len(knots) > 1 and frame >= 0:
                return frame, knots[-1][1]
        return 0, None

    def clock_revised(self, revision: Revision) -> None:
        """The belief about the clock has changed: the stream follows it, or ends where its time would jump."""
        if revision == "moved":
            self._clock_moved = True
            if not self._continuity.is_holding:
                self._end_moved()
        elif self._stream is not None:
            self._stream.follow(self._context.timekeeper.belief)

    def _end_moved(self) -> None:
        self._clock_moved = False
        self._end_stream(StreamEnding("rotated", "recording", "unknown"))

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
            for item in self._continuity.flush():
                self._take(item)
        at = self._end_stream(ending)
        if self._context.held.is_holding:
            self._context.disk.flush()
        if ending.cause == "paused" or self._context.disk.failure is None:
            self._context.held.discard()
        return at

    def leave_to_repair(self) -> None:
        """The disk failed: leaves what is on it to the repair."""
        self._context.held.close()
        if self._stream is not None:
            self._stream.leave_to_repair()

    def _take(self, item: Block | Break) -> None:
        if self._clock_moved:
            self._end_moved()
        if isinstance(item, Break):
            self._break(item)
        else:
            self._write(item, None)

    def _break(self, item: Break) -> None:
        where = "" if item.certain else "; its place is inferred from the size of the card's buffer"
        log.warning("the sound card lost %.3f s%s", item.missing / 1e6, where)
        self._end_stream(StreamEnding("overrun", "recording", "overrun"))

    def _write(self, block: Block, joins: Instant | None) -> None:
        """Records a block; `joins`: when a stream ended that the one it starts would join."""
        if self._stream is not None and (
            (self._rotating and self._stream.is_within_chunk) or not self._stream.has_room(len(block.samples))
        ):
            self._rotating = False
            self._stream.end("rotated")
            joins = self._stream.to_utc(self._stream.clock.knot.at)
            self._stream = None
        if self._stream is None:
            self._stream = self._open_stream(block, joins)
            self._tail.clear()
            self._tail_frames = 0
            if self._context.held.is_holding:
                self._context.held.note_stream(StreamAt(self._held_frame, self._stream.stream.stream_id, 0))
        self._stream.write(block)
        self._held_frame += len(block.samples)
        self._keep_tail(block)

    def _keep_tail(self, block: Block) -> None:
        tail = self._tail
        tail.append(block)
        self._tail_frames += len(block.samples)
        while len(tail) > _TAIL_BLOCKS and self._tail_frames - len(tail[0].samples) >= _TAIL_FRAMES:
            self._tail_frames -= len(tail.popleft().samples)

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
        return StreamRecorder(stream, clock, self._input_watch, context)

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


def record_held_blocks(context: RecordingContext, cause: HoleCause | None) -> None:
    """Records the blocks that an earlier life held back and a crash left on tmpfs into chunks of their own, if they are
    of this boot. `cause`: why recording broke off."""
    held = _find(context)
    if held is None:
        return
    if held.form.node not in context.spool.names or held.form.boot_id != context.timekeeper.boot_id:
        discard(held.path)
        return
    if held.form.recipients:
        context = context._replace(seal=Seal(held.path.parent, held.form.recipients))
    recorder = SourceRecorder(context, held.form.source)
    try:
        recorder.replay(held)
        recorder.end(StreamEnding("crash", "stopped", cause or "crash"))
    except (OSError, SpoolError) as problem:
        context.disk.fail(problem)
        recorder.leave_to_repair()


def _find(context: RecordingContext) -> HeldSound | None:
    try:
        folder = volatile_folder(context.settings.recorder, context.spool)
        if not folder.exists():
            return None
        make_own(folder)  # SpoolError where it is somebody else's: nothing of that is used
        return found_in(folder)
    except ConfigError:
        return None  # there is no tmpfs, so nothing can lie there
    except (OSError, SpoolError) as problem:
        log.warning("cannot read the blocks held back before a crash: %s", problem)
        return None
