"""Several nodes at once, events told on Ably, tokens that live for seconds, and `imhearing token`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import imhearing
from edge.configuration.settings import Mqtt, Secret, Settings
from edge.core import wire
from edge.core.errors import DoorError
from edge.core.instant import Instant
from edge.messaging.bus import Bus
from edge.messaging.events import ArchiveChanged, ArchiverState, RecorderState, SoundHeard
from query_service import api
from query_service.doors.ably import AblyDoor
from query_service.doors.ably_sender import EventFeed
from query_service.loopback.connections import ServerLimits
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import Answer, Request, new_id
from query_service.queries.status import StatusAnswer
from query_service.queries.values import refusal
from query_service.realtime.link import Delivery, Link
from query_service.realtime.tokens import claims_of, client_token, node_token
from tests.support.messaging import realtime
from tests.support.messaging.broker import running_broker
from tests.support.messaging.realtime import in_loop, running_server, server_in_thread
from tests.support.nodes.query_node import QueryNode, running_service
from tests.support.spool.chunks import START, STREAM
from tests.support.wait import DEADLINE

SECOND = 1_000_000
END = Instant(START + 5 * SECOND)


def now() -> Instant:
    return Instant.from_seconds(time.time())


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Two nodes, porch with 5 chunks and shed with 3; the settings of one who asks."""
    with server_in_thread() as server, contextlib.ExitStack() as stack:
        for name, chunks in (("porch", 5), ("shed", 3)):
            made = QueryNode(tmp_path_factory.mktemp(name), chunks, name).with_doors(server)
            stack.enter_context(running_service(made))
            api.query(made, "ably", type="status")
        yield Settings(ably=made.ably)


def test_every_node_answers_one_question(fleet: Settings) -> None:
    told = api.query_all(fleet, start=START, end=END)
    assert (sorted(told.answers), told.refused, told.silent) == (["porch", "shed"], {}, ())
    for name, chunks in (("porch", 5), ("shed", 3)):
        answer = told.answers[name]
        assert isinstance(answer, CoverageAnswer)
        assert answer.node == name
        assert sum(type(interval).__name__ == "Pending" for interval in answer.intervals) == chunks
    statuses = api.query_all(fleet, type="status").answers
    assert all(isinstance(answer, StatusAnswer) and answer.node == name for name, answer in statuses.items())


def test_each_node_goes_on_with_its_own_pages(fleet: Settings) -> None:
    whole = api.query_all(fleet, start=START, end=END).answers
    paged = api.query_all(fleet, start=START, end=END, limit=1).answers
    for name in ("porch", "shed"):
        assert paged[name].intervals == whole[name].intervals  # type: ignore[union-attr]


def test_a_refusal_is_told_of_each_node(fleet: Settings) -> None:
    told = api.query_all(fleet, start=END, end=START)
    assert not told.answers
    assert {name: error.code for name, error in told.refused.items()} == {"porch": "bad_request", "shed": "bad_request"}


def test_a_node_that_stays_silent_is_named(fleet: Settings) -> None:
    async def run() -> None:
        token = node_token(fleet.ably.api_key, "attic", 60, now())
        link = Link(fleet.ably.endpoint, lambda: token, 60)
        await link.open()
        await link.enter("imhearing:nodes", {"node": "attic"})
        try:
            async with api.connect_fleet(fleet) as door:
                async with asyncio.timeout(DEADLINE):
                    told = await api.query_fleet(door, Request(id=new_id(), type="status"), 5)
                assert (sorted(told.answers), told.silent) == (["porch", "shed"], ("attic",))
        finally:
            await link.close()

    asyncio.run(run())


def test_nobody_there_is_no_error() -> None:
    with server_in_thread() as server:
        settings = Settings(ably=replace(Settings().ably, api_key=server.api_key, endpoint=server.endpoint))
        told = api.query_all(settings, type="status", timeout=DEADLINE)
        assert (told.answers, told.refused, told.silent) == ({}, {}, ())


def run_imhearing(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, imhearing.__file__, *arguments],
        env=os.environ | environment, capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip


