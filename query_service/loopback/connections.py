"""Connections: the state of one client across its sockets, its outgoing queue, its limits, and which can be resumed."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator

from msgspec import Struct

from query_service.loopback.auth import Grant
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

_MAX_OUTCOMES = 256  # per connection, far more than a client may publish within a second
WS_OK, WS_GOING_AWAY, WS_POLICY = 1000, 1001, 1008


class ServerLimits(Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds. The first block is Ably's (https://ably.com/docs/platform/pricing/limits)."""

    message_bytes: int = 65_536  # one publish: names, data, client ids, extras
    message_rate: float = 50.0  # messages per second, each way per connection, and into one channel
    resume_seconds: float = 120.0
    history_seconds: float = 120.0
    members: int = 200  # present on one channel
    leave_seconds: float = 15.0  # a member whose socket broke counts as present for this long, unless it chooses

    connections: int = 64  # open or waiting to be resumed
    client_connections: int = 16  # of them, those of one client ID
    channels: int = 256
    attachments: int = 64  # channels that one connection is attached to
    frame_bytes: int = 262_144  # inbound; holds the largest message as JSON with every character escaped
    frame_rate: float = 500.0  # frames per second and connection, of any kind
    history_messages: int = 500  # stored publishes of one channel
    history_bytes: int = 1_048_576  # of one channel
    history_total_bytes: int = 4_194_304
    publish_ids: int = 20_000  # ids of messages, to recognise repeats
    members_bytes: int = 262_144  # data of all members of one channel: one SYNC must fit the SDK's frame limit of 1 MiB
    queue_bytes: int = 2_097_152  # for one slow reader; more than one channel's history
    queue_frames: int = 2_000

    idle_seconds: float = 15.0  # the client is promised a frame at least this often
    reauth_seconds: float = 30.0  # request a new token this long before the old one expires


