"""Channels: recent messages, members and subscribers; and the state that all handlers share.

A channel serial is `<start of the server, ms>-<number>`: one counter for all channels, so that serials sort as text
and those of another run of the server are recognised.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from msgspec import Struct

from query_service.loopback.auth import Authority, Grant, not_permitted
from query_service.loopback.connections import Connection, Connections, Rate, ServerLimits
from query_service.loopback.history import FrameLog, HistoryEntry
from query_service.loopback.protocol import Flag, Frame, PresenceMessage, Refusal, size_of
from query_service.loopback.publish_ids import PublishIds

_NAME = re.compile(r"[^\[:\x00-\x1f][^\x00-\x1f]{0,254}")
_REWIND = re.compile(r"(\d{1,6})([sm]?)", re.ASCII)
_FRAME_OVERHEAD = 500  # approximate bytes of a stored frame besides its messages
MAX_REWIND = 100  # messages


class Attachment(Struct):
    """One connection on one channel. `lossy` while messages are dropped because the rate is too high.

    `modes` are those of the `requested` ones that the capability permits; `params` are the parameters that apply.
    """

    connection: Connection
    modes: Flag
    requested: Flag
    params: dict[str, str]
    lossy: bool = False


class Channel:
    """One channel. `history` has its messages, `changes` those of its members; `head` is the latest number of both."""

    def __init__(self, name: str, number: int, limits: ServerLimits) -> None:
        self.name = name
        self.head = number
        self.history = FrameLog(number)
        self.changes = FrameLog(number)
        self.members: dict[tuple[str, str], PresenceMessage] = {}  # by connection id and client id
        self.attachments: dict[str, Attachment] = {}  # by connection id
        self.rate = Rate(limits.message_rate)
        self.used_at = 0.0

    def listeners(self, mode: Flag) -> Iterator[Attachment]:
        """A snapshot of the attachments with `mode`: delivery may remove one."""
        return (attachment for attachment in list(self.attachments.values()) if attachment.modes & mode)

    def since(self, number: int) -> list[HistoryEntry]:
        """What was published after `number`, oldest first."""
        return [entry for entry in self.history if entry.number > number]

    def rewound(self, param: str, now: float) -> list[HistoryEntry]:
        """The messages for `rewind`: `3` for the last three, `15s` or `2m` for a time span. Refusal (40003)."""
        match = _REWIND.fullmatch(param)
        if not match:
            raise Refusal("rewind must be a count such as 1, or a time such as 15s or 2m", 40003)
        number, unit = int(match[1]), match[2]
        if not unit:
            return list(self.history)[-min(number, MAX_REWIND) :] if number else []
        oldest = now - number * (60 if unit == "m" else 1)
        return [entry for entry in self.history if entry.at >= oldest][-MAX_REWIND:]

    def enter(self, member: PresenceMessage, limits: ServerLimits) -> None:
        """Adds or updates a member; Refusal (91003) if the channel is full."""
        key = member_key(member)
        others = [other for other_key, other in self.members.items() if other_key != key]
        if len(others) >= limits.members or sum(map(size_of, others)) + size_of(member) > limits.members_bytes:
            raise Refusal(f"{self.name} has reached its maximum number of members", 91003)
        self.members[key] = member

    @property
    def idle(self) -> bool:
        return not (self.attachments or self.members)


class Channels:
    """All channels, bounded in number, and their histories, bounded in count, bytes and age."""

    def __init__(self, limits: ServerLimits, started_ms: int) -> None:
        self._limits = limits
        self._epoch = f"{started_ms:013d}"
        self._serial = re.compile(rf"{self._epoch}-(\d{{12}})", re.ASCII)
        self._number = 0
        self._all: dict[str, Channel] = {}
        self.size = 0  # bytes of all histories

    def __iter__(self) -> Iterator[Channel]:
        return iter(list(self._all.values()))

    def find(self, name: str) -> Channel | None:
        return self._all.get(name)

    def open(self, name: str, now: float) -> Channel:
        """The channel, created if needed; Refusal for an invalid name (40010) or too many channels (90021)."""
        channel = self._all.get(name)
        if channel is None:
            if not _NAME.fullmatch(name):
                raise Refusal("invalid channel name: 1 to 255 printable characters, not starting with [ or :", 40010)
            self._make_room()
            channel = self._all[name] = Channel(name, self._number, self._limits)
        channel.used_at = now
        return channel

    def serial(self, number: int) -> str:
        return f"{self._epoch}-{number:012d}"

    def resumable(self, channel: Channel, serial: str | None) -> int | None:
        """The number in `serial` if `channel` still has all messages published after it, else None."""
        number = self.number(serial or "")
        return number if number is not None and channel.history.floor <= number else None

    def number(self, serial: str) -> int | None:
        """The number in a channel serial, if this run of the server issued it."""
        match = self._serial.fullmatch(serial)
        return int(match[1]) if match and int(match[1]) <= self._number else None

    def record(self, channel: Channel, frame: Frame, now: float) -> None:
        """Numbers a frame of messages or of presence, sets its channel serial, and stores it within the limits."""
        self._number += 1
        frame.channel_serial = self.serial(self._number)
        size, limits = _FRAME_OVERHEAD + sum(map(size_of, frame.messages or frame.presence or [])), self._limits
        log = channel.changes if frame.presence else channel.history
        log.append(HistoryEntry(self._number, frame, size, now))
        channel.head, channel.used_at = self._number, now
        self.size += size
        while len(log) > limits.history_messages or log.size > limits.history_bytes:
            self.size -= log.drop_oldest()
        while self.size > limits.history_total_bytes:
            self.size -= min(self._logs(), key=lambda other: other.oldest.number).drop_oldest()

    def _logs(self) -> Iterator[FrameLog]:
        """All logs that have frames."""
        return (log for channel in self._all.values() for log in (channel.history, channel.changes) if len(log))

    def expire(self, now: float) -> None:
        """Drops messages beyond the history's age, and channels unused for that long."""
        oldest = now - self._limits.history_seconds
        for log in list(self._logs()):
            while len(log) and log.oldest.at < oldest:
                self.size -= log.drop_oldest()
        for channel in self:
            if channel.idle and not (len(channel.history) or len(channel.changes)) and channel.used_at < oldest:
                del self._all[channel.name]

    def _make_room(self) -> None:
        """Drops the least recently used idle channel if there are too many."""
        if len(self._all) < self._limits.channels:
            return
        idle = [channel for channel in self._all.values() if channel.idle]
        if not idle:
            raise Refusal(f"this server supports at most {self._limits.channels} channels", 90021, 429)
        unused = min(idle, key=lambda channel: channel.used_at)
        self.size -= unused.history.size + unused.changes.size
        del self._all[unused.name]


def member_key(member: PresenceMessage) -> tuple[str, str]:
    return member.connection_id or "", member.client_id or ""


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
        self.publish_ids = PublishIds(limits.history_seconds, limits.publish_ids)

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
