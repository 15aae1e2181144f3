"""The Ably door between the official SDK on both sides, over a local server that speaks its protocol."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from ably.types.channelstate import ChannelState
from ably.types.message import Message
from msgspec.structs import replace

from edge.configuration import settings as sections
from edge.configuration.settings import Mqtt, Secret, Settings
from edge.core import wire
from edge.core.errors import ConfigError, DoorError, QueryRefused
from edge.core.instant import Instant
from edge.messaging.bus import Bus
from edge.messaging.events import QueryStatus
from query_service import api
from query_service.client.paging import query_node
from query_service.doors.ably import AblyDoor
from query_service.loopback.connections import ServerLimits
from query_service.loopback.server import RealtimeServer
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import Answer, Request, new_id, read_answer
from query_service.queries.status import StatusAnswer
from query_service.queries.values import ErrorAnswer, refusal
from query_service.realtime.link import Delivery, Link
from query_service.realtime.tokens import client_token, node_token
from tests.support import realtime
from tests.support.broker import running_broker
from tests.support.chunks import START
from tests.support.query_node import QueryNode, running_service
from tests.support.realtime import running_server, server_in_thread
from tests.support.wait import DEADLINE, wait_for_return, wait_until

SECOND = 1_000_000
END = Instant(START + 5 * SECOND)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A node that answers over a local server."""
    with server_in_thread() as server:
        made = QueryNode(tmp_path).with_doors(server)
        with running_service(made):
            yield made


def coverage(**changes: Any) -> Request:
    return Request(**{"id": new_id(), "from_": START, "to": END, **changes})


def test_the_answer_is_the_same_as_at_home(settings: Settings) -> None:
    here = api.query(settings, "local", start=Instant(START - SECOND), end=END)
    there = api.query(settings, "ably", start=Instant(START - SECOND), end=END)
    assert isinstance(here, CoverageAnswer)
    assert isinstance(there, CoverageAnswer)
    assert there.intervals == here.intervals
    assert len(there.intervals) == 6


def test_a_long_answer_comes_in_pages(settings: Settings) -> None:
    paged = api.query(settings, "ably", start=START, end=END, limit=1)
    whole = api.query(settings, "ably", start=START, end=END)
    assert isinstance(paged, CoverageAnswer)
    assert isinstance(whole, CoverageAnswer)
    assert paged.intervals == whole.intervals


def test_status_tells_how_the_node_is(settings: Settings) -> None:
    answer = api.query(settings, "ably", type="status")
    assert isinstance(answer, StatusAnswer)
    assert answer.spool is not None
    assert (answer.node, answer.spool.chunks, answer.recorder.device) == ("porch", 5, "noise")
    assert answer.disk_free


def test_a_refusal_reaches_the_caller(settings: Settings) -> None:
    with pytest.raises(QueryRefused, match="from must be before to") as refused:
        api.query(settings, "ably", start=END, end=START)
    assert (refused.value.code, refused.value.field) == ("bad_request", "from")


def test_a_silent_node_is_named(settings: Settings) -> None:
    def ask_attic() -> object:
        return api.query(settings, "ably", start=START, end=END, node="attic", timeout=1.5)

    with pytest.raises(DoorError, match=r"node attic gave no answer within 1\.5 s"):
        wait_for_return(ask_attic, "the client gives up")


def test_a_client_token_is_enough(settings: Settings) -> None:
    token = client_token(settings.ably.api_key, "visitor", 60, Instant.from_seconds(time.time()))
    answer = api.query(settings, "ably", start=START, end=END, token=token)
    assert isinstance(answer, CoverageAnswer)
    with pytest.raises(DoorError, match="imhearing token"):
        api.query(settings, "ably", start=START, end=END, token="nonsense")


