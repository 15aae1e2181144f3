"""The connection to Ably: broken sockets, dead links, expiring tokens, missing rights, start and end."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from ably.types.channelstate import ChannelState
from msgspec.structs import replace

from edge.configuration.settings import Mqtt, Secret
from edge.core.errors import ConfigError, DoorError, QueryRefused
from edge.core.instant import Instant
from edge.messaging.bus import Bus
from edge.messaging.events import QueryStatus
from query_service import api
from query_service.doors.ably import AblyDoor
from query_service.loopback.connections import ServerLimits
from query_service.loopback.server import RealtimeServer
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import Answer, Request
from query_service.queries.values import ErrorAnswer, refusal
from query_service.realtime.link import Link
from query_service.realtime.tokens import client_token, node_token
from tests.support.messaging import realtime
from tests.support.messaging.ably_door import ably_settings, fake_ably_door
from tests.support.messaging.broker import running_broker
from tests.support.messaging.realtime import running_server, server_in_thread
from tests.support.nodes.all_doors import END, coverage_request
from tests.support.nodes.query_node import QueryNode, running_service
from tests.support.spool.chunks import START
from tests.support.wait import DEADLINE, wait_until


def test_broken_sockets_lose_no_query() -> None:
    async def run() -> None:
        async with running_server() as server, fake_ably_door(server):
            settings = ably_settings(server)
            async with api.connect(settings, "ably") as door:
                for round_ in range(6):
                    asking = [asyncio.create_task(door.query(coverage_request(), DEADLINE)) for _ in range(3)]
                    await asyncio.sleep(0)
                    server.cut_sockets(forget=round_ % 3 == 2)
                    for answer in await asyncio.gather(*asking):
                        assert isinstance(answer, ErrorAnswer)
                        assert answer.error.code == "encrypted"

    asyncio.run(run())


def test_the_ably_door_reopens_when_the_server_is_back() -> None:
    async def run() -> None:
        async with running_server() as first:
            port, key = first.port, first.api_key

            async def answer(request: Request, client: str) -> Answer:
                return refusal(request.id, "porch", "encrypted", "made up")

            def token() -> str:
                return node_token(key, "porch", 3_600, Instant.from_seconds(time.time()))

            door = AblyDoor("porch", answer, lambda: Link(f"127.0.0.1:{port}", token, 3_600))
            running = asyncio.create_task(door.run())
            await asyncio.wait_for(door.opened(), DEADLINE)
        async with RealtimeServer(key, port) as second, api.connect(ably_settings(second), "ably") as way:
            got = await way.query(coverage_request(), DEADLINE)
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


def test_the_nodes_token_is_renewed_before_it_expires() -> None:
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


def test_a_dead_socket_is_detected_by_a_missing_ping_reply() -> None:
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


def test_a_channel_detached_by_the_server_is_detected() -> None:
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


def test_a_missing_capability_is_reported_with_the_channel() -> None:
    async def run() -> None:
        async with running_server() as server:

            def token() -> str:
                return client_token(server.api_key, "visitor", 60, Instant.from_seconds(time.time()))

            link = Link(server.endpoint, token, 60)
            await link.open()
            with pytest.raises(DoorError, match="imhearing:requests:porch"):
                await link.subscribe("imhearing:requests:porch", lambda _: None)
            with pytest.raises(DoorError, match="imhearing:replies:other"):
                await link.publish("imhearing:replies:other", "answer", b"{}", {}, timeout=DEADLINE)
            await link.close()

    asyncio.run(run())


def test_wrong_and_malformed_ably_keys_are_reported(tmp_path: Path) -> None:
    with server_in_thread() as server:
        settings = ably_settings(server)
        key = Secret("local.abcdef:a-secret-that-this-server-does-not-know")
        wrong = replace(settings, ably=replace(settings.ably, api_key=key))
        with pytest.raises(DoorError):
            api.query(wrong, "ably", start=START, end=END, timeout=5)
        shapeless = replace(settings, ably=replace(settings.ably, api_key=Secret("shapeless")))
        with pytest.raises(ConfigError, match="name:secret"):
            api.query(shapeless, "ably", start=START, end=END, timeout=5)


def test_the_node_enters_presence_with_its_name() -> None:
    async def run() -> None:
        async with running_server() as server, fake_ably_door(server), realtime.client(server, "visitor") as ably:
            members = await ably.channels.get("imhearing:nodes").presence.get()
            assert [(member.client_id, member.data["node"]) for member in members] == [("porch", "porch")]

    asyncio.run(run())


def test_the_query_service_announces_itself_online_and_then_offline(tmp_path: Path) -> None:
    with server_in_thread() as server, running_broker() as broker:
        mqtt = Mqtt(host=broker.host, port=broker.port)
        settings = QueryNode(tmp_path).with_doors(server, mqtt)
        heard: list[QueryStatus] = []
        bus = Bus(mqtt, "porch", "control")
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


def test_the_query_service_stops_although_its_ably_connection_does_not_close(
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


def test_queries_are_refused_as_busy_until_the_catalog_exists(tmp_path: Path) -> None:
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
