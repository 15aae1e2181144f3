"""A random instance id, kept on disk, distinguishes two nodes with the same name on one broker."""

from __future__ import annotations

import fcntl
import re
import secrets
from pathlib import Path

from edge.core.files import write_atomically


def load_instance_id(folder: Path) -> str:
    """The instance id stored in `folder` (16 hex digits); created on first use, once even by concurrent processes.

    Raises OSError.
    """
    path = folder / "instance"
    if stored := _read(path):
        return stored
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    with (folder / ".instance.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stored := _read(path):  # another process was first
            return stored
        created = secrets.token_hex(8)
        write_atomically(path, created.encode())
        return created


def _read(path: Path) -> str | None:
    """None if it is missing or damaged."""
    try:
        stored = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return stored if re.fullmatch(r"[0-9a-f]{16}", stored) else None