class RawClient:
    """Publishes what it likes on a request channel, and keeps what comes back."""

    def __init__(self, ably: Any, client_id: str) -> None:
        self._ably = ably
        self._client_id = client_id
        self.answers: list[Answer] = []
        self.raw: list[bytes] = []
        self._came = asyncio.Event()

    async def listen(self) -> None:
        await self._ably.channels.get(f"imhearing:replies:{self._client_id}").subscribe(self._receive)

    def _receive(self, message: Any) -> None:
        self.raw.append(bytes(message.data))
        self.answers.append(read_answer(message.data))
        self._came.set()

    async def send(self, data: Any, node: str = "porch", headers: dict[str, Any] | None = None) -> None:
        message = Message(name="query", data=data, extras={"headers": headers or {}})
        await self._ably.channels.get(f"imhearing:requests:{node}").publish(message)

    async def until(self, count: int, timeout: float = DEADLINE) -> list[Answer]:
        async with asyncio.timeout(timeout):
            while len(self.answers) < count:
                self._came.clear()
                await self._came.wait()
        return self.answers


@asynccontextmanager
async def raw_client(server: Any, client_id: str) -> AsyncIterator[RawClient]:
    async with realtime.client(server, client_id) as ably:
        raw = RawClient(ably, client_id)
        await raw.listen()
        yield raw


@asynccontextmanager
async def serving(server: Any, answer: Any = None) -> AsyncIterator[AblyDoor]:
    """An Ably door in this event loop whose answers are made up."""

    async def made_up(request: Request) -> Answer:
        return refusal(request.id, "porch", "encrypted", "made up")

    def token() -> str:
        return node_token(server.api_key, "porch", 3_600, Instant.from_seconds(time.time()))

    door = AblyDoor("porch", answer or made_up, lambda: Link(server.endpoint, token, 3_600))
    running = asyncio.create_task(door.run())
    try:
        async with asyncio.timeout(DEADLINE):
            await door.opened()
        yield door
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def body(request_id: str, **changes: Any) -> bytes:
    return json.dumps({"id": request_id, "type": "status", **changes}).encode()


@pytest.mark.parametrize(
    ("data", "request_id", "code"),
    [
        (b"\xff\x00", "", "bad_request"),
        ("not JSON", "", "bad_request"),
        (b"[]", "", "bad_request"),
        (None, "", "bad_request"),
        ({"id": "as-an-object", "type": "status"}, "as-an-object", "encrypted"),
        ('{"id": "as-text", "type": "status"}', "as-text", "encrypted"),
        (body("x1", v=3), "x1", "bad_request"),
        (body("x2", type="song"), "x2", "unknown_type"),
        (b" " * 20_000, "", "bad_request"),
    ],
)
def test_whatever_comes_gets_one_clear_answer(data: Any, request_id: str, code: str) -> None:
    async def run() -> None:
        async with running_server() as server, serving(server), raw_client(server, "visitor") as raw:
            await raw.send(data)
            (answer,) = await raw.until(1)
            assert isinstance(answer, ErrorAnswer)
            assert (answer.id, answer.error.code) == (request_id, code)

    asyncio.run(run())


def test_the_same_id_is_answered_once_worked_out_and_sent_again() -> None:
    async def run() -> None:
        asked = []

        async def answer(request: Request) -> Answer:
            asked.append(request.id)
            return refusal(request.id, "porch", "encrypted", f"made {len(asked)} times")

        async with running_server() as server, serving(server, answer), raw_client(server, "visitor") as raw:
            await raw.send(body("again"))
            await raw.until(1)
            await raw.send(body("again"))
            await raw.until(2)
            assert raw.raw[0] == raw.raw[1]
            assert asked == ["again"]
            await raw.send(body("again", limit=7))
            last = (await raw.until(3))[-1]
            assert isinstance(last, ErrorAnswer)
            assert (last.error.code, last.error.field) == ("bad_request", "id")

    asyncio.run(run())


