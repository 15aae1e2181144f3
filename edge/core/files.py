"""Atomic file writes: temporary name, fsync, rename, fsync of the folder.

Each write uses a unique temporary name, `<name>.<8 hex digits>.tmp` in the same folder, so that several processes can
write one file at once, and what a crash abandoned can be recognised. Its writer holds a lock on it until it has its
final name, so that `remove_abandoned` never takes a live writer's file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Collection, Iterator
from pathlib import Path

_NOT_REGULAR = "it is not a regular file"
_UNLOCKABLE_SECONDS = 60.0  # how old a temporary must be that no lock protects


def write_atomically(
    path: Path,
    data: bytes,
    mode: int = 0o640,
    *,
    owner: tuple[int, int] | None = None,
    sync: bool = True,
    sync_name: bool = True,
) -> None:
    """Replaces `path` so that after any crash it holds either the old bytes or all of the new ones.

    Raises OSError, and then leaves `path` unchanged and no temporary file. `owner`: user and group of the new file.
    Without `sync_name`, a power cut may bring back the old bytes until the caller syncs the folder; without `sync`, it
    may leave anything.
    """
    temporary, descriptor = _open_temporary(path, mode)
    with _removed_on_failure(temporary), os.fdopen(descriptor, "wb") as file:
        if owner is not None:
            os.fchown(descriptor, *owner)
        file.write(data)
        file.flush()
        if sync:
            os.fsync(descriptor)
        temporary.replace(path)
    if sync and sync_name:
        sync_folder(path.parent)


@contextlib.contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A unique name beside `path`, for something to be renamed to `path`. Removed if that fails."""
    temporary = _temporary_name(path)
    with _removed_on_failure(temporary):
        yield temporary


def remove_abandoned(folder: Path, names: str) -> None:
    """Removes the temporary files that writers left in `folder` when they died, of files whose names match `names`.

    What cannot be locked must be a minute old: links, and files without a number, which versions before 0.2 wrote.
    Never raises: what cannot be removed now is left to the next sweep.
    """
    temporary = re.compile(rf"(?:{names})(\.[0-9a-f]{{8}})?\.tmp", re.ASCII)
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if match := temporary.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    _remove_if_abandoned(path, is_numbered=match[1] is not None)


class ForeignFile(OSError):
    """Something that other users may have placed there: no regular file, or another user's."""


def never_waiting(path: str, flags: int) -> int:
    """An opener for `open`, for a path where others may place a pipe or a link."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def read_placed_file(path: Path, limit: int = 1_000_000, owners: Collection[int] | None = None) -> bytes:
    """Reads a file where others may place something: never waits, follows no link, reads at most `limit` bytes.

    Raises ForeignFile for anything but a regular file, of one of the users `owners` where they are given; OSError.
    """
    try:
        descriptor = never_waiting(str(path), os.O_RDONLY)
    except OSError as problem:
        if problem.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            raise ForeignFile(problem.errno, _NOT_REGULAR, str(path)) from None
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ForeignFile(errno.EINVAL, _NOT_REGULAR, str(path))
        if owners is not None and found.st_uid not in owners:
            raise ForeignFile(errno.EPERM, "it is not from this node's owner", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise OSError(errno.EFBIG, "too large", str(path))
    return data


def write_durably(path: Path, data: bytes, mode: int = 0o640) -> None:
    """Writes and fsyncs `path` in place; a crash can leave it partly written."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes renames and removals in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_denied(problem: OSError) -> bool:
    """Whether its permissions are to be fixed."""
    return problem.errno in (errno.EACCES, errno.EPERM)


def can_others_read(found: os.stat_result) -> bool:
    """Whether a file is not as private as one with secrets has to be. A file of root's may be for another
    group to read: that of the node's services."""
    allowed = stat.S_IRGRP if found.st_uid == 0 != found.st_gid else 0
    return bool(found.st_mode & (stat.S_IRWXG | stat.S_IRWXO) & ~allowed)


def _temporary_name(path: Path) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")


def _open_temporary(path: Path, mode: int) -> tuple[Path, int]:
    """A new file beside `path`, locked for as long as it is open."""
    while True:
        temporary = _temporary_name(path)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        if _is_locked_in_time(descriptor):
            return temporary, descriptor
        os.close(descriptor)


def _is_locked_in_time(descriptor: int) -> bool:
    """Locks a new file; False where a sweep came between its creation and the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, where a sweep cannot lock it either
        return True
    return os.fstat(descriptor).st_nlink > 0


@contextlib.contextmanager
def _removed_on_failure(temporary: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # the original error matters more
            temporary.unlink(missing_ok=True)
        raise


def _remove_if_abandoned(temporary: Path, *, is_numbered: bool) -> None:
    """Raises OSError while its writer holds the lock."""
    found = temporary.lstat()
    if stat.S_ISLNK(found.st_mode) or not is_numbered:
        if time.time() - found.st_mtime > _UNLOCKABLE_SECONDS:
            temporary.unlink()
        return
    descriptor = os.open(temporary, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.unlink()
    finally:
        os.close(descriptor)
