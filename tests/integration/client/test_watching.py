"""`imhearing status` and `imhearing watch` through every door of a running node, and of a node with a namesake."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
from msgspec.structs import replace

import imhearing
from edge.configuration.settings import Http, Mqtt, Settings
from edge.core import wire
from edge.core.errors import DoorError
from edge.core.instant import Instant
from edge.core.values import Hole, SoundSpan, SpoolState
from edge.embedded import ports
from edge.messaging.bus import Bus
from edge.messaging.events import GapFound, RecorderState, SoundHeard
from edge.spool.spool import Spool
from query_service import api
from query_service.api import NodeEvent, Via
from query_service.doors.ably import AblyDoor
from query_service.loopback.server import RealtimeServer
from query_service.queries.protocol import Answer, Request
from query_service.queries.values import ErrorAnswer, refusal
from query_service.realtime.link import Link
from query_service.realtime.tokens import node_token
from tests.support.messaging.ably_door import RawClient, raw_client, request_body
from tests.support.messaging.broker import running_broker
from tests.support.messaging.realtime import in_loop, now, running_server, server_in_thread
from tests.support.nodes.query_node import QueryNode, running_service
from tests.support.spool.chunks import BOOT, RATE, SECOND, STREAM, audio_bytes, make_chunk, make_stream, put_chunk
from tests.support.wait import DEADLINE

VIAS: tuple[Via, ...] = get_args(Via)
EVENT = SoundHeard(
    at=Instant(5 * SECOND), node="porch", event="started", sound_id=f"{STREAM}-s5", lafmax=-20.0, laeq=-25.0,
    unit="dBFS", started_at=Instant(5 * SECOND),
)  # fmt: skip
UNTIL = Instant.parse("2099-01-01T00:00:00Z")  # the end of a pause


class Porch(NamedTuple):
    """A node with all doors; its recorder is the test."""

    settings: Settings
    spool: Spool
    mqtt: Mqtt
    server: RealtimeServer

    def records(self, state: str = "recording") -> None:
        until = UNTIL if state == "paused" else None
        recorder_state = SpoolState(state=state, since=now(), until=until, boot_id=BOOT, ordinal=1)  # type: ignore[arg-type]
        self.spool.state.write(recorder_state)

    def finishes_chunk(self, number: int, sounds: tuple[SoundSpan, ...] = (), gap: int = 0) -> Instant:
        """A chunk of one second that ends now, after a hole of `gap` µs; when it begins."""
        stream, start = f"20261122T10000{number}Z-abcd", Instant(now() - SECOND)
        before = (Hole("overrun", Instant(start - gap), start),) if gap else ()
        self.spool.streams.write(make_stream(stream, ordinal=number + 1, knots=((0, start),)))
        data = audio_bytes(number)
        put_chunk(
            self.spool, make_chunk(0, data, stream_id=stream, start=start, sounds=sounds, before=before), data
        )  # fmt: skip
        return start


@pytest.fixture(params=["no", "yes"])
def events(request: pytest.FixtureRequest) -> Any:
    """[ably] events"""
    return request.param


@pytest.fixture
def porch(tmp_path: Path, events: Any) -> Iterator[Porch]:
    with server_in_thread() as server, running_broker() as broker:
        made = QueryNode(tmp_path, chunks=0)
        mqtt = Mqtt(host=broker.host, port=broker.port)
        doors = made.with_doors(server, mqtt)
        settings = replace(doors, http=Http(port=ports.choose(None)), ably=replace(doors.ably, events=events))
        node = Porch(settings, made.spool, mqtt, server)
        node.records()
        with made.spool.recorder_lock.hold(), running_service(settings):
            for via in VIAS:
                api.query(settings, via, type="status")
            yield node


async def first(heard: AsyncIterator[NodeEvent], kind: Any, count: int) -> list[Any]:
    """The next `count` events of a kind."""
    found: list[Any] = []
    async with asyncio.timeout(DEADLINE):
        async for event in heard:
            if event.topic == f"imhearing/porch/{kind.TOPIC}":
                found.append(wire.decode(event.payload, kind))
                if len(found) == count:
                    break
    return found


@pytest.mark.parametrize("events", ["no"], indirect=True)
@pytest.mark.parametrize("via", VIAS)
def test_watch_reports_new_gaps_and_sounds_through_every_door(porch: Porch, via: Via) -> None:
    async def run() -> None:
        porch.finishes_chunk(0)
        async with api.connect(porch.settings, via) as door:
            heard = api.watch(door, pause=0.05)
            (state,) = await first(heard, RecorderState, 1)
            assert (state.state, state.reason) == ("recording", None)
            await asyncio.sleep(1.2)  # the next chunk must begin after the first one's end
            began = porch.finishes_chunk(
                1, (SoundSpan(f"20261122T100001Z-abcd-s{RATE // 2}", RATE // 2, 800, -20.0, -25.0),)
            )
            (gap,) = await first(heard, GapFound, 1)
            assert gap.ended_at == began
            (sound,) = await first(heard, SoundHeard, 1)
            assert (sound.event, sound.started_at) == ("ended", began + SECOND // 2)
            assert sound.ended_at == began + SECOND // 2 + SECOND // 10
            porch.records("paused")
            (state,) = await first(heard, RecorderState, 1)
            assert (state.state, state.until) == ("paused", UNTIL)

    asyncio.run(run())


@pytest.mark.parametrize("events", ["yes"], indirect=True)
def test_watch_over_ably_receives_events_without_polling(porch: Porch) -> None:
    async def run() -> None:
        async with api.connect(porch.settings, "ably") as door:
            heard = api.watch(door, pause=1_000)
            assert (await first(heard, RecorderState, 1))[0].state == "recording"
            bus = Bus(porch.mqtt, "porch", "recorder")
            bus.start()
            assert await asyncio.to_thread(bus.wait_connected, DEADLINE)
            bus.publish(EVENT)
            assert await first(heard, SoundHeard, 1) == [EVENT]
            bus.stop()

    asyncio.run(run())


@pytest.mark.parametrize("events", ["yes"], indirect=True)
def test_a_lost_connection_ends_the_watch_with_its_reason(porch: Porch, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        lost = asyncio.Event()

        async def keep(_link: Link) -> None:
            await lost.wait()
            raise DoorError("the line is lost")

        monkeypatch.setattr(Link, "keep", keep)
        async with api.connect(porch.settings, "ably") as door:
            heard = api.watch(door, pause=1_000)
            await anext(heard)

            lost.set()
            with pytest.raises(DoorError, match="the line is lost"):
                await asyncio.wait_for(anext(heard), DEADLINE)

    asyncio.run(run())


def command(porch: Porch, folder: Path, *arguments: str) -> list[str]:
    """One `imhearing` command of somebody who has no folder of that node."""
    known = [
        f"mqtt.host={porch.mqtt.host}", f"mqtt.port={porch.mqtt.port}", f"http.port={porch.settings.http.port}",
        f"ably.endpoint={porch.server.endpoint}", "node.name=elsewhere",
    ]  # fmt: skip
    sets = [part for each in known for part in ("--set", each)]
    return [sys.executable, imhearing.__file__, *arguments, "--data", str(folder), *sets]


def environment(porch: Porch) -> dict[str, str]:
    return os.environ | {"IMHEARING_ABLY_API_KEY": porch.server.api_key.reveal()}


def run(porch: Porch, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(porch, folder, *arguments),
        env=environment(porch), capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("events", ["no"], indirect=True)
def test_status_works_through_every_door(
    porch: Porch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for via, name in (("ably", "porch"), ("mqtt", "porch"), ("http", "porch"), ("http", None), ("ably", "all")):
        node = ("--node", name) if name else ()
        porch.records()
        done = run(porch, elsewhere, "status", "--via", via, *node)
        assert done.returncode == 0, (via, done.stderr)
        assert "node      porch" in done.stdout
        assert ("recorder      OFFLINE" in done.stdout) == (via == "mqtt")  # of services a broker alone knows
    porch.records("paused")
    done = run(porch, elsewhere, "status", "--via", "http", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["recording"] is False
    assert run(porch, elsewhere, "status", "--via", "ably", "--node", "all").returncode == 1
    wrong = run(porch, elsewhere, "status", "--via", "http", "--node", "all")
    assert (wrong.returncode, "only Ably reaches every node" in wrong.stderr) == (2, True)
    wrong = run(porch, elsewhere, "status", "--via", "pigeon")
    assert (wrong.returncode, "local, ably, mqtt, http" in wrong.stderr) == (2, True)
    here = run(porch, tmp_path, "status", "--node", "shed")
    assert here.returncode == 1
    assert "shed" in here.stderr


@pytest.mark.parametrize("events", ["no"], indirect=True)
@pytest.mark.parametrize("via", VIAS)
def test_the_watch_command_shows_the_state_and_stops_on_ctrl_c(
    porch: Porch, via: Via, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path if via == "local" else tmp_path_factory.mktemp("elsewhere")
    words = command(porch, folder, "watch", "--via", via, "--json", "--node", "porch")
    words = [*words, "--set", "node.name=porch"] if via == "local" else words
    with subprocess.Popen(
        words, env=environment(porch), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        deadline = threading.Timer(DEADLINE, watching.kill)
        deadline.start()
        try:
            assert watching.stdout is not None
            line = watching.stdout.readline()
        finally:
            deadline.cancel()
            watching.send_signal(2)
        _, errors = watching.communicate(timeout=DEADLINE)
    topic = json.loads(line)["topic"]
    assert topic == ("imhearing/porch/query/status" if via == "mqtt" else "imhearing/porch/recorder/state"), errors
    assert watching.returncode == 130
    assert "watching porch" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("events", ["no"], indirect=True)
def test_watching_an_unknown_node_fails_at_once(porch: Porch, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for via in ("ably", "http", "mqtt"):
        words = ("watch", "--via", via, "--timeout", "1", "--node", "attic" if via != "mqtt" else "a/#")
        done = run(porch, elsewhere, *words)
        assert done.returncode != 0
        assert done.stdout == ""
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("events", ["no"], indirect=True)
def test_watching_a_node_unknown_to_the_broker_prints_a_hint(
    porch: Porch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    words = command(porch, tmp_path_factory.mktemp("elsewhere"), "watch", "--node", "attic")
    with subprocess.Popen(
        words, env=environment(porch), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        deadline = threading.Timer(DEADLINE, watching.kill)
        deadline.start()
        try:
            assert watching.stderr is not None
            lines = [watching.stderr.readline() for _ in range(2)]
        finally:
            deadline.cancel()
            watching.send_signal(2)
        assert watching.wait(DEADLINE) == 130
    assert lines[0] == "watching attic; Ctrl-C ends\n"
    assert "the broker has nothing from attic; is it running, and is the name right?" in lines[1]


class Namesakes:
    """Doors called porch on one server, each with an instance of its own."""

    def __init__(self, server: RealtimeServer) -> None:
        self._server = server
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self, instance: str) -> AblyDoor:
        async def answer(request: Request, client: str) -> Answer:
            return refusal(request.id, "porch", "encrypted", instance)

        def token() -> str:
            return node_token(self._server.api_key, "porch", 3_600, Instant.from_seconds(time.time()))

        door = AblyDoor("porch", answer, lambda: Link(self._server.endpoint, token, 3_600), instance=instance)
        self._running[instance] = asyncio.create_task(door.run())
        return door

    async def stop(self, instance: str) -> None:
        task = self._running.pop(instance)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def stop_all(self) -> None:
        for instance in list(self._running):
            await self.stop(instance)


@contextlib.asynccontextmanager
async def namesakes() -> AsyncIterator[tuple[Namesakes, RawClient]]:
    async with running_server() as server, raw_client(server, "ann") as ann:
        made = Namesakes(server)
        try:
            yield made, ann
        finally:
            await made.stop_all()


async def answered(ann: RawClient, number: int) -> str:
    await ann.send(request_body(f"question-{number}"))
    answer = (await ann.until(number))[-1]
    assert isinstance(answer, ErrorAnswer)
    return answer.error.message


async def opened(door: AblyDoor, seconds: float = 10.0) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(door.opened(), seconds)
        return True
    return False


def test_a_second_node_with_the_same_name_stays_off_until_the_first_leaves(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def run() -> None:
        async with namesakes() as (made, ann):
            assert await opened(made.start("one"))
            second = made.start("two")
            async with asyncio.timeout(DEADLINE):
                while "another node is called porch (instance 'one')" not in caplog.text:
                    await asyncio.sleep(0.02)
            assert [await answered(ann, number) for number in (1, 2, 3)] == ["one"] * 3
            assert not await opened(second, 0.1)
            assert second.silent_for() < 10
            await made.stop("one")
            assert await opened(second)
            assert await answered(ann, 4) == "two"

    with caplog.at_level(logging.WARNING):
        run()


@in_loop
async def test_of_two_nodes_that_start_at_once_one_gets_the_name() -> None:
    async with namesakes() as (made, ann):
        doors = [made.start(name) for name in ("one", "two")]
        waiting = [asyncio.create_task(opened(door, 20)) for door in doors]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert len({await answered(ann, number) for number in range(1, 6)}) == 1
        for task in waiting:
            task.cancel()


@in_loop
async def test_a_restarted_node_is_not_blocked_by_its_own_lingering_connection() -> None:
    async with namesakes() as (made, _ann):
        assert await opened(made.start("one"))
        lingering = made._running.pop("one")
        try:
            assert await opened(made.start("one"))
        finally:
            lingering.cancel()
            await asyncio.gather(lingering, return_exceptions=True)