def test_two_clients_of_the_same_id_get_their_own() -> None:
    async def run() -> None:
        async def answer(request: Request) -> Answer:
            return refusal(request.id, "porch", "encrypted", f"limit {request.limit}")

        async with (
            running_server() as server,
            serving(server, answer),
            raw_client(server, "one") as one,
            raw_client(server, "two") as two,
        ):
            await asyncio.gather(one.send(body("same", limit=1)), two.send(body("same", limit=2), node="all"))
            (first,), (second,) = await one.until(1), await two.until(1)
            assert isinstance(first, ErrorAnswer)
            assert isinstance(second, ErrorAnswer)
            assert (first.error.message, second.error.message) == ("limit 1", "limit 2")

    asyncio.run(run())


def test_a_question_without_a_client_id_is_not_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with running_server() as server, serving(server) as door:
            for client_id in (None, "", "*", "a:b", "x" * 65, "a\n"):
                door._receive(Delivery(client_id, "query", body("x"), {}))

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert caplog.text.count("without a client id") == 6


def test_a_flood_is_answered_to_the_last_request() -> None:
    async def run() -> None:
        async with (
            running_server() as server,
            serving(server),
            raw_client(server, "flood") as raw,
            raw_client(server, "quiet") as quiet,
        ):
            sending = [asyncio.create_task(raw.send(body(f"f{n}"))) for n in range(45)]
            await quiet.send(body("q"))
            (answer,) = await quiet.until(1, 5)
            assert isinstance(answer, ErrorAnswer)
            assert answer.error.code == "encrypted"
            await asyncio.gather(*sending)
            answers = await raw.until(45, 10)
            assert {answer.id for answer in answers} == {f"f{n}" for n in range(45)}

    asyncio.run(run())


def test_too_many_at_once_are_told_busy_and_may_ask_again() -> None:
    async def run() -> None:
        go_on = asyncio.Event()

        async def slow(request: Request) -> Answer:
            await go_on.wait()
            return refusal(request.id, "porch", "encrypted", "made up")

        async with running_server() as server, serving(server, slow), raw_client(server, "flood") as raw:
            await asyncio.gather(*(raw.send(body(f"f{n}")) for n in range(40)))
            busy = await raw.until(1)
            assert isinstance(busy[0], ErrorAnswer)
            assert busy[0].error.code == "busy"
            go_on.set()
            answers = await raw.until(40)
            again = [a.id for a in answers if isinstance(a, ErrorAnswer) and a.error.code == "busy"]
            assert again
            await raw.send(body(again[0]))
            last = (await raw.until(41))[-1]
            assert isinstance(last, ErrorAnswer)
            assert (last.id, last.error.code) == (again[0], "encrypted")

    asyncio.run(run())


def test_what_waits_too_long_is_told_so() -> None:
    async def run() -> None:
        async def slow(request: Request) -> Answer:
            await asyncio.sleep(0.3)
            return refusal(request.id, "porch", "encrypted", "made up")

        async with running_server() as server, serving(server, slow), raw_client(server, "visitor") as raw:
            await asyncio.gather(*(raw.send(body(f"f{n}"), headers={"deadline": 0.2}) for n in range(12)))
            answers = await raw.until(12)
            codes = {answer.error.code for answer in answers if isinstance(answer, ErrorAnswer)}
            assert codes == {"encrypted", "deadline"}

    asyncio.run(run())


def test_broken_sockets_lose_no_question() -> None:
    async def run() -> None:
        async with running_server() as server, serving(server):
            settings = _settings(server)
            async with api.connect(settings, "ably") as door:
                for round_ in range(6):
                    asking = [asyncio.create_task(door.query(coverage(), DEADLINE)) for _ in range(3)]
                    await asyncio.sleep(0)
                    server.cut_sockets(forget=round_ % 3 == 2)
                    for answer in await asyncio.gather(*asking):
                        assert isinstance(answer, ErrorAnswer)
                        assert answer.error.code == "encrypted"

    asyncio.run(run())


def _settings(server: Any) -> Settings:
    return Settings(node=sections.Node("porch"), ably=sections.Ably(Secret(server.api_key.reveal()), server.endpoint))


