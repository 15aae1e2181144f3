"""A random instance id, kept on disk, distinguishes two nodes with the same name on one broker."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from edge.core.files import write_atomically


def load_instance_id(folder: Path) -> str:
    """The instance id stored in `folder` (16 hex digits); created on first use."""
    path = folder / "instance"
    try:
        stored = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        stored = ""
    if re.fullmatch(r"[0-9a-f]{16}", stored):
        return stored
    created = secrets.token_hex(8)
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    write_atomically(path, created.encode())
    return created
