"""MQTT messages as they come and go. No I/O."""

from __future__ import annotations

import time
from typing import NamedTuple

from edge.core import wire
from edge.messaging.events import Event


class InboundMessage(NamedTuple):
    """One message from the broker. `response_topic` and `correlation` are those of MQTT 5, where given."""

    topic: str
    payload: bytes
    retained: bool
    response_topic: str | None = None
    correlation: bytes | None = None


class OutboundMessage(NamedTuple):
    """One message to the broker; it is dropped after `deadline`, in monotonic seconds."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    deadline: float | None = None
    correlation: bytes | None = None
    response_topic: str | None = None


def message_of(event: Event) -> OutboundMessage:
    """The message that carries `event`."""
    deadline = None if event.EXPIRY is None else time.monotonic() + event.EXPIRY
    return OutboundMessage(event.topic, wire.encode(event), event.QOS, event.RETAINED, deadline)
