"""What a fuzz target is, and one run of it within its bounds."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edge.core.errors import ImHearingError

SECONDS = 5.0  # of CPU time that one input may take, on the slowest machine
MEGABYTES = 96.0  # that one input may add to the process's peak


class Target(NamedTuple):
    """A parser: `run` takes foreign bytes and may raise only `allowed`. `seeds` are inputs that it accepts.

    `is_packed`: inputs are several byte strings in one, as `packed` makes them.
    """

    name: str
    run: Callable[[bytes], object]
    seeds: Sequence[bytes]
    allowed: tuple[type[Exception], ...] = (ImHearingError,)
    is_packed: bool = False


class BoundExceeded(Exception):
    """An input took too much time or memory."""


def check(target: Target, data: bytes) -> bool:
    """Runs `target` on `data`; whether it was accepted. Raises what should not come out of it, or BoundExceeded."""
    memory, started = _peak(), time.process_time()
    try:
        target.run(data)
        accepted = True
    except target.allowed:
        accepted = False
    seconds, megabytes = time.process_time() - started, _peak() - memory
    if seconds > SECONDS or megabytes > MEGABYTES:
        raise BoundExceeded(f"{target.name}: {seconds:.1f} s, {megabytes:.0f} MB for {len(data)} bytes")
    return accepted


def _peak() -> float:
    """The most memory that the process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000


def packed(*parts: bytes) -> bytes:
    """Several byte strings as one input; `unpacked` takes any bytes apart."""
    return b"".join(len(part).to_bytes(2) + part for part in parts)


def unpacked(data: bytes) -> list[bytes]:
    parts = []
    while len(data) >= 2:
        length = int.from_bytes(data[:2])
        parts.append(data[2 : 2 + length])
        data = data[2 + length :]
    return parts
