"""The same answers through every door of one running node."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.core.errors import QueryRefused
from edge.core.instant import Instant
from edge.core.values import SpoolState
from query_service import api
from query_service.api import Via
from query_service.client.paging import query_node
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import Request, new_id
from query_service.queries.status import StatusAnswer
from query_service.queries.values import ErrorAnswer
from tests.support.nodes.all_doors import END, VIAS, NodeWithDoors
from tests.support.nodes.query_node import QueryNode
from tests.support.spool.chunks import SECOND, START


@pytest.mark.parametrize("via", VIAS)
def test_the_answer_is_the_same_through_every_door(node: NodeWithDoors, via: Via) -> None:
    here = api.query(node.settings, "local", start=Instant(START - SECOND), end=END)
    there = api.query(node.settings, via, start=Instant(START - SECOND), end=END, limit=2)
    assert isinstance(here, CoverageAnswer)
    assert isinstance(there, CoverageAnswer)
    assert there.intervals == here.intervals
    assert len(there.intervals) == 6


@pytest.mark.parametrize("via", VIAS)
def test_a_refusal_is_raised_through_every_door(node: NodeWithDoors, via: Via) -> None:
    with pytest.raises(QueryRefused, match="from must be before to") as refused:
        api.query(node.settings, via, start=END, end=START)
    assert (refused.value.code, refused.value.field) == ("bad_request", "from")
    assert isinstance(api.query(node.settings, via, type="status"), StatusAnswer)


@pytest.mark.parametrize("via", VIAS)
def test_a_range_of_ten_years_with_a_limit_of_a_billion_is_answered(node: NodeWithDoors, via: Via) -> None:
    end = Instant(START + 10 * 365 * 86_400 * SECOND)
    answer = api.query(node.settings, via, start=START, end=end, limit=10**9)
    assert isinstance(answer, CoverageAnswer)
    assert (answer.intervals[0].from_, answer.intervals[-1].to) == (START, end)


@pytest.mark.parametrize("via", VIAS)
def test_invalid_cursors_and_those_of_another_query_are_refused(node: NodeWithDoors, via: Via) -> None:
    async def run() -> None:
        async with api.connect(node.settings, via) as door:
            page = await door.query(Request(id=new_id(), from_=START, to=END, limit=1), 10)
            assert isinstance(page, CoverageAnswer)
            for cursor in ("made-up", "", "x" * 512, "%%%", page.next):
                request = Request(id=new_id(), from_=Instant(START + 1), to=END, cursor=cursor)
                refused = await door.query(request, 10)
                assert isinstance(refused, ErrorAnswer)
                assert (refused.error.code, refused.error.field) == ("bad_request", "cursor")

    asyncio.run(run())


def test_status_shows_until_when_a_pause_lasts(tmp_path: Path) -> None:
    made = QueryNode(tmp_path, chunks=0)
    until = Instant(END + 600 * SECOND)
    state = SpoolState(state="paused", since=END, until=until, boot_id="a", ordinal=1)
    made.spool.state.write(state)
    answer = api.query(made.settings, "local", type="status")
    assert isinstance(answer, StatusAnswer)
    assert (answer.recorder.state, answer.recorder.until) == ("paused", until)
    made.spool.state.write(replace(state, state="stopped", until=None))
    answer = api.query(made.settings, "local", type="status")
    assert isinstance(answer, StatusAnswer)
    assert answer.recorder.until is None


@pytest.mark.parametrize("via", VIAS)
def test_concurrent_queries_each_get_their_own_answer(node: NodeWithDoors, via: Via) -> None:
    async def run() -> None:
        async with api.connect(node.settings, via) as door:
            starts = [Instant(START + number * 1_000) for number in range(12)]
            queries = [query_node(door, Request(id=new_id(), from_=start, to=END)) for start in starts]
            answers = await asyncio.gather(*queries)
            assert [answer.from_ for answer in answers if isinstance(answer, CoverageAnswer)] == starts

    asyncio.run(run())
