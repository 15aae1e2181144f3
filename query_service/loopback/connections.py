"""Connections: what is known of one client over its sockets, the queue towards it, and which can be resumed."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator

from query_service.loopback.auth import Grant
from query_service.loopback.limits import Limits, Rate
from query_service.loopback.protocol import (
    Action,
    ConnectionDetails,
    Encoded,
    ErrorInfo,
    Format,
    Frame,
    Refusal,
    encode,
)

_REMEMBERED = 256  # handled serials per connection, far more than a client may send within a second
WS_OK, WS_GOING_AWAY, WS_POLICY = 1000, 1001, 1008


class Outbox:
    """Frames towards one socket. More than its bounds means a reader too slow: `overflowed` is called, once."""

    def __init__(self, limits: Limits, overflowed: Callable[[], None]) -> None:
        self._limits = limits
        self._overflowed = overflowed
        self._frames: deque[Encoded] = deque()
        self._size = 0
        self._ready = asyncio.Event()
        self.close_code: int | None = None  # set: after the frames that wait, the socket is closed

    def put(self, data: Encoded) -> None:
        if self.close_code is not None:
            return
        self._frames.append(data)
        self._size += len(data)
        self._ready.set()
        if self._size > self._limits.outbox_bytes or len(self._frames) > self._limits.outbox_frames:
            self._frames.clear()
            self.close(WS_POLICY)
            self._overflowed()

    def close(self, code: int) -> None:
        """Ends the socket once what waits is sent."""
        if self.close_code is None:
            self.close_code = code
            self._ready.set()

    def take(self) -> list[Encoded]:
        """Everything that waits now."""
        frames = list(self._frames)
        self._frames.clear()
        self._size = 0
        self._ready.clear()
        return frames

    async def __aiter__(self) -> AsyncIterator[Encoded]:
        """Frames as they come, until closed."""
        while True:
            while self._frames:
                data = self._frames.popleft()
                self._size -= len(data)
                yield data
            if self.close_code is not None:
                return
            self._ready.clear()
            await self._ready.wait()


class Connection:
    """One client, over as many sockets as it needed. `outbox` is null while it has none."""

    def __init__(self, grant: Grant, limits: Limits) -> None:
        self.id = secrets.token_urlsafe(8)
        self.key = f"{self.id}!{secrets.token_urlsafe(16)}"
        self.grant = grant
        self.renew_ms: int | None = None  # when to ask for a new token; null: never, or asked already
        self.form: Format = "json"
        self.echo = True
        self.outbox: Outbox | None = None
        self.attached: set[str] = set()  # channel names, on the present socket
        self.present: set[str] = set()  # channel names, over all sockets
        self.handled: OrderedDict[tuple[int, int], ErrorInfo | None] = OrderedDict()
        self.frames_in = Rate(limits.frame_rate)
        self.messages_in = Rate(limits.message_rate)
        self.messages_out = Rate(limits.message_rate)
        self.sent_at = 0.0
        self.lost_at: float | None = None  # since when it has no socket
        self._limits = limits

    def admit(self, grant: Grant, now_ms: int) -> None:
        """Goes on with new credentials; a short-lived token is asked for again at half its life."""
        self.grant, self.renew_ms = grant, None
        if grant.expires_ms is not None:
            ahead = min(self._limits.reauth_seconds * 1000, (grant.expires_ms - now_ms) / 2)
            self.renew_ms = round(grant.expires_ms - ahead)

    def send(self, frame: Frame, now: float) -> None:
        """Queues a frame, if there is a socket."""
        if self.outbox is not None:
            self.send_encoded(encode(frame, self.form), now)

    def send_encoded(self, data: Encoded, now: float) -> None:
        """Queues a frame that is encoded for this connection already, if there is a socket."""
        if self.outbox is not None:
            self.sent_at = now
            self.outbox.put(data)

    def connected(self, error: ErrorInfo | None = None) -> Frame:
        """The greeting, also sent after a new token."""
        limits = self._limits
        details = ConnectionDetails(
            connection_key=self.key,
            max_message_size=limits.message_bytes,
            max_frame_size=limits.frame_bytes,
            max_inbound_rate=round(limits.message_rate),
            connection_state_ttl=round(limits.resume_seconds * 1000),
            max_idle_interval=round(limits.idle_seconds * 1000),
            client_id=self.grant.client_id,
        )
        return Frame(action=Action.CONNECTED, connection_id=self.id, connection_details=details, error=error)

    def remember(self, serial: int, fingerprint: int, outcome: ErrorInfo | None) -> None:
        """Notes that a frame was handled: after a resume the SDKs send again what was not acknowledged.

        The fingerprint belongs to it because the Python SDK counts from 0 again on a new connection while messages
        that it had queued before keep their old serials: the same serial is not always the same message.
        """
        self.handled[serial, fingerprint] = outcome
        if len(self.handled) > _REMEMBERED:
            self.handled.popitem(last=False)


class Connections:
    """All connections, open or waiting for resume, by connection key."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all: dict[str, Connection] = {}

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: Connection) -> None:
        """Refusal (80021) when there are too many open ones."""
        if len(self._all) >= self._limits.connections:
            raise Refusal(f"this server carries no more than {self._limits.connections} connections", 80021, 429)
        self._all[connection.key] = connection

    def lost_longest(self) -> Connection | None:
        """The one without a socket since the longest time, when there is no room for another connection."""
        if len(self._all) < self._limits.connections:
            return None
        lost = [connection for connection in self._all.values() if connection.lost_at is not None]
        return min(lost, key=lambda connection: connection.lost_at or 0.0, default=None)

    def resumable(self, key: str, grant: Grant) -> Connection | None:
        """The connection with this key, if it is the same client's."""
        connection = self._all.get(key)
        return connection if connection and connection.grant.client_id == grant.client_id else None

    def remove(self, connection: Connection) -> None:
        self._all.pop(connection.key, None)
