"""The Ably door between the official SDK on both sides, over a local server that speaks its protocol."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from edge.configuration.settings import Secret, Settings
from edge.core import wire
from edge.core.errors import DoorError, QueryRefused
from edge.core.instant import Instant
from query_service import api
from query_service.client.paging import query_node
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import Answer, Request
from query_service.queries.status import StatusAnswer
from query_service.queries.values import ErrorAnswer, refusal
from query_service.realtime.link import Delivery
from query_service.realtime.tokens import client_token
from tests.support.messaging.ably_door import fake_ably_door, raw_client, request_body
from tests.support.messaging.realtime import running_server, server_in_thread
from tests.support.nodes.all_doors import END, coverage_request
from tests.support.nodes.query_node import QueryNode, running_service
from tests.support.spool.chunks import SECOND, START
from tests.support.wait import DEADLINE, wait_for_return


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A node that answers over a local server."""
    with server_in_thread() as server:
        made = QueryNode(tmp_path).with_doors(server)
        with running_service(made):
            yield made


def test_an_answer_over_ably_equals_the_local_one(settings: Settings) -> None:
    here = api.query(settings, "local", start=Instant(START - SECOND), end=END)
    there = api.query(settings, "ably", start=Instant(START - SECOND), end=END)
    assert isinstance(here, CoverageAnswer)
    assert isinstance(there, CoverageAnswer)
    assert there.intervals == here.intervals
    assert len(there.intervals) == 6


def test_pages_over_ably_join_to_the_whole_answer(settings: Settings) -> None:
    paged = api.query(settings, "ably", start=START, end=END, limit=1)
    whole = api.query(settings, "ably", start=START, end=END)
    assert isinstance(paged, CoverageAnswer)
    assert isinstance(whole, CoverageAnswer)
    assert paged.intervals == whole.intervals


def test_status_over_ably_describes_the_node(settings: Settings) -> None:
    answer = api.query(settings, "ably", type="status")
    assert isinstance(answer, StatusAnswer)
    assert answer.spool is not None
    assert (answer.node, answer.spool.chunks, answer.recorder.device) == ("porch", 5, "noise")
    assert answer.disk_free


def test_a_refusal_over_ably_is_raised_with_its_code_and_field(settings: Settings) -> None:
    with pytest.raises(QueryRefused, match="from must be before to") as refused:
        api.query(settings, "ably", start=END, end=START)
    assert (refused.value.code, refused.value.field) == ("bad_request", "from")


def test_a_node_that_does_not_answer_over_ably_is_named(settings: Settings) -> None:
    def ask_attic() -> object:
        return api.query(settings, "ably", start=START, end=END, node="attic", timeout=1.5)

    with pytest.raises(DoorError, match=r"node attic gave no answer within 1\.5 s"):
        wait_for_return(ask_attic, "the client gives up")


def test_a_client_token_is_enough_to_query(settings: Settings) -> None:
    token = client_token(settings.ably.api_key, "visitor", 60, Instant.from_seconds(time.time()))
    answer = api.query(settings, "ably", start=START, end=END, token=token)
    assert isinstance(answer, CoverageAnswer)
    with pytest.raises(DoorError, match="imhearing token"):
        api.query(settings, "ably", start=START, end=END, token="nonsense")


@pytest.mark.parametrize(
    ("data", "request_id", "code"),
    [
        (b"\xff\x00", "", "bad_request"),
        ("not JSON", "", "bad_request"),
        (b"[]", "", "bad_request"),
        (None, "", "bad_request"),
        ({"id": "as-an-object", "type": "status"}, "as-an-object", "encrypted"),
        ('{"id": "as-text", "type": "status"}', "as-text", "encrypted"),
        (request_body("x1", v=3), "x1", "bad_request"),
        (request_body("x2", type="song"), "x2", "unknown_type"),
        (b" " * 20_000, "", "bad_request"),
    ],
)
def test_malformed_messages_over_ably_get_one_clear_answer(data: Any, request_id: str, code: str) -> None:
    async def run() -> None:
        async with running_server() as server, fake_ably_door(server), raw_client(server, "visitor") as raw:
            await raw.send(data)
            (answer,) = await raw.until(1)
            assert isinstance(answer, ErrorAnswer)
            assert (answer.id, answer.error.code) == (request_id, code)

    asyncio.run(run())


@pytest.mark.parametrize("name", ["hello", None])
def test_a_message_that_is_not_named_query_is_not_answered_like_one(name: str | None) -> None:
    async def run() -> None:
        async with running_server() as server, fake_ably_door(server), raw_client(server, "visitor") as raw:
            await raw.send(request_body("x", type="status"), name=name)
            (answer,) = await raw.until(1)
            assert isinstance(answer, ErrorAnswer)
            assert (answer.id, answer.error.code) == ("x", "bad_request")
            assert "a query is named 'query'" in answer.error.message

    asyncio.run(run())


