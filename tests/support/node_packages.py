"""Node.js for tests, with the packages that a folder's package-lock.json names."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

MISSING = "node and npm are not installed: apt-get install nodejs npm"


def node_with_packages(folder: Path) -> str | None:
    """The path of Node.js, once `npm ci` has been run in `folder`; None where it is not installed, a failure in CI."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        if os.environ.get("CI"):
            pytest.fail("node and npm must be there in CI")
        return None
    wanted = (folder / "package-lock.json").read_text()
    done = folder / "node_modules" / ".installed"
    with (folder / "package.json").open() as lock:  # two `npm ci` at once would spoil each other's files
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text() != wanted:
            install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(install, cwd=folder, check=True, timeout=300, stdout=subprocess.DEVNULL)
            done.write_text(wanted)
    return node