class Rate:
    """A token bucket that holds one second's worth."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._level = per_second
        self._seen = 0.0

    def allow(self, now: float, cost: int = 1) -> bool:
        """Whether `cost` more may pass at `now` (seconds of a monotonic clock)."""
        self._level = min(self._per_second, self._level + (now - self._seen) * self._per_second)
        self._seen = now
        if self._level < cost:
            return False
        self._level -= cost
        return True


class SocketQueue:
    """Outgoing frames of one socket. If the reader is too slow for its limits, calls `on_overflow` once."""

    def __init__(self, limits: ServerLimits, on_overflow: Callable[[], None]) -> None:
        self._limits = limits
        self._on_overflow = on_overflow
        self._frames: deque[Encoded] = deque()
        self._size = 0
        self._ready = asyncio.Event()
        self.close_code: int | None = None  # once set, the socket is closed after the queued frames

    def put(self, data: Encoded) -> None:
        if self.close_code is not None:
            return
        self._frames.append(data)
        self._size += len(data)
        self._ready.set()
        if self._size > self._limits.queue_bytes or len(self._frames) > self._limits.queue_frames:
            self._frames.clear()
            self.close(WS_POLICY)
            self._on_overflow()

    def close(self, code: int) -> None:
        """Closes the socket once the queued frames are sent."""
        if self.close_code is None:
            self.close_code = code
            self._ready.set()

    def take(self) -> list[Encoded]:
        """All queued frames."""
        frames = list(self._frames)
        self._frames.clear()
        self._size = 0
        self._ready.clear()
        return frames

    async def __aiter__(self) -> AsyncIterator[Encoded]:
        """Frames as they are queued, until closed."""
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
    """One client, across all its sockets. `queue` is None while it has no socket.

    Its 17 attributes are what the protocol calls a connection's state: who it is (`id`, `key`, `grant`), its current
    socket, its channels, its rates, and the outcomes of recent publishes. All are needed together to resume it.
    """

    def __init__(self, grant: Grant, limits: ServerLimits) -> None:
        self.id = secrets.token_urlsafe(8)
        self.key = f"{self.id}!{secrets.token_urlsafe(16)}-0"
        self.grant = grant
        self.renew_ms: int | None = None  # when to request a new token; None: never, or already requested
        self.form: Format = "json"
        self.echo = True
        self.queue: SocketQueue | None = None
        self.attached: set[str] = set()  # channel names, on the current socket
        self.present: set[str] = set()  # channel names, across all sockets
        self.outcomes: OrderedDict[tuple[int, int], ErrorInfo | None] = OrderedDict()
        self.frames_in = Rate(limits.frame_rate)
        self.messages_in = Rate(limits.message_rate)
        self.messages_out = Rate(limits.message_rate)
        self.sent_at = 0.0
        self.lost_at: float | None = None  # when it lost its socket
        self.leave_seconds = limits.leave_seconds  # present for this long after that
        self._limits = limits

    def admit(self, grant: Grant, now_ms: int) -> None:
        """Continues with new credentials. A token too short-lived to be renewed ahead of its expiry simply expires."""
        self.grant, self.renew_ms = grant, None
        if grant.expires_ms is not None:
            renew = round(grant.expires_ms - self._limits.reauth_seconds * 1000)
            self.renew_ms = renew if renew > now_ms else None

    def renew_key(self) -> None:
        """For each socket another key. Earlier ones stay valid: a socket may break before its client reads it."""
        stem, _, number = self.key.rpartition("-")
        self.key = f"{stem}-{int(number) + 1}"

    def owns(self, key: str) -> bool:
        """Whether `key` is, or was, this connection's."""
        return key.rpartition("-")[0] == self.key.rpartition("-")[0]

    def send(self, frame: Frame, now: float) -> None:
        """Queues a frame, if there is a socket."""
        if self.queue is not None:
            self.send_encoded(encode(frame, self.form), now)

    def send_encoded(self, data: Encoded, now: float) -> None:
        """Queues a frame already encoded for this connection, if there is a socket."""
        if self.queue is not None:
            self.sent_at = now
            self.queue.put(data)

    def connected_frame(self, error: ErrorInfo | None = None) -> Frame:
        """The CONNECTED frame, also sent after a new token."""
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

    def record_outcome(self, serial: int, fingerprint: int, outcome: ErrorInfo | None) -> None:
        """Records the outcome of a publish, as the SDKs resend unacknowledged frames after a resume.

        The serial alone does not identify a frame: on a new connection the Python SDK restarts counting at 0, while
        messages that it had queued before keep their old serials.
        """
        self.outcomes[serial, fingerprint] = outcome
        if len(self.outcomes) > _MAX_OUTCOMES:
            self.outcomes.popitem(last=False)


class Connections:
    """All connections, open or waiting for resume, by connection ID."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._all: dict[str, Connection] = {}

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: Connection) -> None:
        """Refusal (80021) if there are too many open connections, in all or of this client."""
        most = self._limits.client_connections
        if connection.grant.names_client and len(self._of(connection.grant)) >= most:
            raise Refusal(f"this server supports at most {most} connections of one client", 80021, 429)
        if len(self._all) >= self._limits.connections:
            raise Refusal(f"this server supports at most {self._limits.connections} connections", 80021, 429)
        self._all[connection.id] = connection

    def longest_lost(self, grant: Grant) -> Connection | None:
        """The connection without a socket for the longest time, if there is no room for another one with `grant`."""
        candidates = self._of(grant)
        if not grant.names_client or len(candidates) < self._limits.client_connections:
            if len(self._all) < self._limits.connections:
                return None
            candidates = list(self._all.values())
        lost = [connection for connection in candidates if connection.lost_at is not None]
        return min(lost, key=lambda connection: connection.lost_at or 0.0, default=None)

    def _of(self, grant: Grant) -> list[Connection]:
        """Those of the same client."""
        return [connection for connection in self._all.values() if connection.grant.client_id == grant.client_id]

    def resumable(self, key: str, grant: Grant) -> Connection | None:
        """The connection with this key, if it belongs to the same client."""
        connection = self._all.get(key.partition("!")[0])
        if connection is None or not connection.owns(key) or connection.grant.client_id != grant.client_id:
            return None
        return connection

    def remove(self, connection: Connection) -> None:
        self._all.pop(connection.id, None)
