"""One query to several nodes at once."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from edge.configuration.settings import Settings
from query_service import api
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import Request, new_id
from query_service.queries.status import StatusAnswer
from query_service.realtime.link import Link
from query_service.realtime.tokens import node_token
from tests.support.messaging.realtime import now, server_in_thread
from tests.support.nodes.all_doors import END
from tests.support.spool.chunks import START
from tests.support.wait import DEADLINE


def test_every_node_answers_a_query_to_the_fleet(fleet: Settings) -> None:
    result = api.query_all(fleet, start=START, end=END)
    assert (sorted(result.answers), result.refused, result.silent) == (["porch", "shed"], {}, ())
    for name, chunks in (("porch", 5), ("shed", 3)):
        answer = result.answers[name]
        assert isinstance(answer, CoverageAnswer)
        assert answer.node == name
        assert sum(type(interval).__name__ == "Pending" for interval in answer.intervals) == chunks
    statuses = api.query_all(fleet, type="status").answers
    assert all(isinstance(answer, StatusAnswer) and answer.node == name for name, answer in statuses.items())


def test_pages_of_a_fleet_query_are_joined_per_node(fleet: Settings) -> None:
    whole = api.query_all(fleet, start=START, end=END).answers
    paged = api.query_all(fleet, start=START, end=END, limit=1).answers
    for name in ("porch", "shed"):
        assert paged[name].intervals == whole[name].intervals  # type: ignore[union-attr]


def test_a_fleet_query_returns_each_nodes_refusal(fleet: Settings) -> None:
    result = api.query_all(fleet, start=END, end=START)
    assert not result.answers
    assert {name: error.code for name, error in result.refused.items()} == {
        "porch": "bad_request",
        "shed": "bad_request",
    }


def test_a_fleet_query_names_the_node_that_did_not_answer(fleet: Settings) -> None:
    async def run() -> None:
        token = node_token(fleet.ably.api_key, "attic", 60, now())
        link = Link(fleet.ably.endpoint, lambda: token, 60)
        await link.open()
        await link.enter("imhearing:nodes", {"node": "attic"})
        try:
            async with api.connect_fleet(fleet) as door:
                async with asyncio.timeout(DEADLINE):
                    result = await api.query_fleet(door, Request(id=new_id(), type="status"), 5)
                assert (sorted(result.answers), result.silent) == (["porch", "shed"], ("attic",))
        finally:
            await link.close()

    asyncio.run(run())


def test_a_fleet_query_without_nodes_returns_no_answers_and_no_error() -> None:
    with server_in_thread() as server:
        settings = Settings(ably=replace(Settings().ably, api_key=server.api_key, endpoint=server.endpoint))
        result = api.query_all(settings, type="status", timeout=DEADLINE)
        assert (result.answers, result.refused, result.silent) == ({}, {}, ())
