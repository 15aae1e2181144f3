"""OpenAPI of the HTTP door, from the structs of the protocol. Pure."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, NamedTuple, get_args, get_type_hints

import msgspec

from edge import __version__
from edge.core.instant import PATTERN, Instant
from edge.messaging.commands import COMMANDS, Command, OwnerProof
from edge.messaging.events import Response
from query_service.queries.declaration import QueryType
from query_service.queries.protocol import QUERY_TYPES, Request
from query_service.queries.values import ErrorAnswer

# what the page's owner may order, by address
ACTIONS: dict[str, type[Command]] = {f"/{each.VERB}": each for each in COMMANDS if "page" in each.SENT_BY}
BY_ADDRESS = tuple(name for name, query_type in QUERY_TYPES.items() if query_type.by_address)

# HTTP's word for each code of an error: the JSON says the same, for those who look at nothing else
STATUS = {
    "bad_request": 400,
    "unknown_type": 400,
    "forbidden": 403,
    "encrypted": 422,
    "internal": 500,
    "busy": 503,
    "deadline": 504,
}

STORE_AWAY = 502

ACTION_STATUS = {**STATUS, "on_hold": 409}


def _fields(query_type: QueryType[Any]) -> tuple[str, ...]:
    """The fields of a request that a type reads, besides those of every request."""
    times = ("from", "to") if query_type.has_range else ()
    pages = ("limit", "cursor") if query_type.joins else ()
    links = ("urls",) if query_type.has_range else ()
    return (*times, *pages, *links, *query_type.fields)


# the query parameters that each address takes; any other takes none
PARAMETERS = {f"/{kind}": _fields(QUERY_TYPES[kind]) for kind in BY_ADDRESS}


class _Refusal(NamedTuple):
    """A status other than 200. `kinds`: JSON, plain text or either; `header`: sent with it, and what it says."""

    meaning: str
    kinds: tuple[str, ...] = ("application/json",)
    header: tuple[str, str] | None = None


_JSON, _TEXT, _BYTES = "application/json", "text/plain", "application/octet-stream"
_REFUSALS = {
    400: _Refusal(
        "A parameter or field is missing, invalid, repeated or unknown, and `field` names it; plain text: not HTTP",
        (_JSON, _TEXT),
    ),
    401: _Refusal("The token is missing or wrong", (_TEXT,), ("WWW-Authenticate", "`Bearer`")),
    403: _Refusal("The node may not do this; plain text: the request is a foreign page's", (_JSON, _TEXT)),
    404: _Refusal("There is no such thing here; the message says why"),
    405: _Refusal("The address has no such method", header=("Allow", "The methods that it has")),
    408: _Refusal("The request did not arrive in time"),
    409: _Refusal("The range is on hold; nothing is being recorded that could be heard"),
    413: _Refusal("The request is larger than a query can be"),
    415: _Refusal("The request's Content-Type is not application/json"),
    416: _Refusal("The file has no such bytes", (_BYTES,), ("Content-Range", "`bytes */` and the size of the file")),
    417: _Refusal("The request's Expect is not 100-continue", (_TEXT,)),
    422: _Refusal("The sound is encrypted"),
    429: _Refusal("Too many wrong passwords came from this address", header=("Retry-After", "Seconds to wait")),
    500: _Refusal("The node failed; its log says why"),
    STORE_AWAY: _Refusal("The object store does not answer"),
    503: _Refusal(
        "Too many requests at once, or the catalog is being written", header=("Retry-After", "Seconds to wait")
    ),
    504: _Refusal("The node missed the deadline"),
}
_ANYWHERE = (400, 401, 403, 405, 417)
_OF_GET = (*_ANYWHERE, 500, 503, 504)
_OF_POST = (*_ANYWHERE, 408, 413, 415, 422, 500, 503, 504)
_OF_ACTION = (*_ANYWHERE, 404, 408, 409, 413, 415, 500, 503, 504)
_OF_METRICS = (*_ANYWHERE, 503)
_OF_AUDIO = (*_ANYWHERE, 404, 416, 422, 500, STORE_AWAY, 503)
_OF_LIVE = (*_ANYWHERE, 404, 409, 422, 503)
_OF_EVENTS = (*_ANYWHERE, 404, 503)
_OF_NODES = (*_ANYWHERE, 404, 500)
_OF_SESSION = (400, 405, 417)  # whoever asks
_AUDIO = {"wav": "audio/wav", "flac": "audio/flac", "opus": "audio/ogg"}


@cache
def document() -> dict[str, Any]:
    """The whole of /openapi.json, as plain values (OpenAPI 3.1)."""
    types = [query_type.answer for query_type in QUERY_TYPES.values()]
    (_, error, done, *refs), schemas = msgspec.json.schema_components(
        [Request, ErrorAnswer, Response, *types, *ACTIONS.values(), OwnerProof],
        schema_hook=_schema_of,
        ref_template="#/components/schemas/{name}",
    )
    for schema in schemas.values():
        if description := schema.get("description"):
            schema["description"] = inspect.cleandoc(description)  # Python 3.13 has removed the indentation already
    answers = dict(zip(QUERY_TYPES, refs, strict=False))
    fields = schemas["Request"]["properties"]
    requests = {f"{name.title()}Request": _request(name, fields) for name in QUERY_TYPES}
    schemas |= requests
    schemas["Request"] = {
        "description": schemas["Request"]["description"],
        "oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in requests],
    }
    paths: dict[str, Any] = {"/query": {"post": _post(fields, answers, error)}}
    for kind in BY_ADDRESS:
        paths[f"/{kind}"] = {"get": _get(kind, fields, answers[kind], error)}
    proof = schemas.pop("OwnerProof")["properties"]
    for path, command in ACTIONS.items():
        # the node makes an id where there is none, and a session has a proof
        schemas[command.__name__]["properties"] |= proof
        schemas[command.__name__]["required"] = []
        paths[path] = {"post": _action(command, done, error)}
    page = {"description": "Text format 0.0.4", "content": {_TEXT: {"schema": {"type": "string"}}}}
    paths["/metrics"] = {
        "get": {
            "summary": "How the node is, for Prometheus",
            "operationId": "metrics",
            "responses": {"200": page, **_refusals(_OF_METRICS, error)},
        }
    }
    paths |= _of_the_page(fields, error)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Im Hearing",
            "version": __version__,
            "description": "What was recorded between two times, and where it is. docs/query.md explains each field.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`[http] token`, where one is set"}
            },
        },
    }


def _of_the_page(fields: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    """Sound, events, other nodes and log-in; the page itself and its files are not for programs."""
    sound = {kind: {"schema": {"type": "string", "contentMediaType": kind}} for kind in _AUDIO.values()}
    times = [
        {"name": name, "in": "query", "required": True, "schema": _not_null(fields[name])} for name in ("from", "to")
    ]
    format_ = {"name": "format", "in": "query", "schema": {"enum": list(_AUDIO), "default": "wav"}}
    role = {"enum": ["owner", "viewer", "local", None]}
    session = _object(
        node={"type": "string"}, role=role, zone={"type": "string"}, login={"type": "boolean"},
        session={"type": "boolean"}, events={"type": "boolean"}, live={"type": "boolean"}, nodes={"type": "boolean"},
    )  # fmt: skip
    secrets = {"oneOf": [_object(password={"type": "string"}), _object(code={"type": "string"})]}
    log_in = {
        "summary": "Log in; from a page of the same origin alone",
        "operationId": "logIn",
        "requestBody": {"required": True, "content": {_JSON: {"schema": secrets}}},
        "responses": {
            "200": _answer(_object(role=role)),
            "401": {"description": "The password or the code is not right", "content": {_JSON: {"schema": error}}},
            **_refusals((*_OF_SESSION, 403, 413, 429), error),
        },
    }
    return {
        "/audio": {
            "get": {
                "summary": "The sound of a range, exact to the sample, silent where there is none; for the owner",
                "operationId": "audio",
                "parameters": [*times, format_],
                "responses": {
                    "200": {"description": "The whole file", "content": sound},
                    "206": {"description": "The bytes that Range asks for; of WAV alone", "content": sound},
                    **_refusals(_OF_AUDIO, error),
                },
            }
        },
        "/events": {
            "get": {
                "summary": "What happens, as Server-Sent Events named by their MQTT topics (docs/asyncapi.yaml)",
                "operationId": "events",
                "responses": {
                    "200": {
                        "description": "Without an end",
                        "content": {"text/event-stream": {"schema": {"type": "string"}}},
                    },
                    **_refusals(_OF_EVENTS, error),
                },
            }
        },
        "/live": {
            "get": {
                "summary": "What is being recorded, as WAV without an end; for the owner, with [http] live = yes",
                "operationId": "live",
                "responses": {
                    "200": {"description": "Until the session or the recording ends", "content": {"audio/wav": {}}},
                    **_refusals(_OF_LIVE, error),
                },
            }
        },
        "/nodes": {
            "get": {
                "summary": "How the other nodes are that the Ably key can see",
                "operationId": "nodes",
                "responses": {
                    "200": _answer(_object(nodes={"type": "array", "items": {"type": "object"}})),
                    **_refusals(_OF_NODES, error),
                },
            }
        },
        "/session": {
            "get": {
                "summary": "Who is asking, and what this node is",
                "operationId": "session",
                "responses": {"200": _answer(session), **_refusals(_OF_SESSION, error)},
            },
            "post": log_in,
            "delete": {
                "summary": "Log out; from a page of the same origin alone",
                "operationId": "logOut",
                "responses": {
                    "200": _answer(_object(role={"type": "null"})),
                    **_refusals((*_OF_SESSION, 403), error),
                },
            },
        },
    }


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def json_fields() -> frozenset[str]:
    """The fields of a request that hold a number or a boolean: the same text in an address as in JSON."""
    hints = get_type_hints(Request)
    found = set()
    for name, in_json in zip(Request.__struct_fields__, Request.__struct_encode_fields__, strict=True):
        parts = (hints[name], *get_args(hints[name]))  # of a union, or the values of a Literal
        if {int, float, bool} & {*parts, *map(type, parts)}:
            found.add(in_json)
    return frozenset(found)


def _request(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The schema of a request of one type."""
    query_type = QUERY_TYPES[name]
    times = ("from", "to") if query_type.has_range else ()
    type_field = {"const": name} | ({"default": name} if name == fields["type"]["default"] else {})
    return {
        "type": "object",
        "properties": {
            "v": fields["v"],
            "id": fields["id"],
            "type": type_field,
            **{each: fields[each] for each in _fields(query_type)},
            **{each: _not_null(fields[each]) for each in times},
        },
        "required": ["id", *(() if "default" in type_field else ("type",)), *times],
    }


