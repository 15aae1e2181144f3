"""Runs `imhearing` of 4bf7b8b with a clock that shows 3 March 2026.

`python -m tests.compatibility.in_march MINUTE ARGUMENTS`: starts MINUTE minutes after 22:00. The boot id is
made up, and different for each minute.
"""

from __future__ import annotations

import importlib
import sys
import time
from datetime import UTC, datetime
from typing import Any

import imhearing

_MINUTE = int(sys.argv[1])
_BEGAN = time.monotonic_ns() // 1000
_START = int(datetime(2026, 3, 3, 22, _MINUTE, 10, tzinfo=UTC).timestamp()) * 1_000_000


def main() -> int:
    clock: Any = importlib.import_module("edge.kernel_clock")  # later versions have it elsewhere
    instant: Any = importlib.import_module("edge.instant").Instant
    clock._boot_id = lambda: f"6e1c2a9e-3c6f-4a54-9a52-0d6c3f1f{_MINUTE:04x}"
    clock.KernelClock.utc_offset = lambda _: _START - _BEGAN
    clock.KernelClock.now = lambda _: instant(time.monotonic_ns() // 1000 + _START - _BEGAN)
    clock.KernelClock.synchronised = lambda _: True
    return imhearing.main(sys.argv[2:])


if __name__ == "__main__":
    raise SystemExit(main())
