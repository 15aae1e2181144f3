"""What is on its way to the broker: letters that wait for a connection, and those not acknowledged yet. No I/O.

A letter with a deadline is dropped once that has passed: nobody wants last night's alarm this morning.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from edge.core.backoff import Backoff

Ending = Literal["lost", "refused", "unreachable"]

_FIRST_DELAY = 0.5  # seconds
_LONGEST_DELAY = 30.0
_SLOW_DELAY = 15.0  # at least this after a refusal: only a person can mend it
_STEADY = 2.0  # seconds that a connection must have lasted for the next delay to be short again


class Letter(NamedTuple):
    """One outbound message. `deadline`: monotonic seconds after which nobody wants it."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    deadline: float | None = None
    correlation: bytes | None = None
    response_topic: str | None = None


class Receipt(Protocol):
    """What tells whether the broker has taken a letter."""

    def is_published(self) -> bool: ...


class Outbox:
    """Letters in order, at most `limit` of them; when it is full the oldest goes. Not for several threads at once."""

    def __init__(self, limit: int) -> None:
        self._waiting: deque[Letter] = deque(maxlen=limit)
        self._sent: deque[tuple[Receipt, Letter]] = deque(maxlen=limit)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent)

    def hold(self, letter: Letter) -> None:
        """Keeps a letter for the next connection; one of QoS 0 is not worth it."""
        if letter.qos:
            self._waiting.append(letter)

    def sent(self, letter: Letter, receipt: Receipt) -> None:
        """Notes that a letter was handed to the connection."""
        self.forget_taken()
        if letter.qos and not letter.retain:  # retained ones are sent again anyway
            self._sent.append((receipt, letter))

    def forget_taken(self) -> None:
        """Drops what the broker has acknowledged."""
        while self._sent and self._sent[0][0].is_published():
            self._sent.popleft()

    def connection_lost(self) -> None:
        """What was not acknowledged waits again, ahead of what came later."""
        again = [letter for receipt, letter in self._sent if not receipt.is_published()]
        self._sent.clear()
        self._waiting = deque([*again, *self._waiting], self._waiting.maxlen)

    def take(self, now: float) -> list[Letter]:
        """What waits and is still wanted, in order; nothing waits afterwards."""
        letters = [letter for letter in self._waiting if letter.deadline is None or now < letter.deadline]
        self._waiting.clear()
        return letters


class Delays:
    """How long to wait before the next connection: doubled up to 30 s, with jitter, so that no two come in step.

    A connection that did not last counts as a failure: two clients that push each other out must not race.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._backoff = Backoff(_FIRST_DELAY, _LONGEST_DELAY, jitter=(0.5, 1.0), steady=_STEADY, chance=chance)

    def after(self, ending: Ending, lasted: float) -> float:
        """Seconds to wait after a connection that lasted so many seconds."""
        at_least = _SLOW_DELAY if ending == "refused" else 0.0
        return self._backoff.next_delay(lasted if ending == "lost" else 0.0, at_least=at_least)
