"""Records one spool for good: after a failure of the disk, it repairs the spool and starts again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edge.configuration.schedule import schedule_of
from edge.configuration.settings import Settings
from edge.core.errors import SpoolBusy, SpoolError, SpoolMissing
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.core.systemd import Heartbeat
from edge.core.values import Chunk, HoleCause
from edge.messaging.commands import NotRecording
from edge.recorder import room
from edge.recorder.capture.blocks import SoundSource
from edge.recorder.context import RecordingContext, Tuning
from edge.recorder.durable.disk import Disk
from edge.recorder.durable.ended_sounds import EndedSounds
from edge.recorder.durable.held_blocks import HeldBlocks
from edge.recorder.durable.journal import Journal
from edge.recorder.durable.recovery import readable
from edge.recorder.durable.repair import repair
from edge.recorder.durable.sealing import open_seal, volatile_folder
from edge.recorder.facts import RecorderObserver, sound_cut_off
from edge.recorder.limit_watch import LimitWatch
from edge.recorder.missing_disk import StraySound
from edge.recorder.pause import PauseWatch
from edge.recorder.session import Controls, ModeReporter, Session
from edge.recorder.timing.timekeeper import Timekeeper
from edge.spool import limits, thresholds
from edge.spool.spool import Spool

log = logging.getLogger(__name__)


class Recorder:
    """Records until `stop` is set, whose `wait` is the only one here beside the source's. What happens goes to
    `observer`."""

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        choose_source: Callable[[], SoundSource],
        kernel: KernelClock,
        observer: RecorderObserver,
        stop: threading.Event,
        heartbeat: Heartbeat | None = None,
        tuning: Tuning | None = None,
        strays: StraySound | None = None,
        disk_missing_since: int | None = None,
    ) -> None:
        """`disk_missing_since`: at first the spool's disk was not mounted, from then on (µs of the monotonic clock)."""
        heartbeat = heartbeat or Heartbeat({})  # beats where blocks come, or where it is known why none do
        self._settings, self._spool, self._kernel, self._tuning = settings, spool, kernel, tuning or Tuning()
        self._observer, self._strays, self._disk_missing_since = observer, strays, disk_missing_since
        self._controls = Controls(choose_source, PauseWatch(spool, kernel, schedule_of(settings)), stop, heartbeat)
        self._modes = ModeReporter(kernel, heartbeat, observer)
        active = limits.active(spool.path, thresholds.configured(settings.thresholds))
        self.limits = LimitWatch(active, settings.levels.hysteresis, spool, kernel, observer)

    def rotate(self) -> None:
        """From any thread: what is being recorded becomes a finished chunk now; recording continues without a gap."""
        self._controls.rotate.set()

    def not_recording(self) -> NotRecording | None:
        """From any thread: why nothing is being recorded; None while it is, or before that is known."""
        mode, reason, until = self._modes.reported or ("recording", None, None)
        return None if mode == "recording" else NotRecording(state=mode, until=until, reason=reason)

    def run(self) -> None:
        """Records until it is stopped, or a file has been played. SpoolBusy when another recorder has the spool,
        FileUnplayable when the file to record from cannot be played.

        After a failed write or fsync nothing in memory is trusted: it starts again from what is on the disk.
        """
        with self.limits.spool_watch.running():
            cause: HoleCause | None = None
            while (failure := self._attempt(cause)) is not None and not self._controls.stop.is_set():
                cause = _cause_of(failure, self._spool)
                if self._modes.report("disk_full", str(failure)):  # once: the log may be on the full disk
                    log.error("the spool failed: %s; trying again", failure)
                self._controls.heartbeat.beat()
                self._controls.stop.wait(self._tuning.repair_retry)

    def _attempt(self, cause: HoleCause | None) -> Exception | None:
        """Records to the end, or to a failure of the disk, which it returns."""
        try:
            self._spool.check_disk()
            with self._spool.recorder_lock.hold():
                return self._repair_and_record(cause)
        except SpoolBusy:
            if self._modes.reported is None:
                raise
            return SpoolError("another recorder took the spool while its disk was away")
        except (OSError, SpoolError) as problem:
            return problem

    def _repair_and_record(self, cause: HoleCause | None) -> Exception | None:
        room.require_room_to_repair(self._spool, self._kernel)
        state, recovered = repair(self._spool, self._kernel, cause, self._settings)
        if self._strays is not None:
            state = self._strays.join(self._spool, state)
        seal = open_seal(self._settings.recorder, self._spool)  # after the repair: what it finds keeps its own
        held = HeldBlocks(lambda: volatile_folder(self._settings.recorder, self._spool))
        disk = Disk(self._settings.recorder.sync_seconds)
        journal, timekeeper = Journal(self._spool, state), Timekeeper(self._kernel, state)
        if self._disk_missing_since is not None:
            missing_for = self._kernel.monotonic() - self._disk_missing_since
            journal.hole_opened("stopped", "disk_missing", Instant(timekeeper.now() - missing_for))
            self._disk_missing_since = None
        context = RecordingContext(
            self._settings, self._spool, disk, journal, timekeeper,
            self._observer, self.limits, EndedSounds(self._spool.ended_sounds), held, seal, self._tuning,
        )  # fmt: skip
        try:
            for chunk in recovered:
                self._report_recovered(chunk)
            Session(context, self._controls, self._modes).run(cause)
        finally:
            disk.close()
        return disk.failure

    def _report_recovered(self, chunk: Chunk) -> None:
        self._observer.chunk_finished(chunk)
        if (sound := sound_cut_off(chunk, readable(self._spool.streams.read, chunk.stream_id))) is not None:
            self._observer.sound_changed(sound)
        self.limits.spool_watch.chunk_finished(chunk)


def _cause_of(failure: Exception, spool: Spool) -> HoleCause:
    if isinstance(failure, SpoolMissing):
        return "disk_missing"
    return "disk_full" if room.is_out_of_space(failure, spool) else "unknown"
