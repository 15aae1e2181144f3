"""A hub with a clock that tests set, and clients that send it frames."""

from __future__ import annotations

import json
from typing import Any

from edge.configuration.settings import Secret
from edge.core.instant import Instant
from query_service.loopback.auth import Authority
from query_service.loopback.connections import ServerLimits, SocketQueue
from query_service.loopback.hub import Hub
from query_service.loopback.protocol import Action
from query_service.realtime.tokens import client_token, node_token

KEY = Secret("app.key:0123456789abcdef0123456789abcdef")
REQUESTS, REPLIES, NODES = "imhearing:requests:porch", "imhearing:replies:ann", "imhearing:nodes"


Json = dict[str, Any]


class World:
    """A hub and the time in it."""

    def __init__(self, **limits: Any) -> None:
        self.now = 1_795_326_248.0
        self.limits = ServerLimits(**limits)
        self.hub = Hub(Authority(KEY), self.limits, clock=lambda: self.now, monotonic=lambda: self.now)

    @property
    def instant(self) -> Instant:
        return Instant.from_seconds(self.now)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.hub.tick()

    def client(self, name: str = "ann", ttl: int = 3_600, **query: str) -> Peer:
        return Peer(self, {"accessToken": client_token(KEY, name, ttl, self.instant), **query})

    def node(self, name: str = "porch", ttl: int = 3_600, **query: str) -> Peer:
        return Peer(self, {"accessToken": node_token(KEY, name, ttl, self.instant), **query})

    def keyholder(self, **query: str) -> Peer:
        return Peer(self, {"key": KEY.reveal(), **query})


class Peer:
    """A client: sends frames as JSON, reads what came."""

    def __init__(self, world: World, query: dict[str, str]) -> None:
        self.world = world
        self.overflowed = False
        self.outbox = SocketQueue(world.limits, self._overflow)
        self.connection = world.hub.connect(query, self.outbox)
        self.greeting = self.read()[0]
        self.serial = 0

    def _overflow(self) -> None:
        self.overflowed = True

    @property
    def key(self) -> str:
        return str(self.greeting["connectionDetails"]["connectionKey"])

    def read(self) -> list[Json]:
        return [json.loads(frame) for frame in self.outbox.take()]

    def send(self, action: int, **fields: Any) -> list[Json]:
        """Sends a frame; what came until now."""
        self.world.hub.receive(self.connection, json.dumps({"action": action, **fields}))
        return self.read()

    def attach(self, channel: str, **fields: Any) -> list[Json]:
        return self.send(Action.ATTACH, channel=channel, **fields)

    def publish(self, channel: str, data: Any = "x", **message: Any) -> Json:
        """The last frame that came: ACK or NACK."""
        self.serial += 1
        return self.send(
            Action.MESSAGE, channel=channel, msgSerial=self.serial - 1, messages=[{"data": data, **message}]
        )[-1]

    def enter(self, channel: str, action: int = 2, **member: Any) -> list[Json]:
        self.serial += 1
        return self.send(
            Action.PRESENCE, channel=channel, msgSerial=self.serial - 1, presence=[{"action": action, **member}]
        )

    def lose(self) -> None:
        self.world.hub.lost(self.connection, self.outbox)


def actions(frames: list[Json]) -> list[int]:
    return [frame["action"] for frame in frames]


def data(frames: list[Json]) -> list[Any]:
    return [message["data"] for frame in frames for message in frame.get("messages", [])]