def test_the_token_command_gives_a_token_that_asks(fleet: Settings, tmp_path: Path) -> None:
    here = ["--data", str(tmp_path), "--set", f"ably.endpoint={fleet.ably.endpoint}"]
    key = fleet.ably.api_key.reveal()
    made = run_imhearing("token", "--client", "grandma", "--ttl", "90s", *here, IMHEARING_ABLY_API_KEY=key)
    assert made.returncode == 0, made.stderr
    token = made.stdout.removesuffix("\n")
    claims = claims_of(token)
    assert claims.client_id == "grandma"
    assert 80 < claims.exp - time.time() <= 90
    assert token not in made.stderr
    assert f"only valid on this machine, with --set ably.endpoint={fleet.ably.endpoint}" in made.stderr
    span = ["--from", str(START), "--to", str(END)]
    asked = run_imhearing("query", "--via", "ably", "--node", "all", "--json", *span, *here, IMHEARING_ABLY_TOKEN=token)
    assert asked.returncode == 0, asked.stderr
    assert sorted(json.loads(asked.stdout)["answers"]) == ["porch", "shed"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--client", "*"], 2, "client id '*'"),
        (["--client", "a b"], 2, "client id"),
        (["--client", ""], 2, "client id"),
        (["--client", "x", "--ttl", "soon"], 2, "not a duration"),
        (["--client", "x", "--ttl", "400d"], 2, "--ttl 400d"),
        ([], 2, "--client"),
    ],
)
def test_what_no_token_is_made_for(arguments: list[str], code: int, said: str, tmp_path: Path) -> None:
    done = run_imhearing("token", *arguments, "--data", str(tmp_path), IMHEARING_ABLY_API_KEY="app.key:secret")
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "secret" not in done.stderr


def test_without_a_key_no_token(tmp_path: Path) -> None:
    done = run_imhearing("token", "--client", "x", "--data", str(tmp_path), IMHEARING_ABLY_API_KEY="")
    assert (done.returncode, done.stdout) == (78, "")
    assert "api_key" in done.stderr


@in_loop
async def test_a_token_of_three_seconds_is_renewed_again_and_again() -> None:
    """On the open connection, which lives on: what is sent to it meanwhile arrives."""
    made: list[float] = []
    heard: list[Delivery] = []
    async with running_server(ServerLimits(reauth_seconds=0)) as server:  # it does not ask for a new one by itself

        def token() -> str:
            made.append(time.monotonic())
            return node_token(server.api_key, "porch", 3, now())

        link = Link(server.endpoint, token, 3)
        await link.open()
        await link.subscribe("imhearing:requests:porch", heard.append)
        connection = link._client.connection.connection_manager.connection_id
        keeping = asyncio.create_task(link.keep())
        async with realtime.client(server, "ann") as ann:
            asked = 0
            while len(made) < 6:
                assert not keeping.done(), keeping.exception()
                await ann.channels.get("imhearing:requests:porch").publish("query", b"{}")
                asked += 1
                await asyncio.sleep(0.3)
            async with asyncio.timeout(DEADLINE):
                while len(heard) < asked:
                    await asyncio.sleep(0.02)
        assert link._client.connection.connection_manager.connection_id == connection
        assert len(heard) == asked
        keeping.cancel()
        await link.close()


@in_loop
async def test_who_asks_renews_its_token_too() -> None:
    async with running_server(ServerLimits(reauth_seconds=0)) as server:

        async def answer(request: Request) -> Answer:
            return refusal(request.id, "porch", "encrypted", "made up")

        def token() -> str:
            return node_token(server.api_key, "porch", 60, now())

        door = AblyDoor("porch", answer, lambda: Link(server.endpoint, token, 60))
        running = asyncio.create_task(door.run())
        await asyncio.wait_for(door.opened(), DEADLINE)
        from query_service.client.ably import AblyClient  # noqa: PLC0415

        asking = AblyClient(
            server.endpoint, "porch", "ann", lambda: client_token(server.api_key, "ann", 2, now()), 2
        )  # fmt: skip
        await asking.open()
        for _ in range(12):
            await asking.query(Request(id=new_id(), type="status"), DEADLINE)
            await asyncio.sleep(0.5)
        await asking.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_an_outage_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """The SDK leaves a failed task behind at each attempt: not a traceback for each."""

    async def run() -> None:
        async with running_server() as server:
            token = node_token(server.api_key, "porch", 60, now())
            link = Link(server.endpoint, lambda: token, 60)
            await link.open()
        await asyncio.sleep(3)
        await link.close()
        del link
        gc.collect()
        await asyncio.sleep(0.1)

        async def ours() -> None:
            raise ValueError("a fault of our own")

        task = asyncio.create_task(ours())
        await asyncio.wait({task})
        del task
        gc.collect()

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    told = [record for record in caplog.records if record.name == "asyncio"]
    assert ["a fault of our own" in (record.exc_text or str(record.exc_info)) for record in told] == [True]