def test_a_repeated_request_is_computed_once_and_answered_again() -> None:
    async def run() -> None:
        computed = []

        async def answer(request: Request, client: str) -> Answer:
            computed.append(request.id)
            return refusal(request.id, "porch", "encrypted", f"made {len(computed)} times")

        async with running_server() as server, fake_ably_door(server, answer), raw_client(server, "visitor") as raw:
            await raw.send(request_body("again"))
            await raw.until(1)
            await raw.send(request_body("again"))
            await raw.until(2)
            assert raw.raw[0] == raw.raw[1]
            assert computed == ["again"]
            await raw.send(request_body("again", limit=7))
            last = (await raw.until(3))[-1]
            assert isinstance(last, ErrorAnswer)
            assert (last.error.code, last.error.field) == ("bad_request", "id")

    asyncio.run(run())


def test_two_clients_with_the_same_request_id_get_their_own_answers() -> None:
    async def run() -> None:
        async def answer(request: Request, client: str) -> Answer:
            return refusal(request.id, "porch", "encrypted", f"limit {request.limit}")

        async with (
            running_server() as server,
            fake_ably_door(server, answer),
            raw_client(server, "one") as one,
            raw_client(server, "two") as two,
        ):
            await asyncio.gather(
                one.send(request_body("same", limit=1)), two.send(request_body("same", limit=2), node="all")
            )
            (first,), (second,) = await one.until(1), await two.until(1)
            assert isinstance(first, ErrorAnswer)
            assert isinstance(second, ErrorAnswer)
            assert (first.error.message, second.error.message) == ("limit 1", "limit 2")

    asyncio.run(run())


def test_a_query_without_a_valid_client_id_is_not_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with running_server() as server, fake_ably_door(server) as door:
            for client_id in (None, "", "*", "a:b", "x" * 65, "a\n"):
                door._receive(Delivery(client_id, "query", request_body("x"), {}))

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert caplog.text.count("without a client id") == 6


def test_a_flood_is_answered_completely_and_does_not_starve_other_clients() -> None:
    async def run() -> None:
        async with (
            running_server() as server,
            fake_ably_door(server),
            raw_client(server, "flood") as raw,
            raw_client(server, "quiet") as quiet,
        ):
            sending = [asyncio.create_task(raw.send(request_body(f"f{n}"))) for n in range(45)]
            await quiet.send(request_body("q"))
            (answer,) = await quiet.until(1, 5)
            assert isinstance(answer, ErrorAnswer)
            assert answer.error.code == "encrypted"
            await asyncio.gather(*sending)
            answers = await raw.until(45, 10)
            assert {answer.id for answer in answers} == {f"f{n}" for n in range(45)}

    asyncio.run(run())


def test_too_many_requests_at_once_over_ably_are_refused_as_busy_and_can_be_repeated() -> None:
    async def run() -> None:
        go_on = asyncio.Event()

        async def slow(request: Request, client: str) -> Answer:
            await go_on.wait()
            return refusal(request.id, "porch", "encrypted", "made up")

        async with running_server() as server, fake_ably_door(server, slow), raw_client(server, "flood") as raw:
            await asyncio.gather(*(raw.send(request_body(f"f{n}")) for n in range(40)))
            busy = await raw.until(1)
            assert isinstance(busy[0], ErrorAnswer)
            assert busy[0].error.code == "busy"
            go_on.set()
            answers = await raw.until(40)
            again = [a.id for a in answers if isinstance(a, ErrorAnswer) and a.error.code == "busy"]
            assert again
            await raw.send(request_body(again[0]))
            last = (await raw.until(41))[-1]
            assert isinstance(last, ErrorAnswer)
            assert (last.id, last.error.code) == (again[0], "encrypted")

    asyncio.run(run())


def test_requests_that_wait_too_long_are_answered_with_a_deadline_error() -> None:
    async def run() -> None:
        async def slow(request: Request, client: str) -> Answer:
            await asyncio.sleep(0.3)
            return refusal(request.id, "porch", "encrypted", "made up")

        async with running_server() as server, fake_ably_door(server, slow), raw_client(server, "visitor") as raw:
            await asyncio.gather(*(raw.send(request_body(f"f{n}"), headers={"deadline": 0.2}) for n in range(12)))
            answers = await raw.until(12)
            codes = {answer.error.code for answer in answers if isinstance(answer, ErrorAnswer)}
            assert codes == {"encrypted", "deadline"}

    asyncio.run(run())


@pytest.mark.skipif(not os.environ.get("ABLY_API_KEY"), reason="needs a real key in ABLY_API_KEY")
def test_the_node_works_with_the_real_ably_service(tmp_path: Path) -> None:
    settings = QueryNode(tmp_path).with_doors()
    settings = replace(settings, ably=replace(settings.ably, api_key=Secret(os.environ["ABLY_API_KEY"])))
    with running_service(settings):
        answer = api.query(settings, "ably", start=START, end=END, timeout=30)
    assert isinstance(answer, CoverageAnswer)


def test_twenty_concurrent_clients_each_get_their_own_answers(settings: Settings) -> None:
    async def one(number: int) -> None:
        async with api.connect(settings, "ably", timeout=DEADLINE) as door:
            for turn in range(3):
                start = Instant(START + number * 1_000 + turn)
                answer = await query_node(door, coverage_request(from_=start), DEADLINE)
                assert isinstance(answer, CoverageAnswer)
                assert answer.from_ == start
                assert wire.encode(answer)

    async def run() -> None:
        await asyncio.gather(*(one(number) for number in range(20)))

    asyncio.run(run())
