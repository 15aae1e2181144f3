"""The state shared by all handlers: connections, channels, limits, credentials and two clocks."""

from __future__ import annotations

from collections.abc import Callable

from query_service.loopback.auth import Authority, Grant, not_permitted
from query_service.loopback.channels import Channels
from query_service.loopback.connections import Connection, Connections
from query_service.loopback.limits import ServerLimits
from query_service.loopback.protocol import Flag, Frame, Refusal


class State:
    """All state of the server. `clock` returns Unix time, `monotonic` seconds that never jump."""

    def __init__(
        self, authority: Authority, limits: ServerLimits, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self.authority = authority
        self.limits = limits
        self.monotonic = monotonic
        self._clock = clock
        self.connections = Connections(limits)
        self.channels = Channels(limits, self.now_ms)

    @property
    def now_ms(self) -> int:
        """Milliseconds since 1970, for what clients see."""
        return round(self._clock() * 1000)

    def send(self, connection: Connection, frame: Frame) -> None:
        connection.send(frame, self.monotonic())

    def require(self, connection: Connection, operation: str, mode: Flag, name: str) -> None:
        """Refusal (40160) unless the capability, and the modes of the attachment if there is one, permit it."""
        connection.grant.require(operation, name)
        channel = self.channels.find(name)
        attachment = channel.attachments.get(connection.id) if channel else None
        if attachment and not attachment.modes & mode:
            raise not_permitted(operation, name)

    def count(self, connection: Connection, messages: int) -> None:
        """Counts messages from a connection; Refusal (42911) if it exceeds its rate."""
        if not connection.messages_in.allow(self.monotonic(), messages):
            raise Refusal(f"no more than {self.limits.message_rate:g} messages per second", 42911, 429)

    def detach(self, connection: Connection, name: str) -> None:
        """Unsubscribes the connection from the channel; its members stay."""
        connection.attached.discard(name)
        channel = self.channels.find(name)
        if channel is not None and connection.id in channel.attachments:
            del channel.attachments[connection.id]
            channel.used_at = self.monotonic()


def allowed_client_id(grant: Grant, claimed: str | None) -> str | None:
    """The client id to stamp on a message; Refusal (40012) if the credentials do not permit the claimed one."""
    if grant.client_id == "*":
        if claimed and "*" in claimed:
            raise Refusal("invalid client id: `*` is reserved", 40012)
        return claimed or None
    if claimed and claimed != grant.client_id:
        raise Refusal("invalid client id: it is not the connection's own", 40012)
    return grant.client_id
