"""A node whose sound is in its spool and in a real S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.configuration.settings import Settings
from tests.support.nodes.query_node import QueryNode
from tests.support.store.s3 import RunningStore


@pytest.fixture
def node(tmp_path: Path, store: RunningStore) -> QueryNode:
    """Ten chunks of a second: 0 to 3 and 4 to 6 in archives, 7 to 9 in the spool."""
    made = QueryNode(tmp_path, chunks=10)
    names = sorted(made.audio)
    made.archive(store.settings, names[:4])
    made.archive(store.settings, names[4:7])
    return made


@pytest.fixture
def settings(node: QueryNode, store: RunningStore) -> Settings:
    return node.with_doors(s3=store.settings)
