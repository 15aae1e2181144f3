"""Commands over MQTT, the sender's side: one command, one answer, or the reason why none came."""

from __future__ import annotations

import contextlib
import math
import queue
import secrets
import time
from typing import Any

from edge.configuration.settings import Mqtt
from edge.core import wire
from edge.core.errors import DoorError, QueryRefused, WireError
from edge.messaging import topics
from edge.messaging.bus import Bus
from edge.messaging.commands import Command
from edge.messaging.events import Response
from edge.messaging.messages import InboundMessage

_CONNECT_SECONDS = 5.0
_AGAIN_SECONDS = 2.0


def new_id() -> str:
    """64 random bits."""
    return secrets.token_hex(8)


def ask(
    settings: Mqtt, node: str, command: Command, timeout: float = 10.0, connect: float = _CONNECT_SECONDS
) -> dict[str, Any]:
    """Sends `command` to `node` and returns the answer's data. Raises DoorError without an answer, QueryRefused."""
    bus = Bus(settings, node, "control")
    answers: queue.Queue[InboundMessage] = queue.Queue(100)
    reply_to = topics.response(node, f"{command.VERB}/{secrets.token_hex(8)}")
    bus.subscribe_raw(reply_to, answers.put_nowait)
    bus.start()
    try:
        bus.require_connection(connect)
        request, deadline = topics.request(node, command.VERB), time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            # a flooded broker drops messages; an id is carried out once, so sending it again is safe
            patience = min(left, _AGAIN_SECONDS)
            bus.send(request, wire.encode(command), command.id.encode(), math.ceil(patience), response_topic=reply_to)
            with contextlib.suppress(queue.Empty):
                return _data(answers.get(timeout=patience), node)
        raise DoorError(
            f"the {command.BY} of {node} did not answer within {timeout:g} s; is it running, and may this account send"
            " it commands?"
        )
    finally:
        bus.stop()


def _data(message: InboundMessage, node: str) -> dict[str, Any]:
    try:
        response = wire.decode(message.payload, Response)
    except WireError as problem:
        raise DoorError(f"cannot read the answer of {node}: {problem}") from None
    if response.error is not None:
        raise QueryRefused(response.error.message, response.error.code, response.error.field)
    return response.data or {}
