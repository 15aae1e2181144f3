"""The recorder's loop: record while it can, name every time in which it could not, and try again for ever."""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from edge.errors import ConfigError, DeviceError, FileUnplayable, SpoolBusy, SpoolError
from edge.instant import Instant
from edge.kernel_clock import KernelClock
from edge.model import HoleCause, OpenHole
from edge.notify import Heartbeat
from edge.recorder.blocks import EndOfSound, Source
from edge.recorder.correction import correct_streams
from edge.recorder.disk import Disk
from edge.recorder.held_blocks import HeldBlocks, HeldSound, discard, found_in
from edge.recorder.journal import Journal, RecorderMode
from edge.recorder.pause import Pause, PauseWatch
from edge.recorder.recording import ModeListener, Outcome, Recording, Workplace
from edge.recorder.repair import repair
from edge.recorder.sealing import Seal, make_own, open_seal, volatile_folder
from edge.recorder.timekeeper import Timekeeper
from edge.schedule import schedule_of
from edge.settings import Settings
from edge.spool import Spool

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5  # how soon a stop or a pause is noticed while no block comes
_LOOK_SECONDS = 0.5  # between two looks at the room on the disk
_RETRY_SECONDS = (1.0, 30.0)  # first and longest wait for a lost device
_MEND_SECONDS = 2.0
_STATE_BYTES = 65_536  # more than `state.json` and its copy take on any disk

