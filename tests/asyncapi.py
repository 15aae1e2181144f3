"""docs/asyncapi.yaml, an AsyncAPI 3 document, from the event and command structs: `python -m tests.asyncapi` writes it.

https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import yaml
from msgspec import Meta

from edge.core.instant import Instant
from edge.messaging import topics
from edge.messaging.command_server import ANSWER_SECONDS
from edge.messaging.commands import COMMANDS, QUERY_VERB, Command, OwnerProof
from edge.messaging.events import EVENTS, Event, Response

FILE = Path(__file__).parents[1] / "docs" / "asyncapi.yaml"
_SCHEMAS = "#/components/schemas/{name}"

_DESCRIPTION = """\
The events that an Im Hearing node publishes over MQTT, and the commands that it accepts. Times are RFC 3339, UTC, with
six decimals; levels are in dB relative to full scale (dBFS) or, once calibrated, in dBA. Ignore unknown fields.
Messages are notifications: the authoritative record is in the node's files, its archives and its catalog."""

_REPLY = """\
A request is answered on `response/<verb>`, or, with MQTT 5, on its response topic with its correlation data, if that
topic is below `imhearing/<node>/response/`. Retained requests are ignored. A repeated `id` gets the same answer."""


def document() -> dict[str, Any]:
    """The whole document as plain values."""
    structs = [*EVENTS, *COMMANDS, OwnerProof, Response]
    _, schemas = msgspec.json.schema_components(structs, schema_hook=_schema_of, ref_template=_SCHEMAS)
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {"Response": _message(Response), "Query": _query_message()}
    for event in EVENTS:
        name = event.__name__
        channels[name] = _channel(topics.event("{node}", event.TOPIC), name, _doc(event))
        operations[f"tell{name}"] = _operation("send", name, name, _doc(event)) | {"bindings": _bindings(event)}
        messages[name] = _message(event)
    for command in COMMANDS:
        for verb in command.requests():
            is_plain = verb == command.VERB
            name = command.__name__ if is_plain else f"Owners{command.__name__}"
            messages[name] = _message(command) if is_plain else _owners_message(command, name)
            _add_command(channels, operations, verb, name, _doc(command))
    _add_command(
        channels, operations, QUERY_VERB, "Query",
        "Query what was recorded when. `data` of the response is the answer that docs/query.md describes, with links to"
        " sound only if `urls` is true: all subscribers see them.",
    )  # fmt: skip
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Im Hearing", "version": "1.0.0", "description": _DESCRIPTION, "license": {"name": "MIT"}},
        "defaultContentType": "application/json",
        "servers": _servers(),
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def example(struct: type[Any]) -> dict[str, Any]:
    """An example message, from the examples of its fields."""
    made = {}
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        found = [meta.examples[0] for meta in _metas(hints[field.name]) if meta.examples]
        if found:
            made[field.encode_name] = found[-1]
    return made


def _metas(hint: Any) -> list[Meta]:
    """The metadata of a field, also of one that may be null."""
    metas = [part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Meta)]
    return metas or [meta for part in get_args(hint) for meta in _metas(part)]


def _schema_of(wanted: type) -> dict[str, Any]:
    if wanted is Instant:
        return {"type": "string", "format": "date-time", "examples": ["2026-11-22T05:44:08.000000Z"]}
    raise NotImplementedError(f"no schema for {wanted}")


def _servers() -> dict[str, Any]:
    return {
        "node": {
            "host": "127.0.0.1:1883",
            "protocol": "mqtt",
            "protocolVersion": "5.0",
            "description": "On the node itself. Without a login: read-only.",
        },
        "network": {
            "host": "raspberrypi.local:8883",
            "protocol": "mqtts",
            "protocolVersion": "5.0",
            "description": "From the home network, with user name and password (`imhearing broker-setup`).",
        },
    }


def _channel(topic: str, message: str, description: str) -> dict[str, Any]:
    return {
        "address": topic,
        "description": description,
        "parameters": {"node": {"description": "The node's name", "examples": ["porch"]}},
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
    }


def _operation(action: str, channel: str, message: str, summary: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
    }


def _bindings(event: type[Event]) -> dict[str, Any]:
    mqtt: dict[str, Any] = {"qos": event.QOS, "retain": event.RETAINED}
    if event.EXPIRY is not None:
        mqtt["messageExpiryInterval"] = event.EXPIRY
    return {"mqtt": {**mqtt, "bindingVersion": "0.2.0"}}


def _add_command(
    channels: dict[str, Any], operations: dict[str, Any], verb: str, message: str, description: str
) -> None:
    name = verb.replace("/", "_")
    request, response = f"request_{name}", f"response_{name}"
    channels[request] = _channel(topics.request("{node}", verb), message, description)
    channels[response] = _channel(topics.response("{node}", verb), "Response", f"The answer to `{verb}`. {_REPLY}")
    operations[f"take_{name}"] = _operation("receive", request, message, description) | {
        "bindings": {"mqtt": {"qos": 1, "retain": False, "bindingVersion": "0.2.0"}},
        "reply": {
            "channel": {"$ref": f"#/channels/{response}"},
            "messages": [{"$ref": f"#/channels/{response}/messages/Response"}],
        },
    }


def _message(struct: type[Event | Command | Response]) -> dict[str, Any]:
    made = {
        "name": struct.__name__,
        "summary": _doc(struct),
        "payload": {"$ref": _SCHEMAS.format(name=struct.__name__)},
        "examples": [{"payload": example(struct)}],
    }
    if struct is Response:
        made["bindings"] = {"mqtt": {"bindingVersion": "0.2.0", "contentType": "application/json"}}
        made["description"] = f"Expires after {ANSWER_SECONDS} s."
    return made


def _owners_message(command: type[Command], name: str) -> dict[str, Any]:
    return {
        "name": name,
        "summary": _doc(command),
        "payload": {"allOf": [{"$ref": _SCHEMAS.format(name=each.__name__)} for each in (command, OwnerProof)]},
        "examples": [{"payload": {**example(command), **example(OwnerProof)}}],
    }


def _query_message() -> dict[str, Any]:
    """Its fields are the query protocol's, which is the same through every door."""
    return {
        "name": "Query",
        "summary": "A query, as docs/query.md describes it",
        "payload": {
            "type": "object",
            "required": ["id"],
            "properties": {
                "v": {"type": "integer", "const": 1},
                "id": {"type": "string", "description": "Chosen by the sender, at least 64 random bits"},
                "type": {"type": "string", "description": "Query type; `coverage` by default"},
                "from": {"type": "string", "format": "date-time", "description": "Inclusive"},
                "to": {"type": "string", "format": "date-time", "description": "Exclusive"},
                "urls": {"type": "boolean", "description": "Include links to sound in the answer; default false"},
            },
        },
        "examples": [
            {
                "payload": {
                    "v": 1, "id": "4f2d9c1e7a3b5d60", "type": "coverage",
                    "from": "2026-11-22T05:40:00Z", "to": "2026-11-22T05:50:00Z",
                }
            }
        ],
    }  # fmt: skip


def _doc(struct: type[Any]) -> str:
    return " ".join((struct.__doc__ or "").split())


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Readers of the document find the same values twice easier to read than an anchor and an alias."""
        return True


def text() -> str:
    """What the file holds."""
    body = yaml.dump(document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return f"# Written by `python -m tests.asyncapi` from events.py and commands.py in edge/messaging.\n{body}"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
