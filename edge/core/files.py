"""Files that are whole or not there: temporary name, fsync, rename, fsync of the folder.

Every file that is written so has a temporary name of its own, `<name>.<8 hex digits>.tmp` in the same folder: several
processes may write one file at once, and what a crash abandoned can be told from everything else.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

_TEMPORARY = re.compile(r".+\.[0-9a-f]{8}\.tmp", re.ASCII | re.DOTALL)


def write_atomically(
    path: Path, data: bytes, mode: int = 0o640, *, owner: tuple[int, int] | None = None, sync_name: bool = True
) -> None:
    """Writes `data` so that after any crash `path` holds the old bytes or all of the new. Raises OSError, and then
    `path` is as it was and nothing is left.

    `owner`: user and group that the file is given to. Without `sync_name` a power cut may bring back the old bytes
    until the caller syncs the folder.
    """
    with temporary_beside(path) as temporary:
        write_durably(temporary, data, mode)
        if owner is not None:
            os.chown(temporary, *owner)
        temporary.replace(path)
    if sync_name:
        sync_folder(path.parent)


@contextlib.contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A name that nobody else uses, in the folder of `path`, for what becomes `path` by a rename. Removed where that
    fails."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
    except BaseException:
        with contextlib.suppress(OSError):  # what went wrong before matters more
            temporary.unlink(missing_ok=True)
        raise


def is_temporary(name: str) -> bool:
    """Whether a file of this name was begun here and, unless its writer is at work now, abandoned."""
    return _TEMPORARY.fullmatch(name) is not None


def write_durably(path: Path, data: bytes, mode: int = 0o640) -> None:
    """Writes and fsyncs `path` itself; a crash can leave a part of it."""
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
