"""Atomic file writes: temporary name, fsync, rename, fsync of the folder.

Each write uses a unique temporary name, `<name>.<8 hex digits>.tmp` in the same folder, so that several processes can
write one file at once, and what a crash abandoned can be recognised.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


def write_atomically(
    path: Path, data: bytes, mode: int = 0o640, *, owner: tuple[int, int] | None = None, sync_name: bool = True
) -> None:
    """Replaces `path` so that after any crash it holds either the old bytes or all of the new ones.

    Raises OSError, and then leaves `path` unchanged and no temporary file. `owner`: user and group of the new file.
    Without `sync_name`, a power cut may bring back the old bytes until the caller syncs the folder.
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
    """A unique name beside `path`, for a file to be renamed to `path`. Removed if that fails."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
    except BaseException:
        with contextlib.suppress(OSError):  # the original error matters more
            temporary.unlink(missing_ok=True)
        raise


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
