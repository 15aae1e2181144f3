"""The catalog's file: opened at the first session, by any number of readers and one writer, which holds a lock."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edge.catalog.budget import Budget
from edge.catalog.rollup.refresh import fill, refresh
from edge.catalog.tables import Tables, undo_interrupted_commit
from edge.core.errors import CatalogDamaged, CatalogError

log = logging.getLogger(__name__)

RESERVE = 4_194_304  # bytes: some thousand commits, or the largest one with its journal
_SCARCE = 2_000_000  # with less than this left, the reserve is released


def take_lock(path: Path) -> IO[str]:
    """The right to write the catalog at `path`, until the returned file is closed. Raises CatalogError."""
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("a")
    except OSError as problem:
        raise CatalogError(
            f"{path}: the catalog cannot be written ({problem.strerror});"
            " fix the folder's permissions or set [catalog] db_path"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise CatalogError(f"{path}: another archiver is writing this catalog; stop it first") from None
    return lock


def recover(path: Path) -> bool:
    """Undoes a commit within which an archiver was killed, so that readers need no right to write; whether there was
    one. Raises CatalogError, also where an archiver runs."""
    journal = path.with_name(path.name + "-journal")
    if not journal.exists():
        return False
    with take_lock(path):
        undo_interrupted_commit(path)
    return not journal.exists()


def earlier_catalogs(path: Path, ending: str = "old|newer|before-upgrade|rebuilding|damaged-[^.]+") -> list[Path]:
    """What lies beside the catalog at `path` of earlier ones, with their journals. Raises OSError."""
    name = re.compile(rf"{re.escape(path.name)}\.(?:{ending})(?:[.-].*)?")
    return sorted(file for file in path.parent.iterdir() if name.fullmatch(file.name))


def _check_not_a_folder(path: Path) -> None:
    """SQLite would report a folder as a file that cannot be opened now. Raises CatalogError."""
    with contextlib.suppress(OSError):  # of the folder around it: opening the file reports that
        if path.is_dir():
            raise CatalogError(f"{path}: is a folder, not a catalog; set [catalog] db_path to a file")


class CatalogFile:
    """Read-only sessions on the file at `path`, which is opened at the first one and again whenever it was replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()  # Pony resolves relative ones against its own folder
        self._tables: Tables | None = None
        self._opening = threading.Lock()

    @contextlib.contextmanager
    def session(self, budget: Budget | None = None) -> Iterator[Tables]:
        """Raises CatalogBusy where trying again soon will help, BudgetSpent, and CatalogError where it will not."""
        tables = self._open()
        with tables.session(budget):
            yield tables

    def close(self) -> None:
        """Closes the calling thread's connection; the next session opens another."""
        with self._opening:
            if self._tables is not None:
                self._tables.close()
            self._tables = None

    def _open(self) -> Tables:
        with self._opening:
            if self._tables is not None and self._tables.replaced():
                self._tables.close()
                self._tables = None
            if self._tables is None:
                _check_not_a_folder(self.path)
                self._tables = Tables(self.path, read_only=True)
            return self._tables


class _Reserve:
    """Disk space, so that the catalog can still commit what may be deleted when others filled the disk.

    An empty file of a fixed size; removed while the disk is full, made again when it is not.
    """

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


class WritableCatalogFile(CatalogFile):
    """The archiver's sessions: each is one transaction, on disk when it ends. Makes a missing file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._reserve = _Reserve(self.path)
        self._lock: IO[str] | None = None

    @contextlib.contextmanager
    def session(self, budget: Budget | None = None) -> Iterator[Tables]:
        with super().session(budget) as tables:
            yield tables
            refresh(tables)

    def close(self) -> None:
        super().close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _open(self) -> Tables:
        with self._opening:
            if self._tables is not None and self._tables.replaced():
                raise CatalogDamaged(f"{self.path}: was removed or replaced while the archiver had it open")
            if self._lock is None:
                _check_not_a_folder(self.path)
                self._lock = take_lock(self.path)
            self._reserve.keep()
            if self._tables is None:
                self._tables = Tables(self.path, read_only=False)
                with self._tables.session():
                    fill(self._tables)
            return self._tables
