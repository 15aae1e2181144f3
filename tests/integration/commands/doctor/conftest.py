"""An intact node, for tests to break."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.catalog import Catalog
from tests.support.nodes.breakable_node import BreakableNode


@pytest.fixture
def node() -> Iterator[BreakableNode]:
    """In a folder that every user can access: pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="imhearing-node-") as name:
        Path(name).chmod(0o755)
        yield BreakableNode(Path(name))


@pytest.fixture
def catalog(node: BreakableNode) -> Path:
    path = node.data / "catalog.db"
    with contextlib.closing(Catalog(path)) as catalog:
        catalog.open()
    assert {finding.state for finding in node.run_checks("catalog").values()} == {"ok"}
    return path
