"""Where the AWS tools keep credentials and settings (AWS SDKs and Tools Reference Guide): both may be renewed at any
time, and the next request, or link, uses what is there then."""

from __future__ import annotations

import os
from pathlib import Path

State = tuple[tuple[int, int, int] | None, ...]  # of files, each as inode, size and time of its last change


def state_of_aws_files(*others: str) -> State:
    """Changes with the files, and with `others`."""
    files = (
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        os.environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
        *others,
    )
    return tuple(_stat(Path(file)) if file else None for file in files)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.expanduser().stat()
    except (OSError, RuntimeError):  # no such file; no home folder
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
