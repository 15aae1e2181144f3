"""Whether recording is paused: `pause.json` and the schedule, asked before each block. A deadline, not a countdown."""

from __future__ import annotations

import logging
import os
from typing import NamedTuple

from edge.errors import SpoolError
from edge.instant import Instant
from edge.kernel_clock import KernelClock
from edge.model import PauseOrder
from edge.schedule import Now, Schedule, parse
from edge.spool import Spool

log = logging.getLogger(__name__)

_NEVER_SET = Instant.parse("2025-01-01T00:00:00Z")


class Pause(NamedTuple):
    """A pause in force. `until` as it was ordered; None: until it is taken back."""

    until: Instant | None
    reason: str | None = None


class PauseWatch:
    """Reads the order. Its end, once seen, is held against the monotonic clock: setting the clock changes no pause."""

    def __init__(self, spool: Spool, kernel: KernelClock, schedule: Schedule | None = None) -> None:
        self._spool, self._kernel = spool, kernel
        self._path = str(spool.path / "pause.json")
        self._schedule = ScheduleWatch(schedule or parse(""), kernel)
        self._order: PauseOrder | None = None
        self._ends_at: int | None = None  # µs, monotonic
        self._complaint = ""
        self._file: tuple[int, int, int] | None = None  # what the order was read from

    def in_force(self) -> Pause | None:
        """The pause that holds now."""
        order = self._read()
        if order != self._order:
            self._order = order
            self._ends_at = order.until - self._kernel.utc_offset() if order and order.until is not None else None
        if order is None or (self._ends_at is not None and self._kernel.monotonic() >= self._ends_at):
            return self._schedule.in_force()
        return Pause(order.until)

    def _read(self) -> PauseOrder | None:
        """The order as it is now. Asked before each block: a file already read is only looked at."""
        try:
            stat = os.stat(self._path)  # noqa: PTH116 - a Path costs ten times as much
        except FileNotFoundError:
            self._file, self._complaint = None, ""
            return None
        except OSError:
            stat = None
        file = stat and (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if file is not None and file == self._file:
            return self._order
        self._file = file
        try:
            order = self._spool.pause_order()
        except SpoolError as problem:
            if str(problem) != self._complaint:
                log.warning("%s; taken as a pause, to be on the safe side", problem)
            self._complaint = str(problem)
            return PauseOrder()
        self._complaint = ""
        return order


class ScheduleWatch:
    """The schedule's own pauses. It goes by the wall clock, so it is asked anew whenever that jumps.

    A clock that shows a year before this was written has never been set: then everything is recorded.
    """

    def __init__(self, schedule: Schedule, kernel: KernelClock) -> None:
        self._schedule, self._kernel = schedule, kernel
        self._asked_at = Instant(0)
        self._answer = Now(True, Instant(0))

    def in_force(self) -> Pause | None:
        """The pause between two times to record."""
        now = self._kernel.now()
        if now < _NEVER_SET:
            return None
        if not self._asked_at <= now < self._answer.until:
            self._asked_at, self._answer = now, self._schedule.at(now)
        return None if self._answer.on else Pause(self._answer.until, "the schedule says so")
