"""What a node publishes on Ably."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from edge.configuration.settings import Mqtt
from edge.core import wire
from edge.messaging.bus import Bus
from edge.messaging.events import ArchiveChanged, ArchiverState, RecorderState, SoundHeard
from query_service import api
from query_service.doors.ably_sender import EventFeed
from tests.support.messaging import realtime
from tests.support.messaging.broker import running_broker
from tests.support.messaging.realtime import in_loop, server_in_thread
from tests.support.nodes.all_doors import END
from tests.support.nodes.query_node import QueryNode, running_service
from tests.support.spool.chunks import START, STREAM
from tests.support.wait import DEADLINE

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


def test_events_are_published_on_ably_if_configured(tmp_path: Path) -> None:
    with server_in_thread() as server, running_broker() as broker:
        mqtt = Mqtt(host=broker.host, port=broker.port)
        settings = QueryNode(tmp_path).with_doors(server, mqtt)
        settings = replace(settings, ably=replace(settings.ably, events="yes"))

        async def run() -> None:
            heard: list[tuple[str, bytes]] = []
            async with realtime.client(server, "ann") as ann:
                channel = ann.channels.get("imhearing:events:porch")
                await channel.subscribe(lambda message: heard.append((message.name, bytes(message.data))))
                bus = Bus(mqtt, "porch", "recorder")
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
async def test_the_event_queue_is_bounded_and_keeps_the_newest_events() -> None:
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
    sounds = [wire.decode(event.data, SoundHeard).lafmax for event in taken if event.name == "recorder/sound"]
    assert sounds == [float(number) for number in range(1_000 - len(sounds), 1_000)]
    assert [json.loads(event.data)["state"] for event in taken if event.name == "recorder/state"] in ([], ["recording"])
