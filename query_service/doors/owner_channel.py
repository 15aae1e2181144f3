"""Passes on what the page's owner orders, over the page's account on the broker, and waits for the answer.

That account may send the owner's commands alone, and recorder and archiver carry out none without the owner's proof.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from typing import Any

from edge.core import wire
from edge.core.errors import DoorError, QueryRefused, WireError
from edge.messaging import topics
from edge.messaging.bus import Bus
from edge.messaging.commands import Command
from edge.messaging.events import Response
from edge.messaging.messages import InboundMessage

_ANSWER_SECONDS = 8.0
_AGAIN_SECONDS = 2.0


class OwnerChannel:
    """Over `bus`, which logs in as the page for the first command. One event loop."""

    def __init__(self, bus: Bus, node: str) -> None:
        self._bus, self._node = bus, node
        self._reply_to = topics.response(node, topics.owners(secrets.token_hex(8)))
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}  # by correlation data
        self._is_started = False

    async def order(self, command: Command, proof: str) -> dict[str, Any]:
        """What came of it. Raises DoorError without an answer, QueryRefused."""
        self._start()
        request = topics.request(self._node, topics.owners(command.VERB))
        payload = wire.encode({**wire.to_plain(command), "proof": proof})
        loop, correlation = asyncio.get_running_loop(), secrets.token_hex(8).encode()
        answer = self._waiting[correlation] = loop.create_future()
        deadline = loop.time() + _ANSWER_SECONDS
        try:
            while (left := deadline - loop.time()) > 0:
                # a flooded broker drops messages; an id is carried out once, so sending it again is safe
                seconds = min(left, _AGAIN_SECONDS)
                self._bus.send(request, payload, correlation, math.floor(seconds), response_topic=self._reply_to)
                await asyncio.wait({answer}, timeout=seconds)
                if answer.done():
                    return self._data(answer.result())
                if (trouble := self._bus.trouble) is not None:  # what waited for a connection has expired
                    raise DoorError(f"the command could not be sent: {trouble.text}")
            raise DoorError(f"the {command.BY} does not answer; is it running?")
        finally:
            del self._waiting[correlation]

    def close(self) -> None:
        if self._is_started:
            self._bus.stop()

    def _start(self) -> None:
        if self._is_started:
            return
        self._is_started, loop = True, asyncio.get_running_loop()

        def received(message: InboundMessage) -> None:  # in the connection's thread
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._received, message)

        self._bus.subscribe_raw(self._reply_to, received)
        self._bus.start()

    def _received(self, message: InboundMessage) -> None:
        answer = self._waiting.get(message.correlation or b"")
        if answer is not None and not answer.done():
            answer.set_result(message.payload)

    def _data(self, payload: bytes) -> dict[str, Any]:
        try:
            response = wire.decode(payload, Response)
        except WireError as problem:
            raise DoorError(f"the answer cannot be read: {problem}") from None
        if response.error is not None:
            raise QueryRefused(response.error.message, response.error.code, response.error.field)
        return response.data or {}
