"""Frames from clients: only the fields of its action are read, and a malformed one fails only that operation. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from query_service.loopback.protocol import AblyMessage, Action, Encoded, Format, PresenceMessage, Refusal

SafeInteger = Annotated[int, Meta(ge=0, lt=2**53)]  # exact in JavaScript

_FIELDS: dict[int, tuple[str, ...]] = {
    Action.HEARTBEAT: ("id",),
    Action.ATTACH: ("channel", "channelSerial", "flags", "params"),
    Action.DETACH: ("channel",),
    Action.SYNC: ("channel",),
    Action.PRESENCE: ("channel", "msgSerial", "presence"),
    Action.MESSAGE: ("channel", "msgSerial", "messages"),
    Action.AUTH: ("auth",),
    Action.OBJECT: ("channel", "msgSerial"),
    Action.ANNOTATION: ("channel", "msgSerial"),
}


class AuthDetails(Struct, rename="camel"):
    access_token: str


class Inbound(Struct, rename="camel", kw_only=True):
    """A protocol message from a client: the fields that its action uses."""

    action: int
    id: Annotated[str, Meta(max_length=256)] | None = None
    channel: str | None = None
    channel_serial: str | None = None
    msg_serial: SafeInteger | None = None
    flags: SafeInteger | None = None
    params: dict[str, str | int | float | bool | None] | None = None
    auth: AuthDetails | None = None
    messages: list[AblyMessage] | None = None
    presence: list[PresenceMessage] | None = None

    def param(self, name: str) -> str | None:
        """A channel parameter as text: the SDKs also send numbers and booleans."""
        return _as_text((self.params or {}).get(name))


class Malformed(Refusal):
    """A frame with a malformed field (40000). `frame` has what says which operation failed: action, channel, serial."""

    def __init__(self, message: str, frame: Inbound) -> None:
        super().__init__(message, 40000)
        self.frame = frame


def decode(raw: Encoded, form: Format) -> Inbound:
    """Decodes a frame; Malformed for a wrong field, Refusal (40000) if it is no frame at all."""
    fields = _fields(raw, form)
    action = fields.get("action")
    if type(action) is not int:
        raise Refusal("malformed frame: it needs an action, a whole number", 40000)
    used = {name: fields[name] for name in _FIELDS.get(action, ()) if name in fields}
    try:
        return msgspec.convert({"action": action, **used}, Inbound)
    except (msgspec.ValidationError, RecursionError) as problem:
        serial = used.get("msgSerial")
        usable = type(serial) is int and 0 <= serial < 2**53
        addressed = Inbound(action=action, channel=_as_text(used.get("channel")), msg_serial=serial if usable else None)
        raise Malformed(f"malformed frame: {str(problem)[:200]}", addressed) from None


def _fields(raw: Encoded, form: Format) -> Mapping[str, Any]:
    try:
        if form == "json":
            return msgspec.json.decode(raw, type=dict[str, Any])
        if isinstance(raw, str):
            raise Refusal("malformed frame: text on a connection with format=msgpack", 40000)
        return msgspec.msgpack.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as problem:
        raise Refusal(f"malformed frame: {str(problem)[:200]}", 40000) from None


def _as_text(value: object) -> str | None:
    """Text, numbers and booleans as JavaScript writes them; None for anything else."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) else None
