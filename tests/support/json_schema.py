"""Holds messages against the schemas of docs/asyncapi.yaml: as much of JSON Schema as stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from edge.messaging import asyncapi

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "array": (list,),
    "object": (dict,), "null": (type(None),),
}  # fmt: skip
_KNOWN = {
    "$ref", "title", "description", "type", "properties", "required", "enum", "anyOf", "items", "prefixItems",
    "minItems", "maxItems", "pattern", "minimum", "maximum", "minLength", "maxLength", "format", "examples", "default",
    "x-unit", "additionalProperties",
}  # fmt: skip


@cache
def _schemas() -> dict[str, Any]:
    schemas: dict[str, Any] = asyncapi.document()["components"]["schemas"]
    return schemas


def faults(value: Any, schema_name: str) -> list[str]:
    """Where `value` does not fit; a field that the schema does not name is a fault too."""
    return list(_faults(value, {"$ref": f"#/components/schemas/{schema_name}"}, schema_name))


def _faults(value: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
    assert not set(schema) - _KNOWN, f"teach this file {set(schema) - _KNOWN}"
    if "$ref" in schema:
        yield from _faults(value, _schemas()[schema["$ref"].rpartition("/")[2]], at)
        return
    if "anyOf" in schema:
        if all(list(_faults(value, option, at)) for option in schema["anyOf"]):
            yield f"{at}: {value!r} is none of {schema['anyOf']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    kind = schema.get("type")
    if kind and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        yield f"{at}: {value!r} is no {kind}"
        return
    yield from _bounds(value, schema, at)
    if isinstance(value, dict):
        yield from _object_faults(value, schema, at)
    if isinstance(value, list):
        options = schema.get("prefixItems") or [schema["items"]] * len(value)
        for number, (item, option) in enumerate(zip(value, options, strict=True)):
            yield from _faults(item, option, f"{at}[{number}]")


def _object_faults(value: dict[str, Any], schema: dict[str, Any], at: str) -> Iterator[str]:
    yield from (f"{at}.{name}: missing" for name in schema.get("required", []) if name not in value)
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name, item in value.items():
        if name in known:
            yield from _faults(item, known[name], f"{at}.{name}")
        elif others:
            yield from _faults(item, others, f"{at}.{name}")
        elif known:
            yield f"{at}.{name}: not in the schema"


def _bounds(value: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{at}: {value!r} does not match {schema['pattern']}"
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1e9):
            yield f"{at}: {len(value)} letters"
        if schema.get("format") == "date-time" and not re.fullmatch(r"\d{4}(-\d\d){2}T\d\d(:\d\d){2}\.\d{6}Z", value):
            yield f"{at}: {value!r} is no time"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if not schema.get("minimum", -1e300) <= value <= schema.get("maximum", 1e300):
            yield f"{at}: {value} is out of bounds"
    elif isinstance(value, list) and not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 1e9):
        yield f"{at}: {len(value)} items"