def test_a_token_that_is_none_is_refused_before_anything_is_sent() -> None:
    for text in ("", "a.b.c", "a", "e30.e30.x", "\x00.\x00.\x00"):
        with pytest.raises(DoorError, match="imhearing token"):
            claims_of(text)
    with pytest.raises(DoorError, match="imhearing token"):
        api.query(Settings(ably=replace(Settings().ably, token=Secret("x"))), "ably", node="porch", type="status")


EVENTS: list[Any] = [
    RecorderState(at=START, node="porch", state="recording", since=START),
    SoundHeard(
        at=START, node="porch", event="ended", sound_id=f"{STREAM}-s5", lafmax=-20.0, laeq=-25.0, unit="dBFS",
        started_at=START, ended_at=END,
    ),
    ArchiverState(at=START, node="porch", state="uploading", backlog_chunks=4, backlog_bytes=5),
    ArchiveChanged(
        at=START, node="porch", event="uploaded", archive_id=f"{STREAM}-000000-0123abcd", bucket="b", key="k", bytes=1,
        sha256="0" * 64, chunks=1, started_at=START, ended_at=END,
    ),
]  # fmt: skip


def test_what_happens_is_told_on_ably_where_it_is_wanted(tmp_path: Path) -> None:
    with server_in_thread() as server, running_broker() as broker:
        mqtt = Mqtt(host=broker.host, port=broker.port)
        settings = QueryNode(tmp_path).with_doors(server, mqtt)
        settings = replace(settings, ably=replace(settings.ably, events="yes"))

        async def run() -> None:
            heard: list[tuple[str, bytes]] = []
            async with realtime.client(server, "ann") as ann:
                channel = ann.channels.get("imhearing:events:porch")
                await channel.subscribe(lambda message: heard.append((message.name, bytes(message.data))))
                bus = Bus(mqtt, "porch", "recorder", "test")
                bus.start()
                assert bus.wait_connected(DEADLINE)
                for event in EVENTS:
                    bus.publish(event)
                bus.send("imhearing/porch/recorder/sound", b'{"not": "a sound"}')
                bus.publish(replace(EVENTS[2], backlog_chunks=5))  # progress is no news
                async with asyncio.timeout(DEADLINE):
                    while len(heard) < 4:
                        await asyncio.sleep(0.02)
                    bus.publish(replace(EVENTS[0], state="paused"))
                    while len(heard) < 5:
                        await asyncio.sleep(0.02)
                bus.stop()
            expected = [(event.TOPIC, wire.encode(event)) for event in (*EVENTS, replace(EVENTS[0], state="paused"))]
            assert sorted(heard) == sorted(expected)

        with running_service(settings):
            api.query(settings, "ably", type="status")
            api.query(settings, "mqtt", type="status")
            asyncio.run(run())


@in_loop
async def test_what_nobody_takes_is_bounded_and_the_newest_stay() -> None:
    feed = EventFeed()
    for number in range(1_000):
        feed.put(replace(EVENTS[1], lafmax=float(number)), False)
        feed.put(replace(EVENTS[0], state="recording" if number % 2 else "paused"), True)
    feed.put(EVENTS[1], True)  # a sound that was retained is somebody's mistake
    taken = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            while True:
                taken.append(await feed.next())
    assert len(taken) == 200
    sounds = [wire.decode(told.data, SoundHeard).lafmax for told in taken if told.name == "recorder/sound"]
    assert sounds == [float(number) for number in range(1_000 - len(sounds), 1_000)]
    assert [json.loads(told.data)["state"] for told in taken if told.name == "recorder/state"] in ([], ["recording"])
