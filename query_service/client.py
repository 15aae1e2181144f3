"""Asks through any door, page by page, and fetches sound. `query` and `fetch` are for callers without asyncio."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from edge import wire
from edge.errors import DoorError, WireError
from edge.instant import Instant
from edge.names import is_node_name
from edge.settings import Settings
from query_service.asking import Door, ask, new_id, pages
from query_service.fetching import FetchProgress, FetchReport, Gaps, OnProgress, fetch_sound
from query_service.protocol import DEFAULT_LIMIT, GoodAnswer, QuestionType, Request

__all__ = [
    "Door",
    "FetchProgress",
    "FetchReport",
    "Gaps",
    "OnProgress",
    "Via",
    "ask",
    "fetch",
    "fetch_sound",
    "open_door",
    "pages",
    "query",
]

Via = Literal["local", "ably"]

_TOKEN_SECONDS = 3_600


def query(
    settings: Settings,
    via: Via = "local",
    *,
    type: QuestionType = "coverage",
    start: Instant | None = None,
    end: Instant | None = None,
    limit: int = DEFAULT_LIMIT,
    urls: bool = False,
    node: str | None = None,
    timeout: float = 10.0,
    token: str | None = None,
) -> GoodAnswer:
    """The answer to one question, all pages in one.

    `node` defaults to the configured one; `token` (Ably) to one made from `[ably] api_key`. `timeout` in seconds, per
    page. Raises QueryRefused when the node says no, DoorError when it stays silent or cannot be reached.
    """

    async def run() -> GoodAnswer:
        async with open_door(settings, via, node=node, token=token, timeout=timeout) as door:
            request = Request(id=new_id(), type=type, from_=start, to=end, limit=limit, urls=urls)
            return await ask(door, request, timeout)

    return asyncio.run(run())


def fetch(
    settings: Settings,
    via: Via,
    start: Instant,
    end: Instant,
    path: Path,
    *,
    gaps: Gaps = "silence",
    on_progress: OnProgress | None = None,
    node: str | None = None,
    timeout: float = 10.0,
    token: str | None = None,
) -> FetchReport:
    """Writes the sound of [start, end), cut to the sample, to `path`: WAV or FLAC by its ending.

    `gaps`: where there is no sound, write zeros so that time stays right (`silence`), leave it out (`skip`), or raise
    before anything is written (`refuse`). Nothing is written for the future. `path` appears whole or not at all. Raises
    FetchError, QueryRefused, DoorError.
    """

    async def run() -> FetchReport:
        async with open_door(settings, via, node=node, token=token, timeout=timeout) as door:
            return await fetch_sound(door, start, end, path, gaps=gaps, on_progress=on_progress, timeout=timeout)

    return asyncio.run(run())


@asynccontextmanager
async def open_door(
    settings: Settings, via: Via, *, node: str | None = None, token: str | None = None, timeout: float = 10.0
) -> AsyncIterator[Door]:
    """A door to `node`, closed at the end. DoorError when it cannot be opened."""
    wanted = node or settings.node.name
    if not is_node_name(wanted):
        raise DoorError(f"{wanted[:70]!r} is no node's name")
    door = await (_local_door(settings, wanted) if via == "local" else _ably_door(settings, wanted, token, timeout))
    try:
        yield door
    finally:
        await door.close()


async def _local_door(settings: Settings, node: str) -> Door:
    from query_service.local import LocalDoor  # noqa: PLC0415 - pony, which the other doors do without

    if node != settings.node.name:
        raise DoorError(f"the data folder is that of {settings.node.name}; ask {node} through another door")
    return LocalDoor(settings)


async def _ably_door(settings: Settings, node: str, token: str | None, timeout: float) -> Door:
    from query_service import tokens  # noqa: PLC0415
    from query_service.ably_client import AblyClient, new_client_id  # noqa: PLC0415 - the SDK, 30 MB

    client_id = _client_of(token) if token else new_client_id()

    def make_token() -> str:
        now = Instant.from_seconds(time.time())
        return token or tokens.client_token(settings.ably.api_key, client_id, _TOKEN_SECONDS, now)

    door = AblyClient(settings.ably.endpoint, node, client_id, make_token, _TOKEN_SECONDS)
    await door.open(timeout)
    return door


def _client_of(token: str) -> str:
    """The client id that a token was issued for; whether the token is genuine, the server knows."""
    try:
        payload = token.split(".")[1]
        claims = wire.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), dict[str, Any])
        return str(claims["x-ably-clientId"])
    except (IndexError, KeyError, ValueError, WireError):
        raise DoorError("the token is none that `imhearing token` made") from None
