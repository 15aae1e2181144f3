"""Checks messages against the schemas of docs/asyncapi.yaml."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from tests import asyncapi

_TIME = re.compile(r"\d{4}(-\d\d){2}T\d\d(:\d\d){2}\.\d{6}Z")
_formats = FormatChecker(())
_formats.checks("date-time")(lambda value: not isinstance(value, str) or _TIME.fullmatch(value) is not None)


@cache
def _components() -> dict[str, Any]:
    """The document's schemas, each closed: a field that it does not name is a fault too."""
    components: dict[str, Any] = asyncapi.document()["components"]
    for schema in components["schemas"].values():
        schema.setdefault("additionalProperties", False)
    return components


def faults(value: Any, schema_name: str) -> list[str]:
    """What in `value` does not fit the schema."""
    schema = {"$ref": f"#/components/schemas/{schema_name}", "components": _components()}
    found = Draft202012Validator(schema, format_checker=_formats).iter_errors(value)
    return [f"{problem.json_path}: {problem.message}" for problem in found]
