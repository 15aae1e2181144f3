"""The client's side of the Ably door: queries a node anywhere, or every node at once."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Collection

from edge.core import wire
from edge.core.errors import DoorError
from edge.core.ids import EVERY_NODE, is_client_id
from edge.messaging import topics
from query_service.client.pending_queries import PendingQueries, Send
from query_service.client.watching import NodeEvent
from query_service.queries.protocol import Answer, Request
from query_service.realtime.link import Delivery, Link
from query_service.realtime.tokens import EVENTS, NODES, REPLIES, REQUESTS

_EVENTS_WAITING = 200


def new_client_id() -> str:
    return f"cli-{secrets.token_hex(8)}"


class AblyClient:
    """One connection that asks `node`. `make_token` gives a client token for `client_id`. Raises DoorError."""

    def __init__(
        self,
        endpoint: str,
        node: str,
        client_id: str,
        make_token: Callable[[], str],
        token_seconds: float = 3_600,
        trusted: Collection[int] | None = None,
    ) -> None:
        if not is_client_id(client_id):
            raise DoorError(f"client id {client_id[:70]!r}: allowed are A-Z, a-z, 0-9, _ and -, 1 to 64 of them")
        self.node = node
        self._replies = f"{REPLIES}{client_id}"
        self._link = Link(endpoint, make_token, token_seconds, trusted=trusted)
        self._pending = PendingQueries()
        self._keeper: asyncio.Task[None] | None = None

    async def open(self, timeout: float = 10.0) -> None:
        """Connects and listens for answers."""
        try:
            await self._link.open(timeout)
            await self._link.subscribe(self._replies, self._receive, timeout=timeout)
        except DoorError:
            await self._link.close()
            raise
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._link.close()

    async def query(self, request: Request, timeout: float = 10.0) -> Answer:
        """The first answer to `request`; DoorError that names the node when none comes within `timeout` seconds."""
        return await self.query_node(self.node, request, timeout)

    async def query_node(self, node: str, request: Request, timeout: float) -> Answer:
        """As `query`, to any node."""
        return await self._pending.first_answer(request, self._sender(node), node, timeout)

    async def query_all(self, request: Request, nodes: list[str], timeout: float) -> dict[str, Answer]:
        """One question to every node: what answered within `timeout` seconds, or until all of `nodes` have."""
        return await self._pending.answers_by_node(request, self._sender(EVERY_NODE), nodes, timeout)

    async def nodes(self, timeout: float = 10.0) -> list[str]:
        """The nodes that are there now."""
        return sorted({member.client_id for member in await self._link.members(NODES, timeout)})

    async def events(self, timeout: float = 10.0) -> AsyncIterator[NodeEvent] | None:
        """What the node tells, from now on, until the connection is lost: DoorError. None: it tells nothing."""
        here = [member for member in await self._link.members(NODES, timeout) if member.client_id == self.node]
        if not any(member.data.get("events") == "yes" for member in here):
            return None
        heard: asyncio.Queue[NodeEvent] = asyncio.Queue(_EVENTS_WAITING)

        def take(delivery: Delivery) -> None:
            with contextlib.suppress(asyncio.QueueFull):
                heard.put_nowait(NodeEvent(topics.event(self.node, str(delivery.name)), delivery.data))

        await self._link.subscribe(f"{EVENTS}{self.node}", take, timeout=timeout)
        return self._each(heard)

    async def _each(self, heard: asyncio.Queue[NodeEvent]) -> AsyncIterator[NodeEvent]:
        while self._keeper is not None:
            coming = asyncio.ensure_future(heard.get())
            try:
                await asyncio.wait({coming, self._keeper}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    if self._pending.failure is not None:
                        raise self._pending.failure
                    return
                yield coming.result()
            finally:
                coming.cancel()

    def _sender(self, node: str) -> Send:
        async def send(request: Request, left: float) -> None:
            headers = {"id": request.id, "v": 1, "deadline": round(left, 3)}
            await self._link.publish(f"{REQUESTS}{node}", "query", wire.encode(request), headers, timeout=left)

        return send

    def _receive(self, delivery: Delivery) -> None:
        # a node's client id is its name; the server vouches for it
        self._pending.receive(delivery.data, delivery.client_id or "")

    async def _keep(self) -> None:
        try:
            await self._link.keep()
        except DoorError as problem:
            self._pending.fail(problem)
