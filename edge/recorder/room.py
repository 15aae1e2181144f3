"""Whether the spool's disk has room to record, and what is noted while it has none."""

from __future__ import annotations

import contextlib
import errno

from msgspec.structs import replace

from edge.core.errors import SpoolError
from edge.core.kernel_clock import KernelClock
from edge.core.values import OpenHole
from edge.spool.spool import Spool

_STATE_BYTES = 65_536  # more than `state.json` and its copy take on any disk


def is_low(spool: Spool, *, resuming: bool = False) -> bool:
    """Whether the disk's reserve is touched once the parts on tmpfs are there too; to resume, twice the reserve must be
    free."""
    reserve = spool.disk.reserve_bytes()
    return spool.disk.free_bytes() < sum(spool.disk.pending_tmpfs_bytes()) + (2 * reserve if resuming else reserve)


def is_out_of_space(failure: Exception, spool: Spool) -> bool:
    """Whether `failure` came from a full disk."""
    if isinstance(failure, OSError | SpoolError) and failure.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    try:
        return is_low(spool)
    except SpoolError:
        return False


def require_room_to_repair(spool: Spool, kernel: KernelClock) -> None:
    """SpoolError while the first chunk that waits on tmpfs has no room; the repair checks the others itself."""
    size = next((size for size in spool.disk.pending_tmpfs_bytes() if size), None)
    if size is None:
        return
    try:
        spool.disk.ensure_room(size)
    except SpoolError:
        _note_full_disk(spool, kernel)
        raise


def _note_full_disk(spool: Spool, kernel: KernelClock) -> None:
    """Keeps what the repair needs to know of the stream that broke off, and adds why nothing came after it."""
    with contextlib.suppress(OSError, SpoolError):
        state = spool.state.read()
        if state is None or state.state == "disk_full" or spool.disk.free_bytes() < _STATE_BYTES:
            return
        hole = OpenHole("disk_full", state.knot[1]) if state.knot is not None else state.open_hole
        spool.state.write(replace(state, state="disk_full", since=kernel.now(), open_hole=hole))
