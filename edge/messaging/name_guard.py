"""Two nodes with one name: the first to connect keeps it, the other stays off the broker and logs why.

Both would write the same topics and answer the same commands. Each service watches its own status topic: a status with
another instance comes from another node. A retained `online` proves nothing, it may be years old: only a node that
answers is alive.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Literal

from msgspec.structs import replace

from edge.core.instance import is_copied_card
from edge.core.instant import Instant
from edge.messaging.bus import Bus
from edge.messaging.events import ServiceStatus

log = logging.getLogger(__name__)

SETTLED_SECONDS = 3.0  # after that long without an objection, the name is ours
AWAY_SECONDS = 60.0  # until the name is tried again

Move = Literal["none", "insist", "yield"]


class Claim:
    """The decision, pure. `now` in seconds of any clock that does not jump."""

    def __init__(self, online: ServiceStatus) -> None:
        """`online`: what this process publishes, with the same time each time."""
        self._identity = _identity(online)
        self._connected_at: float | None = None

    def connected(self, now: float) -> None:
        self._connected_at = now

    def heard(self, status: ServiceStatus, retained: bool, now: float) -> Move:
        """What to do about a status under our name."""
        if retained:
            return "none"
        if status.state == "offline":  # also a last will of our own: the broker gave up a connection later than we did
            return "insist"
        if _identity(status) == self._identity:
            return "none"
        if self._connected_at is not None and now - self._connected_at >= SETTLED_SECONDS:
            # both held it, on brokers that were then joined: one must yield
            return "yield" if status.holds_name and _identity(status) < self._identity else "insist"
        if status.holds_name or _identity(status) < self._identity:
            return "yield"
        return "none"  # it will yield to us


def _identity(status: ServiceStatus) -> tuple[str, Instant]:
    """Which process: copies of a virtual machine differ in nothing but when they started."""
    return status.instance, status.at


class NameGuard:
    """Wires a claim to a bus; make it before the bus starts. `online` is what the service says of itself."""

    def __init__(self, bus: Bus, online: ServiceStatus, clock: Callable[[], float] = time.monotonic) -> None:
        self._bus, self._online, self._clock = bus, online, clock
        self._claim = Claim(online)
        self._named = ""  # the rival in the last log line
        bus.on_connected(lambda: self._claim.connected(self._clock()))
        bus.subscribe(type(online), self._heard)

    def _heard(self, status: ServiceStatus, retained: bool) -> None:
        move = self._claim.heard(status, retained, self._clock())
        if move == "none":
            return
        is_will = status.state == "offline" and status.instance == self._online.instance
        if move == "insist":
            if not is_will:
                self._name(
                    status,
                    "%s is also named %s (instance %s); this one was first and keeps the name:"
                    " set [node] name on the other one",
                )
            self._bus.publish(replace(self._online, holds_name=not is_will))
            self._bus.repeat_retained()
            return
        self._name(
            status,
            "%s is already named %s (instance %s): this one stays off MQTT; set [node] name on one of them."
            " Recording continues",
        )
        self._bus.withdraw(AWAY_SECONDS)

    def _name(self, status: ServiceStatus, text: str) -> None:
        if status.instance != self._named:
            who = "another node"
            if status.instance == self._online.instance:
                who = "a copy of this node's data folder"
            elif is_copied_card(status.instance, self._online.instance):
                who = "a copy of this node's card, on another board,"
            log.error(text, who, self._online.node, status.instance[:40])
        self._named = status.instance
