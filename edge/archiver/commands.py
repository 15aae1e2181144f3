"""The command that the archiver takes over MQTT: `request/archive`, archive now what is finished."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from edge import wire
from edge.errors import ImHearingError, WireError
from edge.events import ROOT, ErrorBody, Request, Response
from edge.mqtt import Bus, Message


class ArchiveNow(Request, frozen=True, kw_only=True):
    """Archive everything that is finished, whatever the limits say."""

    VERB: ClassVar[str] = "archive"

    id: Annotated[str, Meta(min_length=8, max_length=128)]


class _AnyId(Request, frozen=True, kw_only=True):
    id: Annotated[str, Meta(max_length=128)] = ""


def read(message: Message) -> ArchiveNow:
    """The command in `message`; raises WireError."""
    return wire.decode(message.payload, ArchiveNow)


def answer(bus: Bus, node: str, message: Message, data: dict[str, Any] | ImHearingError) -> None:
    """Answers where the request asks for it, below this node's `response/`; else on `response/archive`."""
    below = f"{ROOT}/{node}/response/"
    topic, wanted = f"{below}{ArchiveNow.VERB}", message.response_topic
    if wanted is not None and wanted.startswith(below) and not set(wanted) & set("+#\0"):
        topic = wanted
    try:
        request_id = wire.decode(message.payload, _AnyId).id
    except WireError:
        request_id = ""
    if isinstance(data, ImHearingError):
        field = data.field if isinstance(data, WireError) else None
        code = "bad_request" if isinstance(data, WireError) else "internal"
        response = Response(id=request_id, ok=False, error=ErrorBody(code, str(data), field))
    else:
        response = Response(id=request_id, ok=True, data=data)
    bus.send(topic, wire.encode(response), message.correlation)
