"""Atomic file writes: temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes, mode: int = 0o640) -> None:
    """Replaces `path` so that after any crash it holds either the old bytes or all of the new ones. OSError."""
    temporary = path.with_name(path.name + ".tmp")
    write_durably(temporary, data, mode)
    temporary.replace(path)
    sync_folder(path.parent)


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
