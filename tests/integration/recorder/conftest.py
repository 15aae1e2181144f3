"""A folder on tmpfs, where parts and held blocks are written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def shared_memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="imhearing-test-", dir="/dev/shm") as name:
        yield Path(name)