_STOPPED = Outcome("stopped", "stopped", "restart")
_PAUSED = Outcome("paused", "paused", "paused")
_FINISHED = Outcome("finished", "stopped", "restart", "the file has been played to its end")


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
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._choose_source = choose_source
        self._kernel = kernel
        self._listener = listener
        self._stop = stop
        self._heartbeat = heartbeat or Heartbeat({})  # beats where blocks come, or it is known why none do
        self._pauses = PauseWatch(spool, kernel, schedule_of(settings))
        self._told: tuple[RecorderMode, str | None, Instant | None] | None = None
        self._finished = False
        self._rotation_asked = threading.Event()

    def rotate(self) -> None:
        """From any thread: what is being recorded becomes a finished chunk now; recording goes on without a gap."""
        self._rotation_asked.set()

    def run(self) -> None:
        """Records until it is told to stop, or a file has been played. SpoolBusy when another recorder has the spool,
        FileUnplayable when the file that it is to record from cannot be.

        After a failed write or fsync nothing in memory is trusted: it begins again from what is on the disk.
        """
        cause: HoleCause | None = None
        while True:
            try:
                with self._spool.locked_for_recording():
                    failure: Exception | None = self._session(cause)
            except SpoolBusy:
                if self._told is None:
                    raise
                failure = SpoolError("another recorder took the spool while its disk was away")
            except (OSError, SpoolError) as problem:
                failure = problem
            if failure is None or self._stop.is_set():
                return
            cause = "disk_full" if self._is_full(failure) else "unknown"
            if self._tell("disk_full", str(failure), None):  # once: the log may be on the full disk
                log.error("the spool failed: %s; trying again", failure)
            self._heartbeat.beat()
            self._stop.wait(_MEND_SECONDS)

    def _is_full(self, failure: Exception) -> bool:
        if isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        try:
            return _is_low(self._spool)
        except SpoolError:
            return False

    def _session(self, cause: HoleCause | None) -> Exception | None:
        """From a repair of the spool to the end, or to the failure of the disk that it gives."""
        self._make_sure_of_room()
        state, recovered = repair(self._spool, self._kernel, cause, self._settings)
        seal = open_seal(self._settings.recorder, self._spool)  # after the repair: what it finds keeps its own
        disk = Disk(self._settings.recorder.sync_seconds)
        place = Workplace(
            self._settings, self._spool, disk, Journal(self._spool, state), Timekeeper(self._kernel, state),
            self._listener, HeldBlocks(self._folder_on_tmpfs), seal,
        )  # fmt: skip
        try:
            for chunk in recovered:
                self._listener.chunk_finished(chunk)
            self._tell_time_anew(place, None)
            self._record_held(place, cause)
            self._loop(place)
        finally:
            disk.close()
        return disk.failure

    def _folder_on_tmpfs(self) -> Path:
        folder = volatile_folder(self._settings.recorder, self._spool)
        make_own(folder)
        return folder

    def _record_held(self, place: Workplace, cause: HoleCause | None) -> None:
        """What a crash left of the blocks held back goes into chunks of its own."""
        try:
            folder = volatile_folder(self._settings.recorder, self._spool)
            if not folder.exists():
                return
            make_own(folder)  # or another's, of which nothing is taken
            left = found_in(folder)
        except ConfigError:
            return  # there is no tmpfs, so nothing can lie there
        except (OSError, SpoolError) as problem:
            log.warning("what was held back before a crash cannot be read: %s", problem)
            return
        if left is None:
            return
        if (left.form.node, left.form.boot_id) != (self._spool.node, place.timekeeper.boot_id):
            discard(left.path)
            return
        self._replay(place, left, cause)

    @staticmethod
    def _replay(place: Workplace, left: HeldSound, cause: HoleCause | None) -> None:
        if left.form.recipients:
            place = place._replace(seal=Seal(left.path.parent, left.form.recipients))
        recording = Recording(place, left.form.source)
        try:
            recording.replay(left)
            recording.end(Outcome("crash", "stopped", cause or "crash"))
        except (OSError, SpoolError) as problem:
            place.disk.fail(problem)
            recording.abandon()

    def _make_sure_of_room(self) -> None:
        """SpoolError while the first chunk that waits on tmpfs has no room; the repair comes to the others itself."""
        size = next((size for size in self._spool.awaited() if size), None)
        if size is None:
            return
        try:
            self._spool.make_sure_of_room(size)
        except SpoolError:
            self._note_full()
            raise

    def _note_full(self) -> None:
        """What the repair needs to know of the stream that broke off stays noted, and why nothing came after it."""
        with contextlib.suppress(OSError, SpoolError):
            state = self._spool.state()
            if state is None or state.state == "disk_full" or self._spool.free_bytes() < _STATE_BYTES:
                return
            hole = OpenHole("disk_full", state.knot[1]) if state.knot is not None else state.open_hole
            self._spool.write_state(replace(state, state="disk_full", since=self._kernel.now(), open_hole=hole))

    def _loop(self, place: Workplace) -> None:
        wait = _RETRY_SECONDS[0]
        while not self._stop.is_set() and not self._finished and place.disk.failure is None:
            self._look_at_clock(place, None)
            if self._hold_back(place):
                continue
            try:
                source = self._choose_source()
                form = source.open()
            except DeviceError as problem:
                self._enter(place, Outcome("device_lost", "no_device", "device_lost", str(problem)))
                if isinstance(problem, FileUnplayable):
                    raise
                self._heartbeat.beat()
                self._stop.wait(wait)
                wait = min(2 * wait, _RETRY_SECONDS[1])
                continue
            wait = _RETRY_SECONDS[0]
            try:
                self._record(place, source, Recording(place, form))
            finally:
                source.close()

    def _hold_back(self, place: Workplace) -> bool:
        """Waits a moment while recording is paused or impossible; whether it did."""
        until: Instant | None = None
        if (pause := self._pauses.in_force()) is not None:
            until = pause.until
            self._enter(place, _PAUSED._replace(message=pause.reason), until)
        elif _is_low(self._spool, resuming=True):
            self._enter(place, _disk_full(self._spool))
        else:
            return False
        self._heartbeat.beat()
        left = _POLL_SECONDS if until is None else (until - self._kernel.now()) / 1e6
        self._stop.wait(left if 0 < left < _POLL_SECONDS else _POLL_SECONDS)
        return True

    def _record(self, place: Workplace, source: Source, recording: Recording) -> None:
        """Records what `source` delivers, as one stream or several, until something ends it."""
        try:
            outcome = self._deliver(place, source, recording)
            since = recording.end(outcome)
        except (OSError, SpoolError) as problem:
            place.disk.fail(problem)
            recording.abandon()
            return
        pause = self._pauses.in_force() if outcome is _PAUSED else None
        self._tell(outcome.mode, pause.reason if pause else outcome.message, since, pause)

    def _deliver(self, place: Workplace, source: Source, recording: Recording) -> Outcome:
        look_at_disk = 0.0
        while not self._stop.is_set():
            try:
                block = source.read(_POLL_SECONDS)
            except EndOfSound:
                self._finished = True
                return _FINISHED
            except DeviceError as problem:
                return Outcome("device_lost", "no_device", "device_lost", str(problem))
            # asked after the block was captured and before it is written: nothing of a paused time gets through
            if self._pauses.in_force() is not None:
                return _PAUSED
            if place.disk.failure is not None:
                raise SpoolError(str(place.disk.failure))
            if time.monotonic() >= look_at_disk:
                look_at_disk = time.monotonic() + _LOOK_SECONDS
                if _is_low(self._spool):
                    return _disk_full(self._spool)
            self._look_at_clock(place, recording)
            if self._rotation_asked.is_set():
                self._rotation_asked.clear()
                recording.rotate()
            if block is not None:
                recording.add(block)
                self._heartbeat.beat()
                self._tell("recording", None, None)
        return _STOPPED

    def _look_at_clock(self, place: Workplace, recording: Recording | None) -> None:
        revision = place.timekeeper.look()
        if revision is None:
            return
        if revision in ("set", "corrected"):
            log.warning("the clock was %s: the times of this boot move along", revision)
            self._tell_time_anew(place, recording)  # before the stream itself, whose record must not run ahead
        elif revision == "moved":
            log.warning("the synchronised clock jumped; a new stream begins")
        if recording is not None:
            recording.clock_revised(revision)

    @staticmethod
    def _tell_time_anew(place: Workplace, recording: Recording | None) -> None:
        belief, boot_id = place.timekeeper.belief, place.timekeeper.boot_id
        running = recording.stream_id if recording is not None else None

        def tell() -> None:
            place.journal.believe(belief)
            for stream in correct_streams(place.spool, boot_id, belief, running):
                place.listener.clock_corrected(stream)

        place.disk.do(tell)

    def _enter(self, place: Workplace, outcome: Outcome, until: Instant | None = None) -> None:
        """Notes that nothing is recorded from now on, and tells why."""
        at = place.timekeeper.now()
        place.disk.do(lambda: place.journal.hole_opened(outcome.mode, outcome.cause, at, until))
        self._tell(outcome.mode, outcome.message, at, Pause(until))

    def _tell(self, mode: RecorderMode, reason: str | None, since: Instant | None, pause: Pause | None = None) -> bool:
        """Whether that is news."""
        until = pause.until if pause is not None else None
        if (mode, reason, until) == self._told:
            return False
        self._told = (mode, reason, until)
        self._heartbeat.status(f"{mode}: {reason}" if reason else mode)
        self._listener.mode_changed(mode, since or self._kernel.now(), reason, until)
        return True


def _is_low(spool: Spool, *, resuming: bool = False) -> bool:
    """Whether the reserve of the disk is touched once the parts on tmpfs are there too; to begin again, twice the
    reserve must be free."""
    reserve = spool.reserve_bytes()
    return spool.free_bytes() < sum(spool.awaited()) + (2 * reserve if resuming else reserve)


def _disk_full(spool: Spool) -> Outcome:
    return Outcome("disk_full", "disk_full", "disk_full", str(spool.full()))
