"""Whether recording is paused: `pause.json` and the schedule, asked before each block. A deadline, not a countdown."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import NamedTuple

from edge.configuration.schedule import Schedule, ScheduleState, parse
from edge.core.errors import SpoolError
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import PauseOrder
from edge.spool.spool import Spool

log = logging.getLogger(__name__)

_NOTE_EVERY = 60_000_000  # µs
_NEVER_SET = Instant.parse("2025-01-01T00:00:00Z")


class Pause(NamedTuple):
    """A pause in force. `until` as it was ordered; None: until it is taken back."""

    until: Instant | None
    reason: str | None = None


class _Deadline:
    """When an order ends, on this boot's monotonic clock: setting the wall clock changes no pause.

    One that was ordered in an earlier boot ends by the wall clock once that is synchronised. Until then, and where the
    clock that it was ordered by was not to be trusted either, it lasts as long as was left when it was last seen in
    force (`noted`, by the order's own clock): so it never ends early, and is longer by what the machine was off.
    """

    def __init__(self, order: PauseOrder, kernel: KernelClock, noted: int, is_new: bool) -> None:
        assert order.until is not None  # noqa: S101 - for the type checker
        self._until, self._kernel = order.until, kernel
        self._at = kernel.monotonic() + order.until - noted
        self._settled = True
        if order.boot_id == kernel.boot_id and order.utc_offset is not None:
            self._at = order.until - order.utc_offset
        elif order.boot_id is None and is_new:  # written a moment ago, by the clock as it is
            self._at = order.until - kernel.utc_offset()
        else:
            self._settled = order.uncertain

    def left(self) -> int:
        """µs until the end; negative when it has passed."""
        if not self._settled and self._kernel.synchronised():
            self._at = self._until - self._kernel.utc_offset()
            self._settled = True
        return self._at - self._kernel.monotonic()


class PauseWatch:
    """Reads the order, and notes once a minute and at its end, as the file's time of change, how far it is."""

    def __init__(self, spool: Spool, kernel: KernelClock, schedule: Schedule | None = None) -> None:
        self._spool, self._kernel = spool, kernel
        self._path = str(spool.path / "pause.json")
        self._schedule = ScheduleWatch(schedule or parse(""), kernel)
        self._order: PauseOrder | None = None
        self._deadline: _Deadline | None = None
        self._complaint = ""
        self._file: tuple[int, int, int] | None = None  # what the order was read from
        self._looked = False
        self._noted_at = 0  # monotonic
        self._over = False

    def in_force(self) -> Pause | None:
        """The pause that holds now."""
        order = self._read()
        if order != self._order:
            self._order, self._deadline = order, self._deadline_of(order)
        self._looked = True
        if order is None:
            return self._schedule.in_force()
        if self._deadline is not None:
            left = self._deadline.left()
            self._note(left)
            if left <= 0:
                return self._schedule.in_force()
        return Pause(order.until)

    def _deadline_of(self, order: PauseOrder | None) -> _Deadline | None:
        if order is None or order.until is None:
            return None
        self._noted_at, self._over = self._kernel.monotonic(), False
        noted = self._file[0] // 1000 if self._file is not None else self._kernel.now()
        return _Deadline(order, self._kernel, noted, is_new=self._looked)

    def _note(self, left: int) -> None:
        """For the next boot, whose clock may know less: how far the pause has come, by the order's own clock."""
        assert self._order is not None and self._order.until is not None  # noqa: S101, PT018 - for the type checker
        over, was_over, self._over = left <= 0, self._over, left <= 0
        if over == was_over and (over or self._kernel.monotonic() - self._noted_at < _NOTE_EVERY):
            return
        self._noted_at = self._kernel.monotonic()
        now = (self._order.until - left) * 1_000
        with contextlib.suppress(OSError, OverflowError), open(self._path, "rb") as file:  # noqa: PTH123 - as above
            if self._file is not None and os.fstat(file.fileno()).st_ino == self._file[1]:  # else it is a newer order
                os.utime(file.fileno(), ns=(now, now))
                os.fsync(file.fileno())

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
        self._answer = ScheduleState(True, Instant(0))

    def in_force(self) -> Pause | None:
        """The pause between two times to record."""
        now = self._kernel.now()
        if now < _NEVER_SET:
            return None
        if not self._asked_at <= now < self._answer.until:
            self._asked_at, self._answer = now, self._schedule.at(now)
        return None if self._answer.on else Pause(self._answer.until, "the schedule says so")
