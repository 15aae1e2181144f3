"""From one repair of the spool to the end, or to a failure of the disk: records, and names each time it could not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edge.core.backoff import Backoff
from edge.core.errors import DeviceError, FileUnplayable, SpoolError
from edge.core.instant import MICROSECONDS, Instant
from edge.core.kernel_clock import KernelClock
from edge.core.systemd import Heartbeat
from edge.core.values import HoleCause, RecorderMode
from edge.recorder import room
from edge.recorder.capture.blocks import EndOfSound, SoundSource
from edge.recorder.context import RecordingContext
from edge.recorder.facts import RecorderObserver
from edge.recorder.pause import PauseWatch
from edge.recorder.source_recorder import SourceRecorder, StreamEnding, record_held_blocks
from edge.recorder.timing.correction import correct_streams
from edge.spool.spool import Spool

log = logging.getLogger(__name__)

_STOPPED = StreamEnding("stopped", "stopped", "restart")
_PAUSED = StreamEnding("paused", "paused", "paused")
_FINISHED = StreamEnding("finished", "stopped", "restart", "the file has been played to its end")


class Controls:
    """What reaches a session from outside."""

    def __init__(
        self, choose_source: Callable[[], SoundSource], pauses: PauseWatch, stop: threading.Event, heartbeat: Heartbeat
    ) -> None:
        self.choose_source, self.pauses, self.stop, self.heartbeat = choose_source, pauses, stop, heartbeat
        self.rotate = threading.Event()


class ModeReporter:
    """Reports each mode once, to systemd and to the observer."""

    def __init__(self, kernel: KernelClock, heartbeat: Heartbeat, observer: RecorderObserver) -> None:
        self._kernel, self._heartbeat, self._observer = kernel, heartbeat, observer
        self.reported: tuple[RecorderMode, str | None, Instant | None] | None = None  # with its reason and end

    def report(
        self, mode: RecorderMode, reason: str | None = None, since: Instant | None = None, until: Instant | None = None
    ) -> bool:
        """Reports a mode that is new, or has another reason or end; whether it did. `since`: now, where not given."""
        if (mode, reason, until) == self.reported:
            return False
        self.reported = (mode, reason, until)
        self._heartbeat.status(f"{mode}: {reason}" if reason else mode)
        self._observer.mode_changed(mode, since or self._kernel.now(), reason, until)
        return True


class Session:
    """Ends when `controls.stop` is set, a file has been played, or the disk has failed."""

    def __init__(self, context: RecordingContext, controls: Controls, modes: ModeReporter) -> None:
        self._context, self._controls, self._modes = context, controls, modes
        self._finished = False
        self._next_disk_check = 0  # monotonic, µs

    def run(self, cause: HoleCause | None) -> None:
        """`cause`: why recording broke off before. FileUnplayable when the file to record from cannot be played."""
        context, tuning = self._context, self._context.tuning
        self._apply_clock_correction(None)
        record_held_blocks(context, cause)
        backoff = Backoff(tuning.device_retry, tuning.longest_device_retry)
        while not self._controls.stop.is_set() and not self._finished and context.disk.failure is None:
            self._follow_clock(None)
            if self._wait_while_not_recording():
                continue
            try:
                source = self._controls.choose_source()
                form = source.open()
            except DeviceError as problem:
                self._enter(_device_lost(problem))
                if isinstance(problem, FileUnplayable):
                    raise
                self._controls.heartbeat.beat()
                self._controls.stop.wait(backoff.next_delay())
                continue
            backoff.reset()
            try:
                self._record(source, SourceRecorder(context, form))
            finally:
                source.close()

    def _wait_while_not_recording(self) -> bool:
        """Waits a moment while recording is paused or impossible; whether it did."""
        until: Instant | None = None
        if (pause := self._controls.pauses.active()) is not None:
            until = pause.until
            self._enter(_PAUSED._replace(message=pause.reason), until)
        elif room.is_low(self._context.spool, resuming=True):
            self._enter(_disk_full(self._context.spool))
        else:
            return False
        self._controls.heartbeat.beat()
        poll = self._context.tuning.poll
        left = poll if until is None else (until - self._context.timekeeper.kernel.now()) / MICROSECONDS
        self._controls.stop.wait(left if 0 < left < poll else poll)
        return True

    def _record(self, source: SoundSource, recorder: SourceRecorder) -> None:
        """Records what `source` delivers, as one stream or several, until something ends it."""
        try:
            ending = self._record_until_ending(source, recorder)
            since = recorder.end(ending)
        except (OSError, SpoolError) as problem:
            self._context.disk.fail(problem)
            recorder.leave_to_repair()
            return
        pause = self._controls.pauses.active() if ending is _PAUSED else None
        if pause is not None:
            self._modes.report(ending.mode, pause.reason, since, pause.until)
        else:
            self._modes.report(ending.mode, ending.message, since)

    def _record_until_ending(self, source: SoundSource, recorder: SourceRecorder) -> StreamEnding:
        self._next_disk_check = 0
        while not self._controls.stop.is_set():
            try:
                block = source.read(self._context.tuning.poll)
            except EndOfSound:
                self._finished = True
                return _FINISHED
            except DeviceError as problem:
                return _device_lost(problem)
            # checked after the block was captured and before it is written: no sound of a pause gets through
            if self._controls.pauses.active() is not None:
                return _PAUSED
            if self._context.disk.failure is not None:
                raise SpoolError(str(self._context.disk.failure))
            if self._is_disk_low():
                return _disk_full(self._context.spool)
            self._follow_clock(recorder)
            if self._controls.rotate.is_set():
                self._controls.rotate.clear()
                recorder.rotate()
            if block is not None:
                recorder.add(block)
                self._controls.heartbeat.beat()
                self._modes.report("recording")
        return _STOPPED

    def _is_disk_low(self) -> bool:
        """Checked now and then: False in between."""
        now = self._context.timekeeper.kernel.monotonic()
        if now < self._next_disk_check:
            return False
        self._next_disk_check = now + round(self._context.tuning.disk_check * MICROSECONDS)
        return room.is_low(self._context.spool)

    def _follow_clock(self, recorder: SourceRecorder | None) -> None:
        revision = self._context.timekeeper.revise()
        if revision is None:
            return
        if revision in ("set", "corrected"):
            log.warning("the clock was %s: correcting timestamps from this boot", revision)
            self._apply_clock_correction(recorder)  # before the stream itself, whose record must not run ahead
        elif revision == "moved":
            log.warning("the synchronised clock jumped; starting a new stream")
        if recorder is not None:
            recorder.clock_revised(revision)

    def _apply_clock_correction(self, recorder: SourceRecorder | None) -> None:
        """Corrects the state and this boot's uncertain streams, except for the one being recorded."""
        context, belief = self._context, self._context.timekeeper.belief
        running = recorder.stream_id if recorder is not None else None

        def correct() -> None:
            context.journal.believe(belief)
            boot_id, now = context.timekeeper.boot_id, context.timekeeper.now()
            for stream in correct_streams(context.spool, boot_id, belief, running, now):
                context.observer.clock_corrected(stream)

        context.disk.do(correct)

    def _enter(self, ending: StreamEnding, until: Instant | None = None) -> None:
        """Notes that nothing is recorded from now on, and reports why."""
        context, at = self._context, self._context.timekeeper.now()
        context.disk.do(lambda: context.journal.hole_opened(ending.mode, ending.cause, at, until))
        self._modes.report(ending.mode, ending.message, at, until)


def _device_lost(problem: DeviceError) -> StreamEnding:
    return StreamEnding("device_lost", "no_device", "device_lost", str(problem))


def _disk_full(spool: Spool) -> StreamEnding:
    return StreamEnding("disk_full", "disk_full", "disk_full", str(spool.disk.disk_full_error()))
