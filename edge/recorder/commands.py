"""The commands that the recorder carries out. Pauses and limits are kept in the spool: they outlive restarts."""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from edge.core import wire
from edge.core.instant import MICROSECONDS, Instant
from edge.core.kernel_clock import KernelClock
from edge.messaging.commands import NotRecording, Pause, Resume, Rotate, SetLimit, SwitchRecording
from edge.recorder.pause import ScheduleWatch
from edge.recorder.recorder import Recorder
from edge.spool import limits
from edge.spool.spool import Spool
from edge.spool.thresholds import with_limit


class RecorderCommands:
    """One method for each command."""

    def __init__(self, spool: Spool, kernel: KernelClock, recorder: Recorder, schedule: ScheduleWatch) -> None:
        self._spool, self._kernel, self._recorder, self._schedule = spool, kernel, recorder, schedule
        self._lock = threading.Lock()

    def pause(self, command: Pause) -> dict[str, Any]:
        return self._pause(command.seconds)

    def resume(self, _command: Resume) -> dict[str, Any]:
        self._spool.pause.remove()
        if (pause := self._schedule.active()) is not None:
            return _data(NotRecording(state="paused", until=pause.until, reason=pause.reason))
        found = self._recorder.not_recording()
        # the pause that has just been taken back may still be reported
        return _data(None if found is None or found.state == "paused" else found)

    def switch(self, command: SwitchRecording) -> dict[str, Any]:
        if not command.on:
            return self._pause(command.seconds)
        self._spool.pause.remove()
        return {"until": None}

    def rotate(self, _command: Rotate) -> dict[str, Any]:
        self._recorder.rotate()
        return _data(self._recorder.not_recording())

    def set_limit(self, command: SetLimit) -> dict[str, Any]:
        with self._lock:
            changed = with_limit(self._recorder.limits.active, command.metric, command.limit)
            limits.save(self._spool.path, changed)
            self._recorder.limits.set(changed)
        return msgspec.structs.asdict(changed)

    def _pause(self, seconds: float | None) -> dict[str, Any]:
        until = None if seconds is None else Instant(self._kernel.now() + round(seconds * MICROSECONDS))
        self._spool.pause.order(until, self._kernel)
        return {"until": None if until is None else str(until)}


def _data(not_recording: NotRecording | None) -> dict[str, Any]:
    return {} if not_recording is None else dict(wire.to_plain(not_recording))
