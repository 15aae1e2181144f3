"""What clients do on channels: ATTACH and DETACH, PRESENCE, and MESSAGE."""

from __future__ import annotations

import msgspec

from query_service.loopback.auth import Grant, not_permitted
from query_service.loopback.channels import Attachment, Channel, State, allowed_client_id, member_key
from query_service.loopback.connections import Connection
from query_service.loopback.history import HistoryEntry
from query_service.loopback.inbound import Inbound
from query_service.loopback.protocol import (
    MODES,
    NO_FLAGS,
    AblyMessage,
    Action,
    Encoded,
    ErrorInfo,
    Flag,
    Frame,
    Presence,
    PresenceMessage,
    Refusal,
    as_bytes,
    encode,
    size_of,
)
from query_service.loopback.publish_ids import publish_id

_MODE_NAMES = {
    "presence": Flag.PRESENCE,
    "publish": Flag.PUBLISH,
    "subscribe": Flag.SUBSCRIBE,
    "presence_subscribe": Flag.PRESENCE_SUBSCRIBE,
}
_FIRST_MODE_BIT = 16
_PARAMS_NOT_OFFERED = ("occupancy", "rewindLimit")
_EXTRAS_NOT_OFFERED = ("push", "ephemeral")
_CONTINUITY_LOST = ErrorInfo("messages were dropped: the rate limit was exceeded", 80020, 429)


def attach(state: State, connection: Connection, frame: Inbound) -> None:
    """Attaches with the requested modes that are permitted, then sends missed messages and present members.

    Refusal 40160 if no mode is permitted, 90010 for too many channels, 40003 for an invalid parameter.
    """
    name = frame.channel or ""
    requested, params = _requested(frame)
    modes = requested & connection.grant.modes(name)
    if not modes:
        raise not_permitted("attach", name)
    if name not in connection.attached and len(connection.attached) >= state.limits.attachments:
        raise Refusal(f"no more than {state.limits.attachments} channels per connection", 90010)
    channel = state.channels.open(name, state.monotonic())
    backlog, number, flags = _backlog(state, connection, channel, frame)
    channel.attachments[connection.id] = attachment = Attachment(connection, modes, requested, params)
    connection.attached.add(name)
    send_attached(state, channel, attachment, number, flags=flags)
    for entry in backlog:
        if modes & Flag.SUBSCRIBE and (connection.echo or entry.frame.connection_id != connection.id):
            state.send(connection, entry.frame)


def _requested(frame: Inbound) -> tuple[Flag, dict[str, str]]:
    """The requested modes, and the parameters that this server applies. Refusal (40003) for those it cannot."""
    for name in _PARAMS_NOT_OFFERED:
        if frame.param(name) is not None:
            raise Refusal(f"this server does not offer the channel parameter {name}", 40003)
    params = {name: value for name in ("modes", "rewind") if (value := frame.param(name)) is not None}
    if "modes" in params:  # takes precedence over flags
        names = params["modes"].replace(" ", "").lower().split(",")
        if unknown := sorted(set(names) - _MODE_NAMES.keys()):
            raise Refusal(f"unknown channel mode: {unknown[0]}; known: {', '.join(_MODE_NAMES)}", 40003)
        return Flag(sum({int(_MODE_NAMES[name]) for name in names})), params
    flags = frame.flags or 0
    return (Flag(flags) & MODES if flags >> _FIRST_MODE_BIT else MODES), params


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
    rewind = frame.param("rewind")
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
    error: ErrorInfo | None = None,
) -> None:
    """Sends ATTACHED, and SYNC if there are members that the connection may see."""
    members = _visible(channel, attachment)
    attached = Frame(
        action=Action.ATTACHED,
        channel=channel.name,
        channel_serial=state.channels.serial(number),
        flags=int(attachment.modes | flags | (Flag.HAS_PRESENCE if members else 0)),
        params=attachment.params or None,
        error=error,
    )
    state.send(attachment.connection, attached)
    if members:
        state.send(attachment.connection, Frame(action=Action.SYNC, channel=channel.name, presence=members))


def sync(state: State, connection: Connection, frame: Inbound) -> None:
    """Sends the members again; Refusal (40000) if the channel is not attached."""
    name = frame.channel or ""
    channel = state.channels.find(name)
    attachment = channel.attachments.get(connection.id) if channel else None
    if channel is None or attachment is None:
        raise Refusal(f"SYNC: {name} is not attached", 40000)
    state.send(connection, Frame(action=Action.SYNC, channel=name, presence=_visible(channel, attachment)))


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
        leave(state, connection, channel)
    state.detach(connection, name)
    state.send(connection, Frame(action=Action.DETACHED, channel=name))


def apply_grant(state: State, connection: Connection) -> None:
    """After a new token: the requested modes that it permits, no more and no fewer; detaches channels without any."""
    for name in list(connection.attached):
        channel = state.channels.open(name, state.monotonic())
        attachment = channel.attachments[connection.id]
        before, attachment.modes = attachment.modes, attachment.requested & connection.grant.modes(name)
        if not attachment.modes:
            state.detach(connection, name)
            error = not_permitted("attach", name).info
            state.send(connection, Frame(action=Action.ERROR, channel=name, error=error))
        elif attachment.modes != before:
            may_have_missed = attachment.modes & ~before & Flag.SUBSCRIBE
            flags = NO_FLAGS if may_have_missed else Flag.RESUMED
            send_attached(state, channel, attachment, channel.head, flags=flags)


