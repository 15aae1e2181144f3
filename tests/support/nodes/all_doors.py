"""A running node with all its doors open."""

from __future__ import annotations

from typing import Any, NamedTuple, get_args

from edge.configuration.settings import Settings
from edge.core.instant import Instant
from query_service.api import Via
from query_service.queries.protocol import Request, new_id
from tests.support.messaging.broker import BrokerAddress
from tests.support.spool.chunks import SECOND, START

END = Instant(START + 5 * SECOND)

VIAS: tuple[Via, ...] = get_args(Via)
QUERY_TOPIC = "imhearing/porch/request/query"


class NodeWithDoors(NamedTuple):
    settings: Settings
    broker: BrokerAddress
    server: Any

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.http.port}"


def coverage_request(**changes: Any) -> Request:
    return Request(**{"id": new_id(), "from_": START, "to": END, **changes})
