"""The MQTT door: `request/query` in, `response/query` out, or the MQTT 5 response topic of the request.

Everybody who may read `response/#` reads the answers: they contain links to sound only on request. They have the same
envelope as the answers to commands.
"""

from __future__ import annotations

import asyncio
import logging

from edge.core import wire
from edge.messaging import topics
from edge.messaging.bus import Bus
from edge.messaging.command_server import ANSWER_SECONDS, Incoming, address, check_envelope, id_of
from edge.messaging.commands import QUERY_VERB
from edge.messaging.events import Response
from edge.messaging.messages import InboundMessage
from edge.messaging.request_pipeline import Refused
from query_service.doors.query_pipeline import AdmittedQuery, AnswerQuery, QueryPipeline
from query_service.queries.protocol import Answer
from query_service.queries.values import ErrorAnswer

log = logging.getLogger(__name__)

_LIMIT = 64  # queries, waiting and being answered
_PER_TOPIC = 48
_DEADLINE = 10.0  # seconds that a query may wait for its turn


class MqttDoor:
    """Answers what comes over `bus` until cancelled. `answer` must not raise."""

    def __init__(self, node: str, answer: AnswerQuery, bus: Bus) -> None:
        self._node = node
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._pipeline = QueryPipeline(node, answer, _LIMIT, _PER_TOPIC, urls=False, encode=_in_envelope)
        self._waiting: asyncio.Queue[tuple[Incoming, AdmittedQuery]] = asyncio.Queue()

    async def run(self) -> None:
        """Subscribes, and answers until cancelled."""
        self._bus.subscribe_raw(topics.request(self._node, QUERY_VERB), self._received, retain_as_published=True)
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._serve_query(*await self._waiting.get()))

    def _received(self, message: InboundMessage) -> None:
        """Called in the connection's thread for each message; must not block."""
        incoming = address(message, self._node)
        if incoming is None:
            return
        try:
            check_envelope(message, self._node)
        except Refused as refused:
            error = ErrorAnswer(id=id_of(message.payload), node=self._node, error=refused.body)
            self._send(incoming, _in_envelope(error))
            return
        # MQTT does not name the sender of a message; the topic of its answers comes closest
        admitted = self._pipeline.admit(incoming.answer_topic, message.payload, _DEADLINE)
        if isinstance(admitted, ErrorAnswer):
            self._send(incoming, _in_envelope(admitted))
        elif admitted is not None:
            try:
                self._loop.call_soon_threadsafe(self._waiting.put_nowait, (incoming, admitted))
            except RuntimeError:  # the loop has ended: we are being stopped
                log.debug("a query came too late")

    async def _serve_query(self, incoming: Incoming, query: AdmittedQuery) -> None:
        try:
            self._send(incoming, await self._pipeline.answer(query))
        finally:
            self._pipeline.release(query)

    def _send(self, incoming: Incoming, data: bytes) -> None:
        self._bus.send(incoming.answer_topic, data, incoming.correlation, ANSWER_SECONDS)


def _in_envelope(answer: Answer) -> bytes:
    if isinstance(answer, ErrorAnswer):
        return wire.encode(Response(id=answer.id, ok=False, error=answer.error))
    return wire.encode(Response(id=answer.id, ok=True, data=wire.to_plain(answer)))
