"""The commands that the recorder carries out: what they change lies in the spool, so it outlives us and the broker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec

from edge.core.instant import MICROSECONDS, Instant
from edge.core.kernel_clock import KernelClock
from edge.messaging.commands import Pause, Resume, Rotate, SetLimit, SwitchRecording
from edge.spool import limits as limits_file
from edge.spool.spool import Spool
from edge.spool.thresholds import Limits, with_limit


class RecorderCommands:
    """One method for each command. `rotate` asks the recorder to finish the chunk and go on in another."""

    def __init__(
        self,
        spool: Spool,
        kernel: KernelClock,
        limits: Limits,
        limits_changed: Callable[[Limits], None],
        rotate: Callable[[], None],
    ) -> None:
        self._spool, self._kernel = spool, kernel
        self._limits, self._limits_changed = limits, limits_changed
        self._rotate = rotate
        self._lock = threading.Lock()

    def pause(self, command: Pause) -> dict[str, Any]:
        return self._pause(command.seconds)

    def resume(self, _command: Resume) -> dict[str, Any]:
        self._spool.pause.remove()
        return {}

    def switch(self, command: SwitchRecording) -> dict[str, Any]:
        if not command.on:
            return self._pause(command.seconds)
        self._spool.pause.remove()
        return {"until": None}

    def rotate(self, _command: Rotate) -> dict[str, Any]:
        self._rotate()
        return {}

    def set_limit(self, command: SetLimit) -> dict[str, Any]:
        with self._lock:
            changed = with_limit(self._limits, command.metric, command.limit)
            limits_file.keep(self._spool.path, changed)
            self._limits = changed
            self._limits_changed(changed)
        return msgspec.structs.asdict(changed)

    def _pause(self, seconds: float | None) -> dict[str, Any]:
        until = None if seconds is None else Instant(self._kernel.now() + round(seconds * MICROSECONDS))
        self._spool.pause.order(until, self._kernel)
        return {"until": None if until is None else str(until)}
