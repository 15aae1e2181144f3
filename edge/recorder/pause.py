"""Whether recording is paused: `pause.json`, asked before each block. A deadline, not a countdown."""

from __future__ import annotations

import logging
from typing import NamedTuple

from edge.errors import SpoolError
from edge.instant import Instant
from edge.kernel_clock import KernelClock
from edge.model import PauseOrder
from edge.spool import Spool

log = logging.getLogger(__name__)


class Pause(NamedTuple):
    """A pause in force. `until` as it was ordered; None: until it is taken back."""

    until: Instant | None


class PauseWatch:
    """Reads the order. Its end, once seen, is held against the monotonic clock: setting the clock changes no pause."""

    def __init__(self, spool: Spool, kernel: KernelClock) -> None:
        self._spool, self._kernel = spool, kernel
        self._order: PauseOrder | None = None
        self._ends_at: int | None = None  # µs, monotonic
        self._complaint = ""

    def in_force(self) -> Pause | None:
        """The pause that holds now."""
        order = self._read()
        if order != self._order:
            self._order = order
            self._ends_at = order.until - self._kernel.utc_offset() if order and order.until is not None else None
        if order is None or (self._ends_at is not None and self._kernel.monotonic() >= self._ends_at):
            return None
        return Pause(order.until)

    def _read(self) -> PauseOrder | None:
        try:
            order = self._spool.pause_order()
        except SpoolError as problem:
            if str(problem) != self._complaint:
                log.warning("%s; taken as a pause, to be on the safe side", problem)
            self._complaint = str(problem)
            return PauseOrder()
        self._complaint = ""
        return order
