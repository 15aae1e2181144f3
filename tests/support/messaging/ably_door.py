"""An Ably door with made-up answers, and a client that publishes anything."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ably.types.message import Message

from edge.configuration import settings as sections
from edge.configuration.settings import Secret, Settings
from edge.core.instant import Instant
from query_service.doors.ably import AblyDoor
from query_service.queries.protocol import Answer, Request, read_answer
from query_service.queries.values import refusal
from query_service.realtime.link import Link
from query_service.realtime.tokens import node_token
from tests.support.messaging import realtime
from tests.support.wait import DEADLINE


class RawClient:
    """Publishes what it likes on a request channel, and keeps what comes back."""

    def __init__(self, ably: Any, client_id: str) -> None:
        self._ably = ably
        self._client_id = client_id
        self.answers: list[Answer] = []
        self.raw: list[bytes] = []
        self._came = asyncio.Event()

    async def listen(self) -> None:
        await self._ably.channels.get(f"imhearing:replies:{self._client_id}").subscribe(self._receive)

    def _receive(self, message: Any) -> None:
        self.raw.append(bytes(message.data))
        self.answers.append(read_answer(message.data))
        self._came.set()

    async def send(
        self, data: Any, node: str = "porch", headers: dict[str, Any] | None = None, name: str | None = "query"
    ) -> None:
        message = Message(name=name, data=data, extras={"headers": headers or {}})
        await self._ably.channels.get(f"imhearing:requests:{node}").publish(message)

    async def until(self, count: int, timeout: float = DEADLINE) -> list[Answer]:
        async with asyncio.timeout(timeout):
            while len(self.answers) < count:
                self._came.clear()
                await self._came.wait()
        return self.answers


@asynccontextmanager
async def raw_client(server: Any, client_id: str) -> AsyncIterator[RawClient]:
    async with realtime.client(server, client_id) as ably:
        raw = RawClient(ably, client_id)
        await raw.listen()
        yield raw


@asynccontextmanager
async def fake_ably_door(server: Any, answer: Any = None) -> AsyncIterator[AblyDoor]:
    """An Ably door in this event loop whose answers are made up."""

    async def made_up(request: Request, client: str) -> Answer:
        return refusal(request.id, "porch", "encrypted", "made up")

    def token() -> str:
        return node_token(server.api_key, "porch", 3_600, Instant.from_seconds(time.time()))

    door = AblyDoor("porch", answer or made_up, lambda: Link(server.endpoint, token, 3_600))
    running = asyncio.create_task(door.run())
    try:
        async with asyncio.timeout(DEADLINE):
            await door.opened()
        yield door
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def request_body(request_id: str, **changes: Any) -> bytes:
    return json.dumps({"id": request_id, "type": "status", **changes}).encode()


def ably_settings(server: Any) -> Settings:
    return Settings(node=sections.Node("porch"), ably=sections.Ably(Secret(server.api_key.reveal()), server.endpoint))
