"""The kernel's clocks: UTC, the boot's monotonic clock, and whether the first is synchronised; and waiting by them."""

from __future__ import annotations

import ctypes
import struct
import threading
import time
import uuid
from pathlib import Path

from edge.core.instant import Instant

_TIMEX = struct.Struct("@I4li")  # the head of struct timex, adjtimex(2): modes, four numbers, status
_TIMEX_BYTES = 512  # more than all of it takes on any machine
_STA_UNSYNC = 0x0040
_APART = 1_000_000  # ns; reading three clocks takes less than a thousandth of it


class KernelClock:
    """The time, and waiting for it. Handed in, so that tests can hand in another."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.boot_id = _boot_id()

    def now(self) -> Instant:
        return Instant(time.time_ns() // 1000)

    def monotonic(self) -> int:
        """µs since some point of this boot; never jumps."""
        return time.monotonic_ns() // 1000

    def sleep(self, seconds: float) -> None:
        """At once for less than 0. Not time.sleep, which fails under libfaketime, by which clocks are tested."""
        threading.Event().wait(max(0.0, seconds))

    def utc_offset(self) -> int:
        """UTC minus the monotonic clock, in µs, at this moment."""
        while True:
            before, utc, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
            if after - before < _APART:  # else we were stopped between them
                return (utc - (before + after) // 2) // 1000

    def synchronised(self) -> bool:
        """The kernel's own view, whichever daemon keeps it (adjtimex, STA_UNSYNC)."""
        timex = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes 0: only reads
        if self._libc.adjtimex(timex) < 0:
            return False
        *_, status = _TIMEX.unpack_from(timex)
        return not status & _STA_UNSYNC


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return str(uuid.uuid4())  # no way to tell boots apart: treat each start as one
