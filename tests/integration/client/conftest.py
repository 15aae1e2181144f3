"""Two nodes and a client of both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from edge.configuration.settings import Settings
from query_service import api
from tests.support.messaging.realtime import server_in_thread
from tests.support.nodes.query_node import QueryNode, running_service


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Two nodes, porch with 5 chunks and shed with 3; the settings of one who asks."""
    with server_in_thread() as server, contextlib.ExitStack() as stack:
        for name, chunks in (("porch", 5), ("shed", 3)):
            made = QueryNode(tmp_path_factory.mktemp(name), chunks, name).with_doors(server)
            stack.enter_context(running_service(made))
            api.query(made, "ably", type="status")
        yield Settings(ably=made.ably)
