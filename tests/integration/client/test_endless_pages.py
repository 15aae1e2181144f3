"""A node that never comes to the end of its answer."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from edge.core.errors import DoorError
from edge.core.instant import Instant
from query_service.client import paging
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import Answer, Request
from query_service.queries.values import Future


class EndlessNode:
    """Each page is a microsecond."""

    node = "porch"

    def __init__(self) -> None:
        self.pages = count(1)

    async def query(self, request: Request, timeout: float) -> Answer:
        assert request.from_ is not None
        number = next(self.pages)
        begins, ends = Instant(request.from_ + number - 1), Instant(request.from_ + number)
        return CoverageAnswer(
            id=request.id, node="porch", from_=begins, to=ends, intervals=(Future(from_=begins, to=ends),),
            archives={}, next=f"page {number}",
        )  # fmt: skip

    async def close(self) -> None: ...


def test_pages_without_end_are_an_error_after_a_number_that_no_node_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_PAGES", 7)
    node, request = EndlessNode(), Request(id="0123456789abcdef", from_=Instant(0), to=Instant(10**12))
    with pytest.raises(DoorError, match="node porch gave 7 pages, and more follow; query a shorter range"):
        asyncio.run(paging.query_node(node, request))
    assert next(node.pages) == 8
