"""Running without root's privileges."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

NOBODY = 65_534


@contextlib.contextmanager
def without_root_privileges() -> Iterator[None]:
    """Drops root's privileges, as root can read every file."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@contextlib.contextmanager
def folder_of_an_ordinary_user() -> Iterator[Path]:
    """A folder that the user of `without_root_privileges` can reach and owns."""
    with tempfile.TemporaryDirectory(prefix="imhearing-test-") as name:
        if os.geteuid() == 0:
            os.chown(name, NOBODY, NOBODY)
        yield Path(name)


def without_roots_access() -> tuple[str, ...]:
    """A program to run another under, for a process to which the modes of files apply, whoever runs it."""
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
