"""The recorder's loop: record while it can, name every time in which it could not, and try again for ever."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from edge.clock import StreamClock
from edge.errors import DeviceError, ImHearingError, SpoolError
from edge.instant import Instant
from edge.kernel_clock import KernelClock
from edge.model import EndReason, HoleCause, Stream
from edge.names import new_stream_id
from edge.recorder.blocks import Block, EndOfSound, Source, SourceFormat
from edge.recorder.continuity import Break, Continuity
from edge.recorder.disk import Disk
from edge.recorder.journal import Journal, RecorderMode
from edge.recorder.levels import FULL_SCALE_16, FULL_SCALE_24, LevelMeter
from edge.recorder.repair import repair
from edge.recorder.sounds import SoundDetector
from edge.recorder.stream_recorder import Listener, StreamRecorder
from edge.settings import Settings
from edge.spool import Spool

log = logging.getLogger(__name__)

RESERVE_BYTES = 20_000_000  # left free on the spool's disk, to finish the current chunk and for everybody else's logs
_POLL_SECONDS = 0.5  # how soon a stop or a pause is noticed while no block comes
_RETRY_SECONDS = (1.0, 30.0)  # first and longest wait for a lost device


class ModeListener(Listener):
    """Beside what happens in a stream: what the recorder is doing, and the chunks that a repair found."""

    def mode_changed(self, mode: RecorderMode, since: Instant, reason: str | None, until: Instant | None) -> None:
        """The recorder does something else since `since`."""

    def stream_opened(self, stream: Stream) -> None:
        """A new stream is being recorded."""


class _Outcome(NamedTuple):
    """Why a stream ended, and what that means until the next one."""

    reason: EndReason
    mode: RecorderMode
    cause: HoleCause
    message: str | None = None


_STOPPED = _Outcome("stopped", "stopped", "restart")
_PAUSED = _Outcome("paused", "paused", "paused")
_FINISHED = _Outcome("finished", "stopped", "restart", "the file has been played to its end")


class Recorder:
    """Records one spool until `stop` is set. Everything that it works with is handed in."""

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        choose_source: Callable[[], Source],
        kernel: KernelClock,
        listener: ModeListener,
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._choose_source = choose_source
        self._kernel = kernel
        self._listener = listener
        self._stop = stop
        self._disk: Disk
        self._journal: Journal
        self._told: tuple[RecorderMode, str | None] | None = None
        self._finished = False

    def run(self) -> None:
        """Records until it is told to stop, or a file has been played. SpoolError when the spool is another's."""
        with self._spool.locked_for_recording():
            self._begin(None)
            try:
                self._loop()
            finally:
                self._disk.close()

    def _begin(self, cause: HoleCause | None) -> None:
        state, recovered = repair(self._spool, self._kernel, cause)
        self._journal = Journal(self._spool, state)
        self._disk = Disk(self._settings.recorder.sync_seconds)
        for chunk in recovered:
            self._listener.chunk_finished(chunk)

    def _loop(self) -> None:
        wait = _RETRY_SECONDS[0]
        while not self._stop.is_set() and not self._finished:
            if self._hold_back():
                continue
            try:
                source = self._choose_source()
                form = source.open()
            except DeviceError as problem:
                self._enter(_Outcome("device_lost", "no_device", "device_lost", str(problem)), self._kernel.now())
                self._stop.wait(wait)
                wait = min(2 * wait, _RETRY_SECONDS[1])
                continue
            wait = _RETRY_SECONDS[0]
            try:
                self._record(source, form)
            finally:
                source.close()

    def _hold_back(self) -> bool:
        """Waits a moment while recording is paused or impossible; whether it did."""
        now = self._kernel.now()
        if self._disk.failure is not None:
            self._mend_disk()
            return True
        if (paused := self._pause_until(now)) is not None:
            self._enter(_PAUSED, now, paused or None)
        elif self._spool.free_bytes() < 2 * RESERVE_BYTES:
            self._enter(_disk_full(self._spool), now)
        else:
            return False
        self._stop.wait(_POLL_SECONDS)
        return True

    def _mend_disk(self) -> None:
        """After a failed write or fsync nothing in memory is trusted: begins again from what is on the disk."""
        self._disk.close()
        try:
            self._begin("disk_full")
        except (OSError, SpoolError) as problem:
            log.error("the spool cannot be repaired: %s; trying again", problem)  # noqa: TRY400
            self._tell("disk_full", str(problem), None)
            self._disk = Disk(self._settings.recorder.sync_seconds)
            self._disk.failure = problem
            self._stop.wait(5)

    def _record(self, source: Source, form: SourceFormat) -> None:
        """Records what `source` delivers, as one stream or several, until something ends it."""
        continuity = Continuity(form.rate)
        stream: StreamRecorder | None = None
        try:
            while (outcome := self._reason_to_end()) is None:
                block = source.read(_POLL_SECONDS)
                if block is None:
                    continue
                for item in continuity.add(block):
                    stream = self._take(item, stream, form)
        except EndOfSound:
            outcome, self._finished = _FINISHED, True
        except DeviceError as problem:
            outcome = _Outcome("device_lost", "no_device", "device_lost", str(problem))
        except (OSError, SpoolError) as problem:
            log.error("the disk failed: %s", problem)  # noqa: TRY400 - what is wrong is all there is to say
            self._disk.failure = problem
        if self._disk.failure is not None:
            if stream is not None:
                stream.abandon()
            return
        assert outcome is not None  # noqa: S101 - for the type checker
        if outcome is not _PAUSED:
            for item in continuity.flush():
                stream = self._take(item, stream, form)
        if stream is not None:
            stream.end(outcome.reason)
            self._enter(outcome, stream.clock.knot.at)
        else:
            self._enter(outcome, self._kernel.now())

    def _take(self, item: Block | Break, stream: StreamRecorder | None, form: SourceFormat) -> StreamRecorder | None:
        if isinstance(item, Break):
            if stream is not None:
                stream.end("overrun")
                at = stream.clock.knot.at
                self._disk.do(lambda: self._journal.hole_opened("recording", "overrun", at))
            return None
        if stream is None:
            stream = self._open_stream(item, form)
        stream.write(item)
        return stream

    def _open_stream(self, first: Block, form: SourceFormat) -> StreamRecorder:
        """Writes down durably that a stream begins, then begins it."""
        self._disk.flush()
        if self._disk.failure is not None:
            raise SpoolError(str(self._disk.failure))
        kernel, recorder = self._kernel, self._settings.recorder
        clock = StreamClock(form.rate, first.captured_at, kernel.utc_offset())
        opening = clock.knot.at
        stream = Stream(
            stream_id=new_stream_id(opening),
            node=self._spool.node,
            ordinal=self._journal.state.ordinal + 1,
            boot_id=kernel.boot_id,
            device=form.device,
            rate=form.rate,
            channels=form.channels,
            bits=form.bits,
            format=recorder.format,
            chunk_frames=max(1, round(recorder.record_period * form.rate)),
            uncertain=not kernel.synchronised(),
            utc_offset=opening - first.captured_at,
            knots=((0, opening),),
            before=self._journal.holes_until(opening),
        )
        self._spool.write_stream(stream)
        self._journal.stream_opened(stream.stream_id, opening)
        self._listener.stream_opened(stream)
        self._tell("recording", None, None)
        levels = self._settings.levels
        return StreamRecorder(
            stream,
            clock,
            LevelMeter(form.rate, form.channels, FULL_SCALE_16 if form.bits == 16 else FULL_SCALE_24),
            SoundDetector(
                stream.stream_id, form.rate, self._settings.thresholds.sound_level, levels.hysteresis,
                levels.hold_seconds,
            ),
            self._spool,
            self._disk,
            self._journal,
            kernel,
            self._listener,
        )  # fmt: skip

    def _reason_to_end(self) -> _Outcome | None:
        """Asked before each block."""
        if self._stop.is_set():
            return _STOPPED
        if self._disk.failure is not None:
            return _disk_full(self._spool)
        if self._pause_until(self._kernel.now()) is not None:
            return _PAUSED
        if self._spool.free_bytes() < RESERVE_BYTES:
            return _disk_full(self._spool)
        return None

    def _pause_until(self, now: Instant) -> Instant | int | None:
        """The end of the pause that is in force, 0 for one without end, None when there is none."""
        try:
            order = self._spool.pause_order()
        except ImHearingError as problem:
            log.warning("%s; taken as a pause, to be on the safe side", problem)
            return 0
        if order is None or (order.until is not None and order.until <= now):
            return None
        return order.until or 0

    def _enter(self, outcome: _Outcome, at: Instant, until: Instant | int | None = None) -> None:
        """Notes that nothing is recorded from `at` on, and tells why."""
        self._disk.do(lambda: self._journal.hole_opened(outcome.mode, outcome.cause, at))
        self._tell(outcome.mode, outcome.message, Instant(until) if until else None)

    def _tell(self, mode: RecorderMode, reason: str | None, until: Instant | None) -> None:
        if (mode, reason) != self._told:
            self._told = (mode, reason)
            self._listener.mode_changed(mode, self._kernel.now(), reason, until)


def _disk_full(spool: Spool) -> _Outcome:
    free = spool.free_bytes() // 1_000_000
    return _Outcome(
        "disk_full", "disk_full", "disk_full",
        f"only {free} MB are free at {spool.path}; make room, or let it be archived",
    )  # fmt: skip


def uncertain_streams(spool: Spool, boot_id: str) -> list[Stream]:
    """The streams of this boot whose times were told by a clock that could not be trusted."""
    found = [spool.stream(stream_id) for stream_id in spool.streams()]
    return [stream for stream in found if stream.uncertain and stream.boot_id == boot_id]


def corrected(stream: Stream, utc_offset: int) -> Stream:
    """The stream with its times as the clock that is now trusted tells them."""
    shift = utc_offset - stream.utc_offset
    return msgspec.structs.replace(
        stream,
        uncertain=False,
        utc_offset=utc_offset,
        shift=stream.shift + shift,
        knots=tuple((frame, Instant(at + shift)) for frame, at in stream.knots),
    )
