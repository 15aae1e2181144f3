"""Queries through the pipeline: which are answered from the cache, refused, or computed again."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from edge.core import wire
from query_service.doors.query_pipeline import AdmittedQuery, QueryPipeline
from query_service.queries.protocol import Answer, Request, read_answer
from query_service.queries.values import ErrorAnswer, ErrorCode, refusal


class Node:
    """Answers every query with the same refusal, and counts."""

    def __init__(self, code: ErrorCode = "encrypted") -> None:
        self.code = code
        self.computed: Counter[str] = Counter()

    async def answer(self, request: Request, client: str) -> Answer:
        self.computed[request.id] += 1
        return refusal(request.id, "porch", self.code, "why")


def query(request_id: str = "x", **fields: object) -> bytes:
    return wire.encode({"id": request_id, "type": "status", **fields})


def ask(pipeline: QueryPipeline, data: bytes, sender: str = "ann") -> ErrorAnswer:
    """What a client gets for one message."""
    admitted = pipeline.admit(sender, data, 10.0)
    if isinstance(admitted, ErrorAnswer):
        return admitted
    assert admitted is not None
    answer = read_answer(asyncio.run(pipeline.answer(admitted)))
    pipeline.release(admitted)
    assert isinstance(answer, ErrorAnswer)
    return answer


@pytest.mark.parametrize(
    ("code", "times"), [("encrypted", 1), ("forbidden", 1), ("busy", 3), ("deadline", 3), ("internal", 3)]
)
def test_an_answer_is_cached_unless_its_error_is_temporary(code: ErrorCode, times: int) -> None:
    node = Node(code)
    pipeline = QueryPipeline("porch", node.answer, 10)
    assert {ask(pipeline, query()).error.code for _ in range(3)} == {code}
    assert node.computed["x"] == times


def test_a_request_id_identifies_one_query_of_one_sender() -> None:
    node = Node()
    pipeline = QueryPipeline("porch", node.answer, 10)
    ask(pipeline, query())
    other = ask(pipeline, query(limit=3))
    assert (other.error.code, other.error.field) == ("bad_request", "id")
    assert ask(pipeline, query(limit=3), "bob").error.code == "encrypted"
    assert node.computed["x"] == 2


def test_a_query_that_waited_too_long_is_not_computed() -> None:
    node = Node()
    pipeline = QueryPipeline("porch", node.answer, 10)
    late = pipeline.admit("ann", query(), -1.0)
    assert isinstance(late, AdmittedQuery)
    answer = read_answer(asyncio.run(pipeline.answer(late)))
    assert isinstance(answer, ErrorAnswer)
    assert (answer.id, answer.error.code) == ("x", "deadline")
    assert not node.computed
    assert ask(pipeline, query()).error.code == "encrypted"  # asked again in time


def test_a_malformed_query_is_refused_at_once() -> None:
    pipeline = QueryPipeline("porch", Node().answer, 10)
    assert ask(pipeline, b"[]").error.code == "bad_request"
