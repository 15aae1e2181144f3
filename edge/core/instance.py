"""Who we are on the broker: a random instance, kept on disk, tells two nodes of one name apart."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from edge.core.files import write_atomically


def instance(folder: Path) -> str:
    """The instance kept in `folder`; made on first use: 16 hex digits."""
    path = folder / "instance"
    try:
        kept = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        kept = ""
    if re.fullmatch(r"[0-9a-f]{16}", kept):
        return kept
    fresh = secrets.token_hex(8)
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    write_atomically(path, fresh.encode())
    return fresh
