"""ATTACH and DETACH: modes from capabilities, rewind, and messages missed since a channel serial."""

from __future__ import annotations

import msgspec

from query_service.loopback import presence
from query_service.loopback.auth import not_permitted
from query_service.loopback.channels import Attachment, Channel, HistoryEntry
from query_service.loopback.connections import Connection
from query_service.loopback.protocol import (
    MODES,
    NO_FLAGS,
    Action,
    ErrorInfo,
    Flag,
    Frame,
    Inbound,
    Presence,
    PresenceMessage,
    Refusal,
)
from query_service.loopback.state import State


def attach(state: State, connection: Connection, frame: Inbound) -> None:
    """Attaches with the requested modes that are permitted, then sends missed messages and present members.

    Refusal 40160 if no mode is permitted, 90010 for too many channels, 40003 for an invalid `rewind`.
    """
    name = frame.channel or ""
    permitted = connection.grant.modes(name)
    requested = Flag(frame.flags or 0) & MODES
    modes = permitted & requested if requested else permitted
    if not modes:
        raise not_permitted("attach", name)
    if name not in connection.attached and len(connection.attached) >= state.limits.attachments:
        raise Refusal(f"no more than {state.limits.attachments} channels per connection", 90010)
    channel = state.channels.open(name, state.monotonic())
    backlog, number, flags = _backlog(state, connection, channel, frame)
    channel.attachments[connection.id] = attachment = Attachment(connection, modes)
    connection.attached.add(name)
    rewind = (frame.params or {}).get("rewind")
    send_attached(state, channel, attachment, number, flags=flags, params={"rewind": rewind} if rewind else None)
    for entry in backlog:
        if modes & Flag.SUBSCRIBE and (connection.echo or entry.frame.connection_id != connection.id):
            state.send(connection, entry.frame)


def _backlog(
    state: State, connection: Connection, channel: Channel, frame: Inbound
) -> tuple[list[HistoryEntry], int, Flag]:
    """What to send after ATTACHED, the number to attach at, and flags.

    The number is where the backlog starts, so that a socket that breaks in the middle can resume there.
    """
    number = state.channels.resumable(channel, frame.channel_serial)
    if number is not None:
        if channel.name in connection.attached:  # everything was already sent on this socket
            return [], channel.head, Flag.RESUMED
        return channel.since(number), number, Flag.RESUMED
    rewind = (frame.params or {}).get("rewind")
    if rewind is None or frame.channel_serial or (frame.flags or 0) & Flag.ATTACH_RESUME:
        return [], channel.head, NO_FLAGS
    backlog = channel.rewound(rewind, state.monotonic())
    return (backlog, backlog[0].number - 1, Flag.HAS_BACKLOG) if backlog else ([], channel.head, NO_FLAGS)


def send_attached(
    state: State,
    channel: Channel,
    attachment: Attachment,
    number: int,
    *,
    flags: Flag = NO_FLAGS,
    params: dict[str, str] | None = None,
    error: ErrorInfo | None = None,
) -> None:
    """Sends ATTACHED, and SYNC if there are members that the connection may see."""
    members = _visible(channel, attachment)
    attached = Frame(
        action=Action.ATTACHED,
        channel=channel.name,
        channel_serial=state.channels.serial(number),
        flags=int(attachment.modes | flags | (Flag.HAS_PRESENCE if members else 0)),
        params=params,
        error=error,
    )
    state.send(attachment.connection, attached)
    if members:
        state.send(attachment.connection, Frame(action=Action.SYNC, channel=channel.name, presence=members))


def _visible(channel: Channel, attachment: Attachment) -> list[PresenceMessage]:
    """All members, or only the connection's own if it may not see others."""
    return [
        msgspec.structs.replace(member, action=int(Presence.PRESENT))
        for member in channel.members.values()
        if attachment.modes & Flag.PRESENCE_SUBSCRIBE or member.connection_id == attachment.connection.id
    ]


def detach(state: State, connection: Connection, frame: Inbound) -> None:
    """Ends the attachment, and the presence with it."""
    name = frame.channel or ""
    channel = state.channels.find(name)
    if channel is not None:
        presence.leave(state, connection, channel)
    state.detach(connection, name)
    state.send(connection, Frame(action=Action.DETACHED, channel=name))


def narrow(state: State, connection: Connection) -> None:
    """Removes modes that a new token does not permit, and detaches channels that have none left."""
    for name in list(connection.attached):
        channel = state.channels.open(name, state.monotonic())
        attachment = channel.attachments[connection.id]
        attachment.modes &= connection.grant.modes(name)
        if not attachment.modes:
            state.detach(connection, name)
            error = not_permitted("attach", name).info
            state.send(connection, Frame(action=Action.ERROR, channel=name, error=error))
