"""Whether recording is paused: `pause.json` and the schedule, checked before each block. By deadline, not countdown."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import NamedTuple

from edge.configuration.schedule import Schedule, ScheduleState, parse
from edge.core.errors import SpoolError
from edge.core.files import never_waiting
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import PauseOrder
from edge.spool.files import ForeignDocument
from edge.spool.spool import Spool

log = logging.getLogger(__name__)

_NOTE_EVERY = 60_000_000  # µs
_NEVER_SET = Instant.parse("2025-01-01T00:00:00Z")


class ActivePause(NamedTuple):
    """`until` as it was ordered; None: until recording is resumed."""

    until: Instant | None
    reason: str | None = None


class PauseWatch:
    """Follows the order and the schedule; an order comes first."""

    def __init__(self, spool: Spool, kernel: KernelClock, schedule: Schedule | None = None) -> None:
        self._kernel = kernel
        self._file = _OrderFile(spool)
        self._schedule = ScheduleWatch(schedule or parse(""), kernel)
        self._order: PauseOrder | None = None
        self._deadline: _Deadline | None = None
        self._checked = False

    def active(self) -> ActivePause | None:
        """The pause that is active now."""
        order = self._file.read()
        if order != self._order:
            self._order, self._deadline = order, self._deadline_of(order)
        self._checked = True
        if order is None or (self._deadline is not None and self._deadline.has_passed()):
            return self._schedule.active()
        return ActivePause(order.until)

    def _deadline_of(self, order: PauseOrder | None) -> _Deadline | None:
        if order is None or order.until is None:
            return None
        return _Deadline(order.until, order, self._file, self._kernel, is_new=self._checked)


class _OrderFile:
    """`pause.json`. Its time of change says how far the pause has come, by the order's own clock."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._path = str(spool.path / "pause.json")
        self._order: PauseOrder | None = None
        self._read_from: tuple[int, int, int, int] | None = None  # time of change in ns, inode, size, user
        self._complaint = ""

    @property
    def changed_at(self) -> int | None:
        """When the file that was read was changed, in µs; None: it could not be read."""
        return self._read_from[0] // 1_000 if self._read_from is not None else None

    def read(self) -> PauseOrder | None:
        """The order as it is now. Called before each block: a file that was read before is only checked for changes."""
        try:
            stat = os.lstat(self._path)
        except FileNotFoundError:
            self._read_from, self._order, self._complaint = None, None, ""
            return None
        except OSError:
            stat = None
        found = stat and (stat.st_mtime_ns, stat.st_ino, stat.st_size, stat.st_uid)
        if found is None or found != self._read_from:
            self._read_from, self._order = found, self._decode()
        return self._order

    def _decode(self) -> PauseOrder | None:
        try:
            order = self._spool.pause.read(self._owners())
        except ForeignDocument as problem:
            self._complain(f"{problem}; ignored")
            return None
        except SpoolError as problem:
            self._complain(f"{problem}; pausing, to be on the safe side")
            return PauseOrder()
        self._complaint = ""
        return order

    def _owners(self) -> set[int]:
        """Others may write to the spool too: the archiver. Its folder is ours, or all of its disk has one owner."""
        return {0, os.geteuid(), self._spool.path.stat().st_uid}

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            log.warning("%s", complaint)
        self._complaint = complaint

    def set_changed_at(self, microseconds: int) -> None:
        """Durably, and only on the file that was read: another one is a newer order."""
        now = microseconds * 1_000
        with contextlib.suppress(OSError, OverflowError), open(self._path, "rb", opener=never_waiting) as file:
            if self._read_from is not None and os.fstat(file.fileno()).st_ino == self._read_from[1]:
                os.utime(file.fileno(), ns=(now, now))
                os.fsync(file.fileno())


class _Deadline:
    """When an order ends, on this boot's monotonic clock: setting the wall clock changes no pause.

    An order from an earlier boot ends by the wall clock once that is synchronised. Until then, and where the clock that
    it was ordered by could not be trusted either, it lasts as long as was left when it was last seen active, which the
    file's time of change says: so it never ends early, and is longer by the time that the machine was off.
    """

    def __init__(
        self, until: Instant, order: PauseOrder, file: _OrderFile, kernel: KernelClock, *, is_new: bool
    ) -> None:
        self._until, self._file, self._kernel = until, file, kernel
        self._noted_at, self._was_over = kernel.monotonic(), False
        seen_at = file.changed_at
        self._at = kernel.monotonic() + until - (kernel.now() if seen_at is None else seen_at)
        self._is_final = True
        if order.boot_id == kernel.boot_id and order.utc_offset is not None:
            self._at = until - order.utc_offset
        elif order.boot_id is None and is_new:  # written a moment ago, by the clock as it is
            self._at = until - kernel.utc_offset()
        else:
            self._is_final = order.uncertain

    def has_passed(self) -> bool:
        """Whether the pause is over. Notes its progress in the file, once a minute and at its end."""
        if not self._is_final and self._kernel.synchronised():
            self._at = self._until - self._kernel.utc_offset()
            self._is_final = True
        left = self._at - self._kernel.monotonic()
        self._note(left)
        return left <= 0

    def _note(self, left: int) -> None:
        """For the next boot, whose clock may know less."""
        over, was_over, self._was_over = left <= 0, self._was_over, left <= 0
        if over == was_over and (over or self._kernel.monotonic() - self._noted_at < _NOTE_EVERY):
            return
        self._noted_at = self._kernel.monotonic()
        self._file.set_changed_at(self._until - left)


class ScheduleWatch:
    """The schedule's own pauses. They follow the wall clock, so they are found again whenever it jumps.

    A clock that shows a year before this was written has never been set: then everything is recorded.
    """

    def __init__(self, schedule: Schedule, kernel: KernelClock) -> None:
        self._schedule, self._kernel = schedule, kernel
        self._found_at = Instant(0)
        self._found = ScheduleState(True, Instant(0))

    def active(self) -> ActivePause | None:
        """The pause between two times to record."""
        now = self._kernel.now()
        if now < _NEVER_SET:
            return None
        if not self._found_at <= now < self._found.until:
            self._found_at, self._found = now, self._schedule.at(now)
        return None if self._found.on else ActivePause(self._found.until, "the schedule says so")
