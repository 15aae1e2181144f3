"""Where large files go that are needed for a moment."""

from __future__ import annotations

import os


def scratch() -> str | None:
    """A folder on a disk: /tmp may be one in memory, which counts as the service's."""
    disk = "/var/tmp"  # noqa: S108 - what is made in there has a name that nobody can foresee, and is ours alone
    return disk if os.access(disk, os.W_OK | os.X_OK) else None
