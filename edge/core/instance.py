"""Who we are on the broker: a random instance, kept on disk, tells two nodes of one name apart."""

from __future__ import annotations

import fcntl
import re
import secrets
from pathlib import Path

from edge.core.files import write_atomically


def instance(folder: Path) -> str:
    """The instance kept in `folder`; made on first use: 16 hex digits. Processes that start at once get the same one.
    Raises OSError."""
    path = folder / "instance"
    if kept := _kept(path):
        return kept
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    with (folder / ".instance.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept := _kept(path):  # another process was first
            return kept
        fresh = secrets.token_hex(8)
        write_atomically(path, fresh.encode())
        return fresh


def _kept(path: Path) -> str | None:
    """None where there is none, or a damaged one."""
    try:
        kept = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return kept if re.fullmatch(r"[0-9a-f]{16}", kept) else None
