"""Frames of the Ably realtime protocol as typed structs, in MessagePack and JSON. Pure.

Source: https://sdk.ably.com/builds/ably/specification/main/protocol, and what the official SDKs send.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from enum import IntEnum, IntFlag
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from edge.core.errors import DoorError

Format = Literal["json", "msgpack"]
Encoded = str | bytes  # a text frame (JSON) or a binary one (MessagePack)


class Action(IntEnum):
    HEARTBEAT = 0
    ACK = 1
    NACK = 2
    CONNECTED = 4
    DISCONNECT = 5
    DISCONNECTED = 6
    CLOSE = 7
    CLOSED = 8
    ERROR = 9
    ATTACH = 10
    ATTACHED = 11
    DETACH = 12
    DETACHED = 13
    PRESENCE = 14
    MESSAGE = 15
    SYNC = 16
    AUTH = 17
    OBJECT = 19
    ANNOTATION = 21


class Flag(IntFlag):
    """Of ATTACH and ATTACHED; those from PRESENCE on are the channel's modes."""

    HAS_PRESENCE = 1 << 0
    HAS_BACKLOG = 1 << 1
    RESUMED = 1 << 2
    ATTACH_RESUME = 1 << 5
    PRESENCE = 1 << 16
    PUBLISH = 1 << 17
    SUBSCRIBE = 1 << 18
    PRESENCE_SUBSCRIBE = 1 << 19


NO_FLAGS = Flag(0)
MODES = Flag.PRESENCE | Flag.PUBLISH | Flag.SUBSCRIBE | Flag.PRESENCE_SUBSCRIBE


class Presence(IntEnum):
    PRESENT = 1
    ENTER = 2
    LEAVE = 3
    UPDATE = 4


class ErrorInfo(Struct, frozen=True, rename="camel"):
    """Why something was refused; `code` from https://github.com/ably/ably-common/blob/main/protocol/errors.json."""

    message: str
    code: int
    status_code: int
    href: str = ""  # where the code is explained

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "href", f"https://help.ably.io/error/{self.code}")


class Refusal(DoorError):
    """A rejected frame or request; `info` is the error sent to the client."""

    def __init__(self, message: str, code: int, status_code: int = 400) -> None:
        super().__init__(message)
        self.info = ErrorInfo(message, code, status_code)


class AblyMessage(Struct, rename="camel", omit_defaults=True):
    """One published message; `data` is text, bytes or None once decoded by `as_bytes`."""

    id: str | None = None
    name: str | None = None
    data: Any = None
    encoding: str | None = None
    client_id: str | None = None
    connection_id: str | None = None
    timestamp: int | None = None  # ms since 1970
    extras: dict[str, Any] | None = None
    action: int | None = None  # 0 or None: create; other values change an earlier message
    connection_key: Any = None  # only from clients: to publish on behalf of another connection


class PresenceMessage(Struct, rename="camel", omit_defaults=True):
    """A member of a channel entered, left or changed its data."""

    action: int = -1  # always present on the wire
    id: str | None = None  # <connection id>:<message serial>:<index>
    client_id: str | None = None
    connection_id: str | None = None
    data: Any = None
    encoding: str | None = None
    timestamp: int | None = None
    extras: dict[str, Any] | None = None


class ConnectionDetails(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Times in ms, sizes in bytes."""

    connection_key: str
    max_message_size: int
    max_frame_size: int
    max_inbound_rate: int
    connection_state_ttl: int
    max_idle_interval: int
    client_id: str | None = None


class Frame(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A protocol message to a client; its fields depend on `action`."""

    action: int
    id: str | None = None
    channel: str | None = None
    channel_serial: str | None = None
    connection_id: str | None = None
    connection_details: ConnectionDetails | None = None
    msg_serial: int | None = None
    count: int | None = None
    timestamp: int | None = None
    flags: int | None = None
    params: dict[str, str] | None = None
    error: ErrorInfo | None = None
    messages: list[AblyMessage] | None = None
    presence: list[PresenceMessage] | None = None


_to_json = msgspec.json.Encoder()
_to_msgpack = msgspec.msgpack.Encoder()


def format_of(query: Mapping[str, str]) -> Format:
    """The encoding requested in a socket's query."""
    return "msgpack" if query.get("format") == "msgpack" else "json"


def encode(frame: Frame, form: Format) -> Encoded:
    """Encodes a frame; in JSON, bytes become base64, as noted in their `encoding`."""
    if form == "msgpack":
        return _to_msgpack.encode(frame)
    if frame.messages or frame.presence:
        frame = msgspec.structs.replace(
            frame,
            messages=frame.messages and [as_text(message) for message in frame.messages],
            presence=frame.presence and [as_text(message) for message in frame.presence],
        )
    return _to_json.encode(frame).decode()


M = TypeVar("M", AblyMessage, PresenceMessage)


def as_text(message: M) -> M:
    """The message with its bytes, if it has any, as base64."""
    if not isinstance(message.data, bytes):
        return message
    encoding = f"{message.encoding}/base64" if message.encoding else "base64"
    return msgspec.structs.replace(message, data=base64.b64encode(message.data).decode(), encoding=encoding)


def as_bytes(message: M) -> M:
    """The message with its base64, if `encoding` ends with it, as bytes; Refusal (40013) if it is invalid."""
    rest, slash, last = (message.encoding or "").rpartition("/")
    if last != "base64":
        return message
    if not isinstance(message.data, str):
        raise Refusal("message data must be text if its encoding is base64", 40013)
    try:
        data = base64.b64decode(message.data, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal("message data is not valid base64, unlike its encoding says", 40013) from None
    return msgspec.structs.replace(message, data=data, encoding=rest if slash else None)


def size_of(message: AblyMessage | PresenceMessage) -> int:
    """Bytes that count towards the limit: data, extras as JSON, client id, name (spec TO3l8).

    Refusal (40013) if they cannot be encoded.
    """
    name = message.name if isinstance(message, AblyMessage) else None
    return sum(map(_length, (name, message.client_id, message.data))) + _length_of_extras(message.extras)


def _length(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, bytes):
        return len(value)
    raise Refusal("message data must be text or bytes; encode other values as JSON text, encoding `json`", 40013)


def _length_of_extras(extras: dict[str, Any] | None) -> int:
    if not extras:
        return 0
    try:
        _to_msgpack.encode(extras)  # integers beyond 64 bits would pass as JSON
        return len(_to_json.encode(extras))
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise Refusal("message extras contain values that JSON or MessagePack cannot represent", 40013) from None
