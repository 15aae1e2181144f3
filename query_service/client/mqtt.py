"""The client's side of the MQTT door: queries a node through the broker, with a response topic of its own."""

from __future__ import annotations

import asyncio
import secrets

from msgspec import Raw, Struct

from edge.configuration.settings import Mqtt
from edge.core import wire
from edge.core.errors import ConfigError, DoorError
from edge.messaging import topics
from edge.messaging.bus import Bus
from edge.messaging.commands import QUERY_VERB
from edge.messaging.events import ErrorBody
from edge.messaging.messages import InboundMessage
from query_service.client.pending_queries import PendingQueries
from query_service.queries.protocol import Answer, Request, read_answer
from query_service.queries.values import ErrorAnswer


class _Envelope(Struct, frozen=True):
    """`Response`, with an answer that is not decoded yet."""

    id: str
    data: Raw = Raw(b"null")
    error: ErrorBody | None = None


class MqttClient:
    """One connection to the broker of `settings` that asks `node`. Raises DoorError, ConfigError without a broker."""

    def __init__(self, settings: Mqtt, node: str) -> None:
        if not settings.host:
            raise ConfigError(["[mqtt] host: names no broker to ask through; set it, or ask another way"])
        self.node = node
        self._reply_to = topics.response(node, f"{QUERY_VERB}/{secrets.token_hex(8)}")
        self._pending = PendingQueries(self._read)
        self._loop = asyncio.get_running_loop()
        self._bus = Bus(settings, node, "control")

    async def open(self, timeout: float = 10.0) -> None:
        """Connects and listens for answers."""
        self._bus.subscribe_raw(self._reply_to, self._received)
        self._bus.start()
        try:
            await asyncio.to_thread(self._bus.require_connection, timeout)
        except DoorError:
            await self.close()
            raise

    async def close(self) -> None:
        await asyncio.to_thread(self._bus.stop)

    async def query(self, request: Request, timeout: float = 10.0) -> Answer:
        """The first answer to `request`; DoorError that names the node when none comes within `timeout` seconds."""
        return await self._pending.first_answer(request, self._send, self.node, timeout)

    async def _send(self, request: Request, left: float) -> None:
        topic = topics.request(self.node, QUERY_VERB)
        data, expiry = wire.encode(request), int(left) + 1
        self._bus.send(topic, data, request.id.encode(), expiry, response_topic=self._reply_to)

    def _received(self, message: InboundMessage) -> None:
        """Called in the connection's thread."""
        self._loop.call_soon_threadsafe(self._pending.receive, message.payload)

    def _read(self, payload: bytes) -> Answer:
        envelope = wire.decode(payload, _Envelope)
        if envelope.error is not None:
            return ErrorAnswer(id=envelope.id, node=self.node, error=envelope.error)
        return read_answer(bytes(envelope.data))
