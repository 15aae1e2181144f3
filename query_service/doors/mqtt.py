"""The MQTT door: `request/query` in, `response/query` out, or the MQTT 5 response topic of who asks.

Everybody who may read `response/#` reads the answers: links to sound are in them only where they were asked for.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from edge.core import wire
from edge.messaging import topics
from edge.messaging.bus import Bus
from edge.messaging.command_server import ANSWER_SECONDS, Incoming, Refused, address, check_envelope, id_of
from edge.messaging.commands import QUERY_VERB
from edge.messaging.messages import InboundMessage
from query_service.doors.replays import Replays, other_body
from query_service.queries.protocol import Answer, ErrorAnswer, Request, read_request, refusal

log = logging.getLogger(__name__)

AnswerIt = Callable[[Request], Awaitable[Answer]]

_WAITING = 64
_WORKERS = 4
_DEADLINE = 10.0  # seconds that a question may wait for its turn
_EVERYBODY = ""  # MQTT does not tell who sent a message


class _Job(NamedTuple):
    incoming: Incoming
    request: Request
    deadline: float  # of the event loop's clock


class MqttDoor:
    """Answers what comes over `bus` until cancelled. `answer` must not raise."""

    def __init__(self, node: str, answer: AnswerIt, bus: Bus) -> None:
        self._node = node
        self._answer = answer
        self._bus = bus
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._room = threading.BoundedSemaphore(_WAITING)  # from paho's thread to the last answer
        self._replays = Replays()

    async def run(self) -> None:
        """Subscribes, and answers until cancelled."""
        self._bus.subscribe_raw(topics.request(self._node, QUERY_VERB), self._received, retain_as_published=True)
        async with asyncio.TaskGroup() as group:
            for _ in range(_WORKERS):
                group.create_task(self._work())

    def _received(self, message: InboundMessage) -> None:
        """Called in paho's thread for each message: reads, refuses or enqueues."""
        incoming = address(message, self._node)
        if incoming is None:
            return
        request = self._read(message)
        if isinstance(request, ErrorAnswer):
            self._send(incoming, request)
        elif not self._room.acquire(blocking=False):
            self._send(incoming, refusal(request.id, self._node, "busy", "too many questions wait; ask again soon"))
        else:
            job = _Job(incoming, request, self._loop.time() + _DEADLINE)
            try:
                self._loop.call_soon_threadsafe(self._jobs.put_nowait, job)
            except RuntimeError:  # the loop has ended: we are being stopped
                log.debug("a question came too late")

    def _read(self, message: InboundMessage) -> Request | ErrorAnswer:
        try:
            check_envelope(message, self._node)
        except Refused as refused:
            return ErrorAnswer(id=id_of(message.payload), node=self._node, error=refused.body)
        return read_request(message.payload, self._node, urls=False)

    async def _work(self) -> None:
        while True:
            job = await self._jobs.get()
            try:
                await self._handle(job)
            finally:
                self._room.release()

    async def _handle(self, job: _Job) -> None:
        request = job.request
        key = (_EVERYBODY, request.id)
        seen = self._replays.begin(key, wire.encode(request))
        if seen == "in_work":
            return
        if seen == "other_body":
            self._send(job.incoming, other_body(request.id, self._node))
            return
        if isinstance(seen, bytes):
            self._send_bytes(job.incoming, seen)
            return
        if self._loop.time() > job.deadline:
            answer: Answer = refusal(request.id, self._node, "deadline", "the node had too much to do in that time")
        else:
            answer = await self._answer(request)
        self._send_bytes(job.incoming, self._replays.settle(key, answer))

    def _send(self, incoming: Incoming, answer: ErrorAnswer) -> None:
        self._send_bytes(incoming, wire.encode(answer))

    def _send_bytes(self, incoming: Incoming, data: bytes) -> None:
        self._bus.send(incoming.answer_topic, data, incoming.correlation, ANSWER_SECONDS)
