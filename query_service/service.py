"""The query service: answers questions from spool and catalog through its doors. Reads both and changes neither."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from edge import __version__
from edge.configuration.settings import Settings
from edge.core import reference_cycles as garbage
from edge.core.errors import DoorError
from edge.core.instance import load_instance_id
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.core.listeners import trusted_users
from edge.core.local_zone import local_zone_name
from edge.core.systemd import Heartbeat
from edge.messaging.bus import Bus
from edge.messaging.events import QueryStatus
from edge.messaging.name_guard import NameGuard
from query_service.answer.node_answers import NodeAnswers, ended_erasures
from query_service.api import connect_fleet
from query_service.client.other_nodes import OtherNodes
from query_service.doors.mqtt import MqttDoor
from query_service.telemetry.reporting import WATCHED, Metrics, NodeWatch, report_daily

if TYPE_CHECKING:
    from query_service.doors.event_streams import EventStreams
    from query_service.sound.live import LiveSound

log = logging.getLogger(__name__)

_TOKEN_SECONDS = 3_600
_HTTP_PAUSE = 10.0  # seconds until a port that is taken is tried again
_CLOSING_SECONDS = 2.0  # for the doors to say goodbye
_COLLECT_SECONDS = 60.0
_SILENT = 240.0  # seconds without a sign of life from a door: a retry comes within 110, a ping within 40

Sign = Callable[[], float]  # of one door: seconds since its last sign of life


def run(settings: Settings, stop: threading.Event) -> None:
    """Serves until `stop` is set, and ends within three seconds of it. Raises ConfigError."""
    if settings.http.port:
        from query_service.doors.http import check_settings  # noqa: PLC0415 - aiohttp, 20 MB

        check_settings(settings.http)
    bus = None
    if settings.mqtt.host:
        bus = Bus(settings.mqtt, settings.node.name, "query", will=_status(settings, "offline"))
    watch, events = NodeWatch(), None
    if bus is not None:
        for event_type in WATCHED:
            bus.subscribe(event_type, watch.take)
        events = _event_streams(bus) if settings.http.port else None
        online = _status(settings, "online")
        NameGuard(bus, online)
        bus.publish(online)
        bus.start()
    try:
        asyncio.run(_serve(settings, stop, Heartbeat(), bus, watch, events))
    finally:
        if bus is not None:
            bus.stop(farewell=_status(settings, "offline"))


async def _serve(
    settings: Settings,
    stop: threading.Event,
    heartbeat: Heartbeat,
    bus: Bus | None,
    watch: NodeWatch,
    events: EventStreams | None,
) -> None:
    live = live_sound(settings)
    answers = NodeAnswers(settings, lambda: live.listeners if live is not None else 0)
    reporting = (
        asyncio.create_task(report_daily(answers, bus, watch, _now, lambda: ended_erasures(settings)))
        if bus is not None
        else None
    )
    signs: list[Sign] = []
    doors = asyncio.create_task(_doors(settings, answers, signs, bus, watch, events, live))
    collecting = asyncio.create_task(_collect_garbage())
    threading.Thread(target=answers.prepare, name="links", daemon=True).start()
    stopping = asyncio.create_task(_is_set(stop))
    try:
        while not stopping.done() and not doors.done():
            if all(silent_for() < _SILENT for silent_for in signs):
                heartbeat.beat()
            await asyncio.wait([stopping, doors], timeout=heartbeat.pause, return_when=asyncio.FIRST_COMPLETED)
        if doors.done():
            doors.result()
    finally:
        heartbeat.stopping()
        doors.cancel()
        collecting.cancel()
        stopping.cancel()
        if reporting is not None:
            reporting.cancel()
        await asyncio.wait([doors], timeout=_CLOSING_SECONDS)  # a second cancellation would not reach what hangs
        await answers.close()


async def _is_set(stop: threading.Event) -> None:
    """Returns soon after another thread, or a signal handler, has set `stop`. A thread waits for it: polling would wake
    an idle node ten times a second.
    """
    loop, is_set = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        stop.wait()
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(is_set.set)

    threading.Thread(target=wait, name="stop", daemon=True).start()
    await is_set.wait()


async def _collect_garbage() -> None:
    """Those of the Ably SDK, such as a channel per client."""
    while True:
        await asyncio.sleep(_COLLECT_SECONDS)
        garbage.free_reference_cycles()


async def _doors(
    settings: Settings,
    answers: NodeAnswers,
    signs: list[Sign],
    bus: Bus | None,
    watch: NodeWatch,
    events: EventStreams | None,
    live: LiveSound | None,
) -> None:
    async with asyncio.TaskGroup() as group:
        if bus is not None:
            group.create_task(MqttDoor(settings.node.name, answers.answer, bus).run())
        if settings.http.port:
            group.create_task(_http_door(settings, answers, watch, events, live))
        if _has_ably(settings):
            group.create_task(_ably_door(settings, answers, signs, bus))
        else:
            log.info("no Ably door: [ably] api_key is empty")
        await asyncio.Event().wait()


def _event_streams(bus: Bus) -> EventStreams:
    from query_service.doors.event_streams import LIVE, EventStreams  # noqa: PLC0415 - aiohttp

    streams = EventStreams()
    for event_type in LIVE:
        bus.subscribe(event_type, streams.put)
    return streams


def live_sound(settings: Settings) -> LiveSound | None:
    """None where the node lets nobody listen."""
    if not settings.http.port or settings.http.live == "no":
        return None
    from query_service.sound.live import LiveSound  # noqa: PLC0415

    names = (settings.node.name, *settings.node.earlier_names)
    return LiveSound(settings.recorder.record_path, names, is_encrypted=settings.recorder.encrypts)


async def _http_door(
    settings: Settings,
    answers: NodeAnswers,
    watch: NodeWatch,
    events: EventStreams | None,
    live: LiveSound | None,
) -> None:
    from query_service.doors.http import HttpDoor  # noqa: PLC0415
    from query_service.doors.owner_channel import OwnerChannel  # noqa: PLC0415
    from query_service.doors.page_routes import PageRoutes  # noqa: PLC0415
    from query_service.sound.stream import StreamSource  # noqa: PLC0415

    metrics = Metrics(settings, answers, watch, KernelClock())
    sound = StreamSource(answers.inside, answers.bits_of, settings.s3.ca_file)
    key, zone = settings.query.cursor_key.reveal(), local_zone_name() or "UTC"
    setup = partial(_page_setup, settings, answers)
    others = OtherNodes(settings.node.name, partial(connect_fleet, settings)).rows if _has_ably(settings) else None
    node, channel = settings.node.name, None
    if settings.mqtt.host:
        channel = OwnerChannel(Bus(settings.mqtt, node, "page"), node)
    page = PageRoutes(node, settings.http, key, sound, zone, events, setup, others, live, channel)
    door = HttpDoor(node, answers.answer, settings.http, metrics.text, page)
    try:
        while True:
            try:
                await door.run()
            except DoorError as problem:  # the other doors stay open
                log.warning("the HTTP door is shut: %s; trying again in %.0f s", problem, _HTTP_PAUSE)
            await asyncio.sleep(_HTTP_PAUSE)
    finally:
        if channel is not None:
            await asyncio.to_thread(channel.close)


def _has_ably(settings: Settings) -> bool:
    return bool(settings.ably.api_key.reveal())


def _page_setup(settings: Settings, answers: NodeAnswers) -> dict[str, object]:
    return {
        "bucket": bool(settings.s3.s3_bucket_name),
        "encrypted": settings.recorder.encrypts,
        "sound_level": answers.sound_level(),
    }


async def _ably_door(settings: Settings, answers: NodeAnswers, signs: list[Sign], bus: Bus | None) -> None:
    # the SDK takes 30 MB that nodes without Ably need not pay
    from query_service.doors.ably import AblyDoor  # noqa: PLC0415
    from query_service.doors.ably_sender import FED, EventFeed  # noqa: PLC0415
    from query_service.realtime.link import Link  # noqa: PLC0415
    from query_service.realtime.tokens import node_token  # noqa: PLC0415

    node = settings.node.name

    def make_token() -> str:
        return node_token(settings.ably.api_key, node, _TOKEN_SECONDS, _now())

    def make_link() -> Link:
        trusted = trusted_users(settings.catalog.db_path.parent)
        return Link(settings.ably.endpoint, make_token, _TOKEN_SECONDS, trusted=trusted)

    feed = None
    if settings.ably.events == "yes" and bus is not None:
        feed = EventFeed()
        for event_type in FED:
            bus.subscribe(event_type, feed.put)
    door = AblyDoor(node, answers.answer, make_link, feed, _instance(settings))
    signs.append(door.silent_for)
    await door.run()


def _status(settings: Settings, state: Literal["online", "offline"]) -> QueryStatus:
    return QueryStatus(
        at=_now(),
        node=settings.node.name,
        state=state,
        instance=_instance(settings),
        version=__version__,
    )


def _instance(settings: Settings) -> str:
    return load_instance_id(settings.catalog.db_path.parent)


def _now() -> Instant:
    return Instant.from_seconds(time.time())
