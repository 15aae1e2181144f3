"""A question to every node at once: one request, each node's answer whole, and who stayed silent."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from edge.core.errors import ImHearingError
from edge.messaging.events import ErrorBody
from query_service.client.paging import ask
from query_service.queries.protocol import Answer, GoodAnswer, Request
from query_service.queries.values import ErrorAnswer


class FleetAnswer(Struct, frozen=True, kw_only=True):
    """What every node said, by its name. `silent`: those that were there and gave no answer in time."""

    answers: dict[str, GoodAnswer]
    refused: dict[str, ErrorBody]
    silent: tuple[str, ...]


class FleetDoor(Protocol):
    """A way to every node. Raises DoorError."""

    async def ask_node(self, node: str, request: Request, timeout: float) -> Answer: ...
    async def ask_all(self, request: Request, nodes: list[str], timeout: float) -> dict[str, Answer]: ...
    async def nodes(self, timeout: float = 10.0) -> list[str]: ...


class _OneNode:
    """One of the nodes behind a fleet's door."""

    def __init__(self, door: FleetDoor, node: str) -> None:
        self.node = node
        self._door = door

    async def ask(self, request: Request, timeout: float) -> Answer:
        return await self._door.ask_node(self.node, request, timeout)

    async def close(self) -> None: ...


async def ask_fleet(door: FleetDoor, request: Request, timeout: float = 10.0) -> FleetAnswer:
    """The answers of all nodes that are there, all pages in one; `timeout` in seconds, per page.

    A node that says no, or goes silent amid its pages, is named with the reason and spoils no other's answer.
    """
    present = await door.nodes(timeout)
    first = await door.ask_all(request, present, timeout) if present else {}
    answers: dict[str, GoodAnswer] = {}
    refused: dict[str, ErrorBody] = {}
    for node, answer in sorted(first.items()):
        try:
            # a node that was too busy at first is asked once more, alone
            good = None if isinstance(answer, ErrorAnswer) else answer
            answers[node] = await ask(_OneNode(door, node), request, timeout, good)
        except ImHearingError as problem:
            code, field = getattr(problem, "code", "deadline"), getattr(problem, "field", None)
            refused[node] = ErrorBody(code, str(problem), field)
    silent = tuple(node for node in present if node not in first)
    return FleetAnswer(answers=answers, refused=refused, silent=silent)
