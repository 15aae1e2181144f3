"""PRESENCE: members of a channel, announced to those who may see them."""

from __future__ import annotations

import msgspec

from query_service.loopback.channels import Channel, member_key
from query_service.loopback.connections import Connection
from query_service.loopback.protocol import (
    Action,
    Flag,
    Frame,
    Inbound,
    Presence,
    PresenceMessage,
    Refusal,
    as_bytes,
    size_of,
)
from query_service.loopback.state import State, allowed_client_id


def change_presence(state: State, connection: Connection, frame: Inbound) -> None:
    """Enters, updates or leaves; Refusal 40160, 40012, 91000 (no client id), 91003 (full), 42911 or 40000."""
    name = frame.channel or ""
    state.require(connection, "presence", Flag.PRESENCE, name)
    count = len(frame.presence or [])
    state.count(connection, count)
    changes = [_member(state, connection, frame, index) for index in range(count)]
    channel = state.channels.open(name, state.monotonic())
    for change in changes:
        if change.action == Presence.LEAVE:
            channel.members.pop(member_key(change), None)
        else:
            channel.enter(change, state.limits)
            connection.present.add(name)
        _announce(state, channel, change)


def _member(state: State, connection: Connection, frame: Inbound, index: int) -> PresenceMessage:
    item = as_bytes((frame.presence or [])[index])
    if item.action not in (Presence.ENTER, Presence.UPDATE, Presence.LEAVE):
        raise Refusal("presence action must be enter, update or leave", 40000)
    client_id = allowed_client_id(connection.grant, item.client_id)
    if not client_id:
        raise Refusal("unable to enter presence channel (no clientId)", 91000)
    # When entering again after a resume, the SDKs send the member's old id, so that others see no new entry.
    own = item.id is not None and item.id.startswith(f"{connection.id}:")
    member = PresenceMessage(
        action=item.action,
        id=item.id if own else f"{connection.id}:{frame.msg_serial}:{index}",
        client_id=client_id,
        connection_id=connection.id,
        data=item.data,
        encoding=item.encoding,
        timestamp=state.now_ms,
        extras=item.extras,
    )
    if size_of(member) > state.limits.message_bytes:
        raise Refusal(f"maximum message length exceeded: more than {state.limits.message_bytes} bytes", 40009)
    return member


def _announce(state: State, channel: Channel, change: PresenceMessage) -> None:
    """Sent to those who may see presence, and always to the member's own connection: the SDKs need it to re-enter."""
    frame = Frame(
        action=Action.PRESENCE,
        channel=channel.name,
        channel_serial=state.channels.serial(channel.head),
        connection_id=change.connection_id,
        timestamp=change.timestamp,
        presence=[change],
    )
    for attachment in list(channel.attachments.values()):
        if attachment.modes & Flag.PRESENCE_SUBSCRIBE or attachment.connection.id == change.connection_id:
            state.send(attachment.connection, frame)


def leave(state: State, connection: Connection, channel: Channel) -> None:
    """Removes the connection's members from the channel, on behalf of the server."""
    connection.present.discard(channel.name)
    for key, member in list(channel.members.items()):
        if member.connection_id == connection.id:
            del channel.members[key]
            at = max(state.now_ms, member.timestamp or 0)  # the SDKs ignore a leave older than the entry
            _announce(
                state,
                channel,
                msgspec.structs.replace(member, action=int(Presence.LEAVE), id=f"server:{at}:0", timestamp=at),
            )


def leave_all(state: State, connection: Connection) -> None:
    """Removes the connection's members from every channel."""
    for name in list(connection.present):
        if channel := state.channels.find(name):
            leave(state, connection, channel)
