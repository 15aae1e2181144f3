"""A running node with all its doors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from edge.configuration.settings import Http, Mqtt
from edge.embedded import ports
from query_service import api
from tests.support.messaging.broker import running_broker
from tests.support.messaging.realtime import server_in_thread
from tests.support.nodes.all_doors import NodeWithDoors
from tests.support.nodes.query_node import QueryNode, running_service


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeWithDoors]:
    with server_in_thread() as server, running_broker() as broker:
        made = QueryNode(tmp_path_factory.mktemp("node")).with_doors(server, Mqtt(host=broker.host, port=broker.port))
        settings = replace(made, http=Http(port=ports.choose(None)))
        with running_service(settings):
            api.query(settings, "http", type="status")
            api.query(settings, "mqtt", type="status")
            api.query(settings, "ably", type="status")
            yield NodeWithDoors(settings, broker, server)
