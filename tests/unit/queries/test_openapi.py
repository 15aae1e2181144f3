"""The OpenAPI document describes what the HTTP door accepts and sends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from edge.core.instant import Instant
from query_service.queries.openapi import STATUS, document
from query_service.queries.protocol import QUERY_TYPES

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def is_valid_request(body: dict[str, Any]) -> bool:
    schema = {"$schema": _DIALECT, "$ref": "#/components/schemas/Request", "components": document()["components"]}
    return jsonschema.Draft202012Validator(schema).is_valid(body)


def test_no_query_parameter_may_be_null() -> None:
    for name, operation in operations():
        for parameter in operation.get("parameters", ()):
            schema = parameter["schema"]
            assert {"type": "null"} not in schema.get("anyOf", ()), (name, parameter["name"])
            assert schema.get("default", "none") is not None, (name, parameter["name"])


def test_the_examples_of_from_and_to_are_a_range() -> None:
    for name, operation in operations():
        examples = {each["name"]: each["schema"].get("examples") for each in operation.get("parameters", ())}
        if "from" in examples:
            (start,), (end,) = examples["from"], examples["to"]
            assert Instant.parse(start) < Instant.parse(end), name


@pytest.mark.parametrize("kind", QUERY_TYPES)
def test_a_request_needs_a_range_exactly_if_its_type_has_one(kind: str) -> None:
    bare = {"id": "x", "type": kind}
    times = {"from": "2026-03-03T22:00:00Z", "to": "2026-03-03T22:10:00Z"}
    assert is_valid_request({**bare, **times})
    for incomplete in ({}, {**times, "from": None}, {"to": times["to"]}):
        assert is_valid_request({**bare, **incomplete}) == (not QUERY_TYPES[kind].has_range), incomplete


def test_a_request_without_a_type_is_about_coverage() -> None:
    assert not is_valid_request({"id": "x"})
    assert is_valid_request({"id": "x", "from": "2026-03-03T22:00:00Z", "to": "2026-03-03T22:10:00Z"})


@pytest.mark.parametrize("text", ["22:00:00.1234567Z", "22:00:60Z", "22:00:00", "22:00:00+01"])
def test_a_time_that_the_node_cannot_read_is_invalid_by_the_document_too(text: str) -> None:
    start = f"2026-03-03T{text}"
    with pytest.raises(ValueError, match="not a time"):
        Instant.parse(start)
    assert not is_valid_request({"id": "x", "from": start, "to": "2026-03-03T23:00:00Z"})


def test_every_request_of_the_examples_is_valid() -> None:
    (media_type,) = document()["paths"]["/query"]["post"]["requestBody"]["content"].values()
    assert media_type["examples"].keys() == QUERY_TYPES.keys()
    for name, example in media_type["examples"].items():
        assert is_valid_request(example["value"]), name
        assert example["value"]["type"] == name


def test_every_refusal_is_documented_with_its_headers() -> None:
    assert {int(status) for status in document()["paths"]["/query"]["post"]["responses"]} == {
        200, 401, 405, 408, 413, 415, 417, *STATUS.values(),
    }  # fmt: skip
    for name, operation in operations():
        responses = operation["responses"]
        headers = {status: [*each["headers"]] for status, each in responses.items() if "headers" in each}
        if name.endswith("/session"):  # for whoever asks
            assert {"400", "405"} <= responses.keys(), name
            assert headers.pop("429", ["Retry-After"]) == ["Retry-After"]
            assert headers == {"405": ["Allow"]}, name
            continue
        assert {"400", "401", "403", "405"} <= responses.keys(), name
        assert headers.pop("416", None) == (["Content-Range"] if name == "GET /audio" else None)
        assert headers.pop("503", None) == (["Retry-After"] if name != "GET /nodes" else None)
        assert headers == {"401": ["WWW-Authenticate"], "405": ["Allow"]}, name
