"""Disk space reserved for the catalog, so that it can still commit what may be deleted when others filled the disk."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

RESERVE = 4_194_304  # bytes: some thousand commits, or the largest one with its journal
_SCARCE = 2_000_000  # with less than this left, the reserve is released


class Reserve:
    """An empty file of a fixed size; removed while the disk is full, made again when it is not."""

    def __init__(self, catalog: Path) -> None:
        self._path = catalog.with_name(catalog.name + ".reserve")
        self._there: bool | None = None  # None: not checked yet

    def keep(self) -> None:
        """Called before each commit, which is tried even if this fails."""
        with contextlib.suppress(OSError):
            stat = os.statvfs(self._path.parent)
            free = stat.f_bavail * stat.f_frsize
            if self._there is None:
                self._there = self._path.exists()
            if self._there and free < _SCARCE:
                log.warning("%s: the disk is full; releasing the space reserved for the catalog", self._path.parent)
                self._path.unlink(missing_ok=True)
                self._there = False
            elif not self._there and free > 2 * (RESERVE + _SCARCE):
                self._take()

    def _take(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE)
        finally:
            os.close(descriptor)
        self._there = True
