"""A query to every node at once: one request, each node's whole answer, and which nodes did not answer."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from edge.core.errors import ImHearingError
from edge.messaging.events import ErrorBody
from query_service.client.paging import query_node
from query_service.queries.protocol import Answer, GoodAnswer, Request
from query_service.queries.values import ErrorAnswer


class FleetAnswer(Struct, frozen=True, kw_only=True):
    """The answers by node. `silent`: nodes that were present and gave no answer in time."""

    answers: dict[str, GoodAnswer]
    refused: dict[str, ErrorBody]
    silent: tuple[str, ...]


class FleetClient(Protocol):
    """A way to every node. Raises DoorError."""

    async def query_node(self, node: str, request: Request, timeout: float) -> Answer: ...
    async def query_all(self, request: Request, nodes: list[str], timeout: float) -> dict[str, Answer]: ...
    async def nodes(self, timeout: float = 10.0) -> list[str]: ...


class _OneNode:
    """One of the nodes of a fleet."""

    def __init__(self, client: FleetClient, node: str) -> None:
        self.node = node
        self._client = client

    async def query(self, request: Request, timeout: float) -> Answer:
        return await self._client.query_node(self.node, request, timeout)

    async def close(self) -> None: ...


async def query_fleet(client: FleetClient, request: Request, timeout: float = 10.0) -> FleetAnswer:
    """The answers of all nodes that are present, all pages in one; `timeout` in seconds, per page.

    A node that refuses, or stops answering between its pages, is listed with the reason; the others are not affected.
    """
    present = await client.nodes(timeout)
    first = await client.query_all(request, present, timeout) if present else {}
    answers: dict[str, GoodAnswer] = {}
    refused: dict[str, ErrorBody] = {}
    for node, answer in sorted(first.items()):
        try:
            # a node that was too busy is asked once more, alone
            good = None if isinstance(answer, ErrorAnswer) else answer
            answers[node] = await query_node(_OneNode(client, node), request, timeout, good)
        except ImHearingError as problem:
            code, field = getattr(problem, "code", "deadline"), getattr(problem, "field", None)
            refused[node] = ErrorBody(code, str(problem), field)
    silent = tuple(node for node in present if node not in first)
    return FleetAnswer(answers=answers, refused=refused, silent=silent)
