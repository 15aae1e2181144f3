"""The HTTP door does what its OpenAPI document says: its examples, and whatever schemathesis makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from edge.configuration.settings import Http
from query_service.queries.openapi import document
from query_service.queries.protocol import QUERY_TYPES, read_answer
from tests.fuzz import http_api
from tests.support.messaging.http_door import JSON, TOKEN, http_request
from tests.support.store.s3 import RunningStore

PATHS = document()["paths"]
# for others than the owner; without broker and Ably key
OTHERWISE = {"/audio": 403, "/live": 403, "/events": 404, "/nodes": 404}


@pytest.fixture(scope="module")
def url(store: RunningStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with http_api.serving_node(tmp_path_factory.mktemp("node"), store.settings, Http()) as address:
        yield address


@pytest.mark.parametrize("path", [path for path in PATHS if "get" in PATHS[path]])
def test_the_examples_of_an_address_work_as_printed(url: str, path: str) -> None:
    fields = {each["name"]: each["schema"] for each in PATHS[path]["get"].get("parameters", ())}
    given = {name: schema["examples"][0] for name, schema in fields.items() if "examples" in schema}
    assert {"from", "to"} & fields.keys() <= given.keys()
    status, _, body = http_request(f"{url}{path}?{urlencode(given)}")
    assert status == OTHERWISE.get(path, 200), body


@pytest.mark.parametrize("kind", QUERY_TYPES)
def test_the_example_of_each_query_type_works_as_printed(url: str, kind: str) -> None:
    content: dict[str, Any] = PATHS["/query"]["post"]["requestBody"]["content"]
    example = content["application/json"]["examples"][kind]["value"]
    status, _, body = http_request(f"{url}/query", json.dumps(example).encode(), **JSON)
    assert (status, getattr(read_answer(body), "type", None)) == (200, kind), body


@pytest.mark.slow
def test_no_request_gets_an_answer_that_the_document_does_not_describe(
    store: RunningStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    http = Http(token=TOKEN)
    with http_api.serving_node(tmp_path_factory.mktemp("node"), store.settings, http) as address:
        outcome = http_api.run(address, http, examples=10, seed=1)
    assert outcome.passed, outcome.report
    assert outcome.requests > 500, outcome.report