def test_the_door_opens_again_when_the_server_is_back() -> None:
    async def run() -> None:
        async with running_server() as first:
            port, key = first.port, first.api_key

            async def answer(request: Request) -> Answer:
                return refusal(request.id, "porch", "encrypted", "made up")

            def token() -> str:
                return node_token(key, "porch", 3_600, Instant.from_seconds(time.time()))

            door = AblyDoor("porch", answer, lambda: Link(f"127.0.0.1:{port}", token, 3_600))
            running = asyncio.create_task(door.run())
            await asyncio.wait_for(door.opened(), DEADLINE)
        async with RealtimeServer(key, port) as second, api.connect(_settings(second), "ably") as way:
            got = await way.query(coverage(), DEADLINE)
            assert isinstance(got, ErrorAnswer)
            assert got.error.code == "encrypted"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())


class Relay:
    """A TCP relay that can fall silent while its sockets stay open, as a dead mobile link does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.silent = False
        self.accepted = 0

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.endpoint = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer), return_exceptions=True)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            if not self.silent:
                target.write(data)
                await target.drain()
        target.close()


def test_tokens_are_renewed_before_they_end() -> None:
    """The server, which would end the connection with its token, sees no other one."""

    async def run() -> None:
        made: list[str] = []
        # it does not ask for a new token by itself
        async with running_server(ServerLimits(reauth_seconds=0)) as server, Relay(server.port) as relay:

            def token() -> str:
                made.append(node_token(server.api_key, "porch", 8, Instant.from_seconds(time.time())))
                return made[-1]

            link = Link(relay.endpoint, token, 8)
            await link.open()
            before = len(made)
            keeping = asyncio.create_task(link.keep())
            async with asyncio.timeout(DEADLINE):
                while len(made) == before and not keeping.done():
                    await asyncio.sleep(0.05)
            assert relay.accepted == 1
            assert not keeping.done()
            keeping.cancel()
            await link.close()

    asyncio.run(run())


def test_a_dead_socket_is_noticed() -> None:
    async def run() -> None:
        async with running_server() as server, Relay(server.port) as relay:

            def token() -> str:
                return node_token(server.api_key, "porch", 3_600, Instant.from_seconds(time.time()))

            link = Link(relay.endpoint, token, 3_600, ping_seconds=0.2)
            await link.open()
            keeping = asyncio.create_task(link.keep())
            await asyncio.sleep(0.6)
            assert not keeping.done()
            relay.silent = True
            with pytest.raises(DoorError, match="no reply to a ping"):
                await asyncio.wait_for(keeping, DEADLINE)
            await link.close()

    asyncio.run(run())


def test_a_channel_that_was_lost_is_noticed() -> None:
    async def run() -> None:
        async with running_server() as server:

            def token() -> str:
                return node_token(server.api_key, "porch", 3_600, Instant.from_seconds(time.time()))

            link = Link(server.endpoint, token, 3_600, ping_seconds=0.1)
            await link.open()
            await link.subscribe("imhearing:requests:porch", lambda _: None)
            keeping = asyncio.create_task(link.keep())
            await asyncio.sleep(0.3)
            assert not keeping.done()
            # as when the server sends an ERROR for the channel alone
            link._client.channels.get("imhearing:requests:porch")._notify_state(ChannelState.FAILED)
            with pytest.raises(DoorError, match="the server detached imhearing:requests:porch"):
                await asyncio.wait_for(keeping, DEADLINE)
            await link.close()

    asyncio.run(run())


def test_a_right_that_is_missing_is_said() -> None:
    async def run() -> None:
        async with running_server() as server:

            def token() -> str:
                return client_token(server.api_key, "visitor", 60, Instant.from_seconds(time.time()))

            link = Link(server.endpoint, token, 60)
            await link.open()
            with pytest.raises(DoorError, match="imhearing:requests:porch"):
                await link.subscribe("imhearing:requests:porch", lambda _: None)
            with pytest.raises(DoorError, match="imhearing:replies:other"):
                await link.publish("imhearing:replies:other", "answer", b"{}", {}, timeout=3)
            await link.close()

    asyncio.run(run())


def test_a_wrong_key_is_said(tmp_path: Path) -> None:
    with server_in_thread() as server:
        settings = _settings(server)
        key = Secret("local.abcdef:a-secret-that-this-server-does-not-know")
        wrong = replace(settings, ably=replace(settings.ably, api_key=key))
        with pytest.raises(DoorError):
            api.query(wrong, "ably", start=START, end=END, timeout=5)
        shapeless = replace(settings, ably=replace(settings.ably, api_key=Secret("shapeless")))
        with pytest.raises(ConfigError, match="name:secret"):
            api.query(shapeless, "ably", start=START, end=END, timeout=5)


def test_the_node_is_present_with_its_version() -> None:
    async def run() -> None:
        async with running_server() as server, serving(server), realtime.client(server, "visitor") as ably:
            members = await ably.channels.get("imhearing:nodes").presence.get()
            assert [(member.client_id, member.data["node"]) for member in members] == [("porch", "porch")]

    asyncio.run(run())


def test_the_service_says_online_and_in_the_end_offline(tmp_path: Path) -> None:
    with server_in_thread() as server, running_broker() as broker:
        mqtt = Mqtt(host=broker.host, port=broker.port)
        settings = QueryNode(tmp_path).with_doors(server, mqtt)
        heard: list[QueryStatus] = []
        bus = Bus(mqtt, "porch", "control", "test")
        bus.subscribe(QueryStatus, lambda status, _: heard.append(status))
        bus.start()
        try:
            with running_service(settings):
                wait_until(lambda: heard, "the service says online")
                assert heard[-1].state == "online"
                api.query(settings, "ably", start=START, end=END)
            wait_until(lambda: heard[-1].state == "offline", "the service says offline")
        finally:
            bus.stop()


def test_the_service_ends_although_its_connection_does_not_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = Link.close

    async def close_when_cancelled(link: Link) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await close(link)

    with server_in_thread() as server:
        settings = QueryNode(tmp_path).with_doors(server)
        with running_service(settings):  # which asserts that it ends
            api.query(settings, "ably", type="status")
            monkeypatch.setattr(Link, "close", close_when_cancelled)


def test_a_catalog_that_is_missing_is_busy_until_it_is_there(tmp_path: Path) -> None:
    with server_in_thread() as server:
        settings = QueryNode(tmp_path).with_doors(server)
        away = tmp_path / "catalog.away"
        settings.catalog.db_path.rename(away)
        with running_service(settings):
            with pytest.raises(QueryRefused) as refused:
                api.query(settings, "ably", start=START, end=END, timeout=6)
            assert refused.value.code == "busy"
            away.rename(settings.catalog.db_path)
            assert isinstance(api.query(settings, "ably", start=START, end=END), CoverageAnswer)


@pytest.mark.skipif(not os.environ.get("ABLY_API_KEY"), reason="needs a real key in ABLY_API_KEY")
def test_the_real_service(tmp_path: Path) -> None:
    settings = QueryNode(tmp_path).with_doors()
    settings = replace(settings, ably=replace(settings.ably, api_key=Secret(os.environ["ABLY_API_KEY"])))
    with running_service(settings):
        answer = api.query(settings, "ably", start=START, end=END, timeout=30)
    assert isinstance(answer, CoverageAnswer)


def test_twenty_clients_at_once_each_get_their_own_answers(settings: Settings) -> None:
    async def one(number: int) -> None:
        async with api.connect(settings, "ably", timeout=DEADLINE) as door:
            for turn in range(3):
                start = Instant(START + number * 1_000 + turn)
                answer = await query_node(door, coverage(from_=start), DEADLINE)
                assert isinstance(answer, CoverageAnswer)
                assert answer.from_ == start
                assert wire.encode(answer)

    async def run() -> None:
        await asyncio.gather(*(one(number) for number in range(20)))

    asyncio.run(run())
