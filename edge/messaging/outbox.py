"""What is on its way to the broker: messages that wait for a connection or an acknowledgement. No I/O.

A message is dropped after its deadline: nobody wants last night's alarm this morning.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Literal, Protocol

from edge.core.backoff import Backoff
from edge.messaging.messages import OutboundMessage

Ending = Literal["lost", "refused", "unreachable"]

_FIRST_DELAY = 0.5  # seconds
_LONGEST_DELAY = 30.0
_SLOW_DELAY = 15.0  # at least this after a refusal, which only a person can fix
_STEADY = 2.0  # seconds that a connection must have lasted for the next delay to be short again


class Acknowledgement(Protocol):
    """Whether the broker has acknowledged a message."""

    def is_published(self) -> bool: ...


class Outbox:
    """Messages in order, at most `limit` of them (the oldest go first), and the newest retained one of each topic.

    Not for several threads at once.
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
        """Notes that a message was handed to the connection."""
        self._forget_acknowledged()
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

    def _forget_acknowledged(self) -> None:
        while self._unacknowledged and self._unacknowledged[0][0].is_published():
            self._unacknowledged.popleft()


class ReconnectDelays:
    """How long to wait before the next connection: doubled up to 30 s, with jitter.

    A connection that did not last counts as a failure: two clients that take over each other's session must not race.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._backoff = Backoff(_FIRST_DELAY, _LONGEST_DELAY, jitter=(0.5, 1.0), steady=_STEADY, chance=chance)

    def after(self, ending: Ending, lasted: float) -> float:
        """Seconds to wait after a connection that lasted so many seconds."""
        at_least = _SLOW_DELAY if ending == "refused" else 0.0
        return self._backoff.next_delay(lasted if ending == "lost" else 0.0, at_least=at_least)
