"""Keeps copies of a range and orders to erase it apart: no clip is stored after its sound was erased.

The kernel's locks on parts of the catalog's lock file, one byte for each µs: they need no right to write, wait for
nobody, and end with the process that holds them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from edge.catalog.erasures import Erasures
from edge.core.errors import CatalogBusy
from edge.core.instant import FIRST, Instant

_LOCK = struct.Struct("@hhqqi0q")  # struct flock of fcntl(2): type, whence, start, length, pid


@contextlib.contextmanager
def copying(catalog: Path, start: Instant, end: Instant) -> Iterator[None]:
    """While sound of [start, end) is copied, no order to erase any of it ends. Raises CatalogBusy where one is open."""
    try:
        descriptor = os.open(_lock_file(catalog), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise CatalogBusy(f"{catalog}: there is no catalog yet; the archiver creates it when it starts") from None
    try:
        if not _is_locked(descriptor, fcntl.F_RDLCK, start, end):
            raise CatalogBusy(f"{catalog}: a part of the range is being erased")
        # only now: an order that is given later waits for us
        if any(order.touches(start, end) for order in Erasures(catalog).open()):
            raise CatalogBusy(f"{catalog}: a part of the range is to be erased")
        yield
    finally:
        os.close(descriptor)


def is_copied(catalog: Path, start: Instant, end: Instant) -> bool:
    """Whether someone is copying sound of [start, end). Once not, nobody does while an order to erase it is open."""
    descriptor = os.open(_lock_file(catalog), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        return not _is_locked(descriptor, fcntl.F_WRLCK, start, end)
    finally:
        os.close(descriptor)


def _lock_file(catalog: Path) -> Path:
    return catalog.with_name(catalog.name + ".lock")


def _is_locked(descriptor: int, kind: int, start: Instant, end: Instant) -> bool:
    """Takes the lock until the descriptor is closed; False where another has it."""
    wanted = _LOCK.pack(kind, os.SEEK_SET, start - FIRST, max(1, end - start), 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
    except OSError as problem:
        if problem.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