def _post(fields: dict[str, Any], answers: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    times = {each: _not_null(fields[each])["examples"][0] for each in ("from", "to")}
    examples = {
        name: {"value": {"id": "8f2c51d09b7e4a63", "type": name, **(times if query_type.has_range else {})}}
        for name, query_type in QUERY_TYPES.items()
    }
    body = {"schema": {"$ref": "#/components/schemas/Request"}, "examples": examples}
    return {
        "summary": "A query of any type",
        "operationId": "query",
        "requestBody": {"required": True, "content": {_JSON: body}},
        "responses": {"200": _answer({"oneOf": list(answers.values())}), **_refusals(_OF_POST, error)},
    }


def _action(command: type[Command], done: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    body = {"schema": {"$ref": f"#/components/schemas/{command.__name__}"}}
    return {
        "summary": " ".join((command.__doc__ or "").split()),
        "operationId": command.VERB,
        "description": "The owner's alone: with a session from the page itself, or with the token and a `proof`.",
        "requestBody": {"required": True, "content": {_JSON: body}},
        "responses": {"200": _answer(done), **_refusals(_OF_ACTION, error)},
    }


def _get(kind: str, fields: dict[str, Any], answer: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": f"A query of type {kind}",
        "operationId": kind,
        "parameters": [
            {"name": name, "in": "query", "required": name in ("from", "to"), "schema": _not_null(fields[name])}
            for name in PARAMETERS[f"/{kind}"]
        ],
        "responses": {"200": _answer(answer), **_refusals(_OF_GET, error)},
    }


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, if its value is there: a parameter cannot be null."""
    others = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    return others[0] if len(others) == 1 else schema


def _answer(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": "The answer", "content": {_JSON: {"schema": schema}}}


def _refusals(statuses: tuple[int, ...], error: dict[str, Any]) -> dict[str, Any]:
    schemas = {_JSON: error, _TEXT: {"type": "string"}, _BYTES: {"type": "string"}}
    found: dict[str, Any] = {}
    for status in sorted(statuses):
        meaning, kinds, header = _REFUSALS[status]
        found[str(status)] = {"description": meaning, "content": {kind: {"schema": schemas[kind]} for kind in kinds}}
        if header is not None:
            name, says = header
            found[str(status)]["headers"] = {
                name: {"description": says, "required": True, "schema": {"type": "string"}}
            }
    return found


def _schema_of(wanted: type) -> dict[str, Any]:
    if wanted is Instant:
        return {"type": "string", "format": "date-time", "pattern": PATTERN}
    raise NotImplementedError(f"no schema for {wanted}")
