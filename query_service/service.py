"""The query service: answers questions from spool and catalog through its doors. Reads both, writes neither."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import suppress

from edge import __version__
from edge.events import QueryStatus
from edge.identity import instance
from edge.instant import Instant
from edge.mqtt import Bus
from edge.settings import Settings
from query_service.local import LocalDoor

log = logging.getLogger(__name__)

_TOKEN_SECONDS = 3_600
_POLL = 0.1  # seconds between looks at `stop`


def run(settings: Settings, stop: threading.Event) -> None:
    """Serves until `stop` is set, and ends within three seconds of it."""
    bus = _bus(settings) if settings.mqtt.host else None
    if bus is not None:
        bus.start()
        bus.publish(_status(settings, "online"))
    try:
        asyncio.run(_serve(settings, stop))
    finally:
        if bus is not None:
            bus.stop(farewell=_status(settings, "offline"))


async def _serve(settings: Settings, stop: threading.Event) -> None:
    answers = LocalDoor(settings)
    doors = asyncio.create_task(_doors(settings, answers))
    try:
        while not stop.is_set() and not doors.done():
            await asyncio.sleep(_POLL)
        if doors.done():
            doors.result()
    finally:
        doors.cancel()
        with suppress(asyncio.CancelledError, TimeoutError):
            async with asyncio.timeout(2.0):
                await doors
        await answers.close()


async def _doors(settings: Settings, answers: LocalDoor) -> None:
    if not settings.ably.api_key.reveal():
        log.info("no Ably door: [ably] api_key is empty")
        await asyncio.Event().wait()
    # the SDK takes 30 MB that nodes without Ably need not pay
    from query_service.ably_door import AblyDoor  # noqa: PLC0415
    from query_service.ably_link import Link  # noqa: PLC0415
    from query_service.tokens import node_token  # noqa: PLC0415

    def make_token() -> str:
        return node_token(settings.ably.api_key, settings.node.name, _TOKEN_SECONDS, _now())

    def make_link() -> Link:
        return Link(settings.ably.endpoint, make_token, _TOKEN_SECONDS)

    await AblyDoor(settings.node.name, answers.answer, make_link).run()


def _bus(settings: Settings) -> Bus:
    return Bus(settings.mqtt, "query", _instance(settings), will=_status(settings, "offline"))


def _status(settings: Settings, state: str) -> QueryStatus:
    return QueryStatus(
        at=_now(),
        node=settings.node.name,
        state="online" if state == "online" else "offline",
        instance=_instance(settings),
        version=__version__,
    )


def _instance(settings: Settings) -> str:
    return instance(settings.catalog.db_path.parent)


def _now() -> Instant:
    return Instant.from_seconds(time.time())
