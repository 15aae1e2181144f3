"""MQTT messages, and those on their way to the broker. No I/O."""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple, Protocol

from edge.core import wire
from edge.messaging.events import Event

MAX_PAYLOAD = 65_536  # bytes of one message; larger ones are neither sent nor accepted
MAX_PACKET = MAX_PAYLOAD + 4_096  # with topics, correlation data and headers


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
    deadline = None if event.EXPIRY is None else time.monotonic() + event.EXPIRY
    return OutboundMessage(event.topic, wire.encode(event), event.QOS, event.RETAINED, deadline)


class Acknowledgement(Protocol):
    def is_published(self) -> bool: ...


class Outbox:
    """Messages in order, at most `limit` of them (the oldest go first), and the newest retained one of each topic.

    A message is dropped after its deadline: nobody wants last night's alarm this morning. One thread at a time.
    """

    def __init__(self, limit: int) -> None:
        self._waiting: deque[OutboundMessage] = deque(maxlen=limit)
        self._unacknowledged: deque[tuple[Acknowledgement, OutboundMessage]] = deque(maxlen=limit)
        self._retained: dict[str, OutboundMessage] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._unacknowledged)

    def retain(self, message: OutboundMessage) -> None:
        """Keeps a retained message: every connection begins with it."""
        self._retained[message.topic] = message

    def retained(self) -> list[OutboundMessage]:
        """What every connection begins with."""
        return list(self._retained.values())

    def hold(self, message: OutboundMessage) -> None:
        """Keeps a message for the next connection, unless it is of QoS 0."""
        if message.qos:
            self._waiting.append(message)

    def sent(self, message: OutboundMessage, receipt: Acknowledgement) -> None:
        while self._unacknowledged and self._unacknowledged[0][0].is_published():
            self._unacknowledged.popleft()
        if message.qos and not message.retain:
            self._unacknowledged.append((receipt, message))

    def connection_lost(self) -> None:
        """What was not acknowledged waits again, ahead of what came later."""
        again = [message for receipt, message in self._unacknowledged if not receipt.is_published()]
        self._unacknowledged.clear()
        self._waiting = deque([*again, *self._waiting], self._waiting.maxlen)

    def take(self, now: float) -> list[OutboundMessage]:
        """What waits and is not past its deadline, in order; nothing waits afterwards."""
        messages = [message for message in self._waiting if message.deadline is None or now < message.deadline]
        self._waiting.clear()
        return messages
