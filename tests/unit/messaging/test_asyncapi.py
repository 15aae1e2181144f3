"""docs/asyncapi.yaml is what the structs say, and each of its examples is a message that they accept."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from edge.core import wire
from edge.messaging import asyncapi
from edge.messaging.commands import COMMANDS
from edge.messaging.events import EVENTS, Response
from tests.support.json_schema import faults
from tests.support.tiny_yaml import parse

STRUCTS: list[type[Any]] = [*EVENTS, *COMMANDS, Response]


def test_the_document_is_up_to_date() -> None:
    written = asyncapi.FILE.read_text(encoding="utf-8")
    assert written == asyncapi.text(), "run: python -m edge.messaging.asyncapi"


def test_the_file_reads_back_as_the_document() -> None:
    assert parse(asyncapi.text()) == json.loads(json.dumps(asyncapi.document()))


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_each_example_is_complete_and_fits_struct_and_schema(struct: type[Any]) -> None:
    example = asyncapi.example(struct)
    assert set(example) == {field.encode_name for field in fields(struct)}
    value = wire.convert(example, struct)
    assert not faults(json.loads(wire.encode(value)), struct.__name__)


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_each_field_is_described_and_each_number_has_a_unit_or_is_none(struct: type[Any]) -> None:
    schema = asyncapi.document()["components"]["schemas"][struct.__name__]
    assert schema["description"]
    for name, field in schema["properties"].items():
        assert field.get("description"), f"{struct.__name__}.{name}"
        if re.search(r"laeq|lafmax|lcpeak|bytes|frames?$|_seconds|age$|hours", name):
            assert field.get("x-unit"), f"{struct.__name__}.{name}"


def test_a_message_that_does_not_fit_is_found() -> None:
    example = asyncapi.example(EVENTS[0])
    assert faults(example | {"state": "asleep"}, EVENTS[0].__name__)
    assert faults(example | {"node": "No"}, EVENTS[0].__name__)
    assert faults({**example, "extra": 1}, EVENTS[0].__name__)
    del example["instance"]
    assert faults(example, EVENTS[0].__name__)


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=15,
)


@given(st.dictionaries(st.text(), _plain, min_size=1))
def test_yaml_holds_any_value(value: dict[str, Any]) -> None:
    assert parse(asyncapi.to_yaml(value)) == value
