"""MESSAGE: validation, stamping, and delivery to subscribers."""

from __future__ import annotations

from query_service.loopback.attaching import send_attached
from query_service.loopback.auth import Grant
from query_service.loopback.channels import Attachment, Channel
from query_service.loopback.connections import Connection
from query_service.loopback.protocol import (
    AblyMessage,
    Action,
    Encoded,
    ErrorInfo,
    Flag,
    Frame,
    Inbound,
    Refusal,
    as_bytes,
    encode,
    size_of,
)
from query_service.loopback.state import State, allowed_client_id

_CONTINUITY_LOST = ErrorInfo("messages were dropped: the rate limit was exceeded", 80020, 429)


def publish_frame(state: State, connection: Connection, frame: Inbound) -> None:
    """Publishes what a client sent; Refusal as in `stamp` and `publish`, 40160 or 42911."""
    name = frame.channel or ""
    state.require(connection, "publish", Flag.PUBLISH, name)
    messages = [stamp(connection.grant, message) for message in frame.messages or []]
    state.count(connection, len(messages))
    publish(state, name, messages, connection.id, f"{connection.id}:{frame.msg_serial}")


def stamp(grant: Grant, message: AblyMessage) -> AblyMessage:
    """The message as others may see it, without fields that a client must not set; Refusal (40000, 40012)."""
    if message.action:
        raise Refusal("this server cannot change published messages", 40000)
    message = as_bytes(message)
    return AblyMessage(
        id=message.id,
        name=message.name,
        data=message.data,
        encoding=message.encoding,
        client_id=allowed_client_id(grant, message.client_id),
        extras=message.extras,
    )


def publish(state: State, name: str, messages: list[AblyMessage], origin: str | None, frame_id: str) -> Frame:
    """Adds stamped messages to a channel as one frame and sends it to subscribers. `origin`: a connection's id.

    Refusal for an empty (40000) or too large (40009) publish, a bad channel name (40010), or too many (42910).
    """
    now = state.monotonic()
    if not messages:
        raise Refusal("nothing to publish: messages is empty", 40000)
    size, limit = sum(map(size_of, messages)), state.limits.message_bytes
    if size > limit:
        raise Refusal(f"maximum message length exceeded: {size} of {limit} bytes", 40009)
    channel = state.channels.open(name, now)
    if not channel.rate.allow(now, len(messages)):
        raise Refusal(f"no more than {state.limits.message_rate:g} messages per second into one channel", 42910, 429)
    frame = Frame(
        action=Action.MESSAGE,
        id=frame_id,
        channel=name,
        connection_id=origin,
        timestamp=state.now_ms,
        messages=messages,
    )
    state.channels.record(channel, frame, now)
    _fan_out(state, channel, frame)
    return frame


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
