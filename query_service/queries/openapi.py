"""OpenAPI of the HTTP door, from the structs of the protocol. Pure."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, get_args, get_type_hints

import msgspec

from edge import __version__
from edge.core.instant import Instant
from query_service.queries.protocol import QUERY_TYPES, Request
from query_service.queries.values import ErrorAnswer

BY_ADDRESS = tuple(name for name, query_type in QUERY_TYPES.items() if query_type.by_address)

# HTTP's word for each code of an error: the JSON says the same, for those who look at nothing else
STATUS = {
    "bad_request": 400,
    "unknown_type": 400,
    "forbidden": 403,
    "unknown_node": 404,
    "encrypted": 422,
    "internal": 500,
    "busy": 503,
    "deadline": 504,
}
_MEANING = {
    400: "A field is missing or wrong, and `field` names it; or the type is not known",
    403: "The node may not do this; or, as plain text, a page of another site asked",
    404: "There is nothing under this address",
    413: "The request is larger than a question can be",
    415: "The request's Content-Type is not application/json",
    422: "The sound is encrypted",
    500: "The node failed; its log says why",
    503: "Too many questions at once, or the catalog is being written: ask again soon",
    504: "It took too long",
}
_RANGE = ("from", "to", "limit", "cursor", "urls")


@cache
def document() -> dict[str, Any]:
    """The whole of /openapi.json, as plain values (OpenAPI 3.1)."""
    (_, *refs, error), schemas = msgspec.json.schema_components(
        [Request, *(query_type.answer for query_type in QUERY_TYPES.values()), ErrorAnswer],
        schema_hook=_schema_of,
        ref_template="#/components/schemas/{name}",
    )
    for schema in schemas.values():
        if description := schema.get("description"):
            schema["description"] = inspect.cleandoc(description)  # Python 3.13 has removed the indentation already
    answers = dict(zip(QUERY_TYPES, refs, strict=True))
    fields = schemas["Request"]["properties"]
    paths: dict[str, Any] = {"/query": {"post": _post(answers, error)}}
    for kind in BY_ADDRESS:
        query_type = QUERY_TYPES[kind]
        names = (*(_RANGE if query_type.has_range else ()), *query_type.fields)
        paths[f"/{kind}"] = {"get": _get(kind, names, fields, answers[kind], error)}
    paths["/metrics"] = {
        "get": {
            "summary": "How the node is, for Prometheus",
            "operationId": "metrics",
            "responses": {"200": {"description": "Text format 0.0.4", "content": {"text/plain": {}}}},
        }
    }
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


def number_fields() -> dict[str, type[float]]:
    """The fields of a request that hold numbers: int or float."""
    found: dict[str, type[float]] = {}
    hints = get_type_hints(Request)
    for name, in_json in zip(Request.__struct_fields__, Request.__struct_encode_fields__, strict=True):
        parts = get_args(hints[name])  # of a union, or the values of a Literal
        for number in (int, float):
            if number in (hints[name], *parts, *map(type, parts)):
                found[in_json] = number
    return found


def _post(answers: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": "Any question",
        "operationId": "query",
        "requestBody": {"required": True, "content": _json({"$ref": "#/components/schemas/Request"})},
        "responses": _responses({"oneOf": list(answers.values())}, error, (413, 415)),
    }


def _get(
    kind: str, names: tuple[str, ...], fields: dict[str, Any], answer: dict[str, Any], error: dict[str, Any]
) -> dict[str, Any]:
    return {
        "summary": f"A question of type {kind}",
        "operationId": kind,
        "parameters": [
            {"name": name, "in": "query", "required": name in ("from", "to"), "schema": fields[name]} for name in names
        ],
        "responses": _responses(answer, error),
    }


def _responses(answer: dict[str, Any], error: dict[str, Any], more: tuple[int, ...] = ()) -> dict[str, Any]:
    statuses = sorted({*STATUS.values(), *more})
    refused = {str(status): {"description": _MEANING[status], "content": _json(error)} for status in statuses}
    return {
        "200": {"description": "The answer", "content": _json(answer)},
        "401": {"description": "The token is missing or wrong", "content": {"text/plain": {}}},
        **refused,
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _schema_of(wanted: type) -> dict[str, Any]:
    if wanted is Instant:
        return {"type": "string", "format": "date-time", "examples": ["2026-03-03T22:00:00.000000Z"]}
    raise NotImplementedError(f"no schema for {wanted}")
