"""A query type is declared, computed, documented and shown; whatever is missing is named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from msgspec.structs import fields

from query_service.queries.declaration import QueryType
from query_service.queries.openapi import document
from query_service.queries.protocol import QUERY_TYPES, GoodAnswer, PagedAnswer, QueryName, Question, Request
from query_service.queries.values import AnswerHead
from tests.contract.answers import LOCAL, QUESTIONS

ROOT = Path(__file__).parents[3]
DOCS = (ROOT / "docs" / "query.md").read_text(encoding="utf-8")
COMMAND = (ROOT / "commands" / "query.py").read_text(encoding="utf-8")
COMMON = {"v", "id", "type", "from", "to", "limit", "cursor", "urls"}


def forgotten(query_types: Mapping[str, QueryType[Any]]) -> list[str]:
    """What is missing of each type, as a message to whoever adds one."""
    found: list[str] = []
    for name, query_type in query_types.items():
        answer = query_type.answer
        pages = "next" in answer.__struct_fields__
        checks = {
            f"query_service/queries/{name}.py: its declaration": (ROOT / f"query_service/queries/{name}.py").exists(),
            f"query_service/answer/{name}.py: its computation": (ROOT / f"query_service/answer/{name}.py").exists(),
            "QueryName in queries/protocol.py: its name": name in get_args(QueryName),
            "GoodAnswer in queries/protocol.py: its answer": answer in get_args(GoodAnswer),
            "PagedAnswer in queries/protocol.py: its answer has pages": not pages or answer in get_args(PagedAnswer),
            "joins: how its pages are joined": pages == bool(query_type.joins),
            "joins: fields of its answer": set(query_type.joins) <= set(answer.__struct_fields__),
            f'type: Literal["{name}"] of its answer': _default(answer, "type") == name,
            "Request: its fields": set(query_type.fields) <= set(Request.__struct_fields__),
            "Question: its fields": set(query_type.fields) <= set(Question.__annotations__),
            "listing, or a case in commands/query.py: what people see": query_type.listing is not None
            or f"case {answer.__name__}()" in COMMAND,
            f"docs/query.md: a paragraph `{name}`": re.search(rf"^`{name}`: ", DOCS, re.MULTILINE) is not None,
            f"docs/query.md: an example with --type {name}": name == "coverage" or f"--type {name}" in DOCS,
            "docs/query.md: its fields": all(
                re.search(rf"^\| `{field}` \|", DOCS, re.M) for field in query_type.fields
            ),
        }
        found += [f"{name} lacks {what}" for what, is_there in checks.items() if not is_there]
    return found


def _default(answer: type[AnswerHead], name: str) -> object:
    return next((field.default for field in fields(answer) if field.name == name), None)


def test_every_query_type_is_complete() -> None:
    assert forgotten(QUERY_TYPES) == []
    assert tuple(QUERY_TYPES) == get_args(QueryName)


def test_every_field_of_a_request_is_common_or_belongs_to_a_type() -> None:
    own = {field for query_type in QUERY_TYPES.values() for field in query_type.fields}
    assert {field.encode_name for field in fields(Request)} == COMMON | own


class WeatherAnswer(AnswerHead, frozen=True, kw_only=True):
    """Of a type that nobody finished."""

    type: Literal["rain"] = "rain"
    drops: tuple[int, ...] = ()
    next: str | None = None


def test_everything_that_a_new_query_type_lacks_is_named() -> None:
    lacks = forgotten({"weather": QueryType("weather", WeatherAnswer, fields=("rain",))})
    assert [line.removeprefix("weather lacks ").split(":")[0] for line in lacks] == [
        "query_service/queries/weather.py", "query_service/answer/weather.py", "QueryName in queries/protocol.py",
        "GoodAnswer in queries/protocol.py", "PagedAnswer in queries/protocol.py", "joins", "type", "Request",
        "Question",
        "listing, or a case in commands/query.py", "docs/query.md", "docs/query.md", "docs/query.md",
    ]  # fmt: skip


def test_pages_are_joined_by_the_declared_fields() -> None:
    weather = QueryType("weather", WeatherAnswer, joins=("drops",))
    parts = [WeatherAnswer(id=str(n), node="porch", drops=(n, n), next="more") for n in (1, 2, 3)]
    assert weather.join(parts, "asked") == WeatherAnswer(id="asked", node="porch", drops=(1, 1, 2, 2, 3, 3))


def test_only_cheap_queries_are_available_by_http_get() -> None:
    assert {path for path in document()["paths"] if "get" in document()["paths"][path]} == {
        "/coverage", "/states", "/sounds", "/levels", "/days", "/extent", "/status", "/metrics",
        "/audio", "/events", "/live", "/nodes", "/session",
    }  # fmt: skip


@pytest.mark.parametrize("name", QUERY_TYPES)
def test_the_contract_has_a_question_of_each_type(name: str) -> None:
    types = {fields.get("type", "coverage") for fields in QUESTIONS.values()}
    assert name in types, f"no question of type {name} in tests/contract/answers.py"
    assert name in LOCAL, f"no question of type {name} for the command line in tests/contract/answers.py"