def change_presence(state: State, connection: Connection, frame: Inbound) -> None:
    """Enters, updates or leaves; Refusal 40160, 40012, 91000 (no client id), 91003 (full), 42911 or 40000."""
    name = frame.channel or ""
    state.require(connection, "presence", Flag.PRESENCE, name)
    count = len(frame.presence or [])
    state.count(connection, count)
    changes = [_member(state, connection, frame, index) for index in range(count)]
    channel = state.channels.open(name, state.monotonic())
    for change in changes:
        before = channel.members.get(member_key(change))
        if change.action == Presence.LEAVE:
            channel.members.pop(member_key(change), None)
        else:
            channel.enter(change, state.limits)
            connection.present.add(name)
        _announce(state, channel, change, repeats=before is not None and before.id == change.id)


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


def _announce(state: State, channel: Channel, change: PresenceMessage, *, repeats: bool = False) -> None:
    """Sent to those who may see presence, and always to the member's own connection: the SDKs need it to re-enter.

    An entry that `repeats` one, with the same id, is not a change: it is not stored.
    """
    frame = Frame(
        action=Action.PRESENCE,
        channel=channel.name,
        channel_serial=state.channels.serial(channel.head),
        connection_id=change.connection_id,
        timestamp=change.timestamp,
        presence=[change],
    )
    if not repeats:
        state.channels.record(channel, frame, state.monotonic())
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


def publish_frame(state: State, connection: Connection, frame: Inbound) -> None:
    """Publishes what a client sent; Refusal as in `stamp` and `publish`, 40160 or 42911."""
    name = frame.channel or ""
    state.require(connection, "publish", Flag.PUBLISH, name)
    messages = [stamp(connection.grant, message) for message in frame.messages or []]
    state.count(connection, len(messages))
    publish(state, name, messages, connection.id, f"{connection.id}:{frame.msg_serial}")


def stamp(grant: Grant, message: AblyMessage) -> AblyMessage:
    """The message as others may see it, without fields that a client must not set.

    Refusal for what this server does not offer (40000, 40006, 40032), and for another's client id (40012).
    """
    if message.action:
        raise Refusal("this server cannot change published messages", 40000)
    if message.connection_key is not None:
        raise Refusal("this server cannot publish on behalf of another connection (connectionKey)", 40006)
    for name in _EXTRAS_NOT_OFFERED:
        if name in (message.extras or {}):
            raise Refusal(f"this server does not offer extras.{name}", 40032)
    message = as_bytes(message)
    return AblyMessage(
        id=message.id,
        name=message.name,
        data=message.data,
        encoding=message.encoding,
        client_id=allowed_client_id(grant, message.client_id),
        extras=message.extras,
    )


def publish(state: State, name: str, messages: list[AblyMessage], origin: str | None, frame_id: str) -> str:
    """Adds stamped messages to a channel as one frame and sends it to subscribers, unless it is a repeat; its id.

    `origin` is a connection's id. `frame_id` is used if the client gave the messages none. Refusal for an empty (40000)
    or too large (40009) publish, a bad channel name (40010), invalid ids (40031), or too many messages (42910).
    """
    now = state.monotonic()
    if not messages:
        raise Refusal("nothing to publish: messages is empty", 40000)
    size, limit = sum(map(size_of, messages)), state.limits.message_bytes
    if size > limit:
        raise Refusal(f"maximum message length exceeded: {size} of {limit} bytes", 40009)
    given_id = publish_id(messages)
    channel = state.channels.open(name, now)
    if given_id is not None and state.publish_ids.is_repeat(name, given_id, now):
        return given_id
    if not channel.rate.allow(now, len(messages)):
        raise Refusal(f"no more than {state.limits.message_rate:g} messages per second into one channel", 42910, 429)
    frame = Frame(
        action=Action.MESSAGE,
        id=given_id or frame_id,
        channel=name,
        connection_id=origin,
        timestamp=state.now_ms,
        messages=messages,
    )
    state.channels.record(channel, frame, now)
    if given_id is not None:
        state.publish_ids.add(name, given_id, now)
    _fan_out(state, channel, frame)
    return given_id or frame_id


def _fan_out(state: State, channel: Channel, frame: Frame) -> None:
    now = state.monotonic()
    encoded: dict[str, Encoded] = {}
    for attachment in channel.listeners(Flag.SUBSCRIBE):
        connection = attachment.connection
        if connection.id == frame.connection_id and not connection.echo:
            continue
        if not connection.messages_out.allow(now, len(frame.messages or ())):
            _report_loss(state, channel, attachment)
            continue
        attachment.lossy = False
        if connection.form not in encoded:
            encoded[connection.form] = encode(frame, connection.form)
        connection.send_encoded(encoded[connection.form], now)


def _report_loss(state: State, channel: Channel, attachment: Attachment) -> None:
    """Tells a subscriber that messages are dropped, once until the next delivery."""
    if not attachment.lossy:
        attachment.lossy = True
        send_attached(state, channel, attachment, channel.head, error=_CONTINUITY_LOST)
