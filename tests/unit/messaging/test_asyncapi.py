"""docs/asyncapi.yaml matches the structs, and each of its examples is a valid message."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from msgspec.structs import fields

from edge.core import wire
from edge.messaging.commands import COMMANDS, OwnerProof
from edge.messaging.events import EVENTS, Response
from tests import asyncapi
from tests.support.messaging.json_schema import faults

STRUCTS: list[type[Any]] = [*EVENTS, *COMMANDS, OwnerProof, Response]


def test_the_asyncapi_document_is_up_to_date() -> None:
    written = asyncapi.FILE.read_text(encoding="utf-8")
    assert written == asyncapi.text(), "run: python -m tests.asyncapi"


def test_the_asyncapi_yaml_parses_to_the_document() -> None:
    assert yaml.safe_load(asyncapi.text()) == json.loads(json.dumps(asyncapi.document()))


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_each_example_is_complete_and_matches_struct_and_schema(struct: type[Any]) -> None:
    example = asyncapi.example(struct)
    assert set(example) == {field.encode_name for field in fields(struct)}
    value = wire.convert(example, struct)
    assert not faults(json.loads(wire.encode(value)), struct.__name__)


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_each_field_is_described_and_each_quantity_has_a_unit(struct: type[Any]) -> None:
    schema = asyncapi.document()["components"]["schemas"][struct.__name__]
    assert schema["description"]
    for name, field in schema["properties"].items():
        assert field.get("description"), f"{struct.__name__}.{name}"
        if re.search(r"laeq|lafmax|lcpeak|bytes|frames?$|_seconds|age$|hours", name):
            assert field.get("x-unit"), f"{struct.__name__}.{name}"


def test_a_message_that_does_not_match_its_schema_is_found() -> None:
    example = asyncapi.example(EVENTS[0])
    assert faults(example | {"state": "asleep"}, EVENTS[0].__name__)
    assert faults(example | {"node": "No"}, EVENTS[0].__name__)
    assert faults(example | {"at": "2026-11-22T05:44:08Z"}, EVENTS[0].__name__)
    assert faults({**example, "extra": 1}, EVENTS[0].__name__)
    del example["instance"]
    assert faults(example, EVENTS[0].__name__)
