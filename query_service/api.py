"""The Python interface: query a node, or all of them, and fetch sound, by whichever way.

`query`, `query_all` and `fetch` are for callers without asyncio. Each way's library is imported only when it is used.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from edge.configuration.settings import Settings
from edge.core.errors import DoorError
from edge.core.ids import EVERY_NODE, is_node_name
from edge.core.instant import Instant
from edge.core.listeners import trusted_users
from query_service.client.fleet import FleetAnswer, FleetClient, query_fleet
from query_service.client.paging import NodeClient, pages, query_node
from query_service.client.watching import NodeEvent, watch
from query_service.queries.protocol import GoodAnswer, Question, request_for
from query_service.sound.report import FetchProgress, FetchReport, Gaps, OnProgress

if TYPE_CHECKING:
    from query_service.client.ably import AblyClient
    from query_service.sound.decryption import Keys

__all__ = [
    "FetchProgress",
    "FetchReport",
    "FleetAnswer",
    "Gaps",
    "NodeClient",
    "NodeEvent",
    "OnProgress",
    "Question",
    "Via",
    "connect",
    "connect_fleet",
    "fetch",
    "pages",
    "query",
    "query_all",
    "query_fleet",
    "query_node",
    "read_identity",
    "watch",
]

Via = Literal["local", "ably", "mqtt", "http"]

_TOKEN_SECONDS = 3_600


def query(
    settings: Settings,
    via: Via = "local",
    *,
    node: str | None = None,
    timeout: float = 10.0,
    token: str | None = None,
    **question: Unpack[Question],
) -> GoodAnswer:
    """The answer to one query (see `Question`; `type` is coverage by default), all pages in one.

    `node` defaults to the configured one (HTTP: to whoever answers); `token` (Ably) to one made from `[ably] api_key`.
    `timeout` in seconds, per page. Raises QueryRefused when the node refuses, DoorError when it does not answer or
    cannot be reached.
    """

    async def run() -> GoodAnswer:
        async with connect(settings, via, node=node, token=token, timeout=timeout) as client:
            return await query_node(client, request_for(question), timeout)

    return asyncio.run(run())


def query_all(
    settings: Settings, *, timeout: float = 10.0, token: str | None = None, **question: Unpack[Question]
) -> FleetAnswer:
    """As `query`, of every node at once, over Ably: each node's whole answer, who refused, and who did not answer."""

    async def run() -> FleetAnswer:
        async with connect_fleet(settings, token=token, timeout=timeout) as client:
            return await query_fleet(client, request_for(question), timeout)

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
    identity: Path | None = None,
) -> FetchReport:
    """Writes the sound of [start, end), cut to the sample, to `path`: WAV, FLAC or Opus by its ending.

    `gaps`: where there is no sound, write zeros so that time stays right (`silence`), leave it out (`skip`), or raise
    before anything is written (`refuse`). Nothing is written for the future. `path` appears whole or not at all.
    `identity`: the file of age private keys that opens what is encrypted. Raises FetchError, QueryRefused, DoorError.
    """
    from query_service.sound.fetch import fetch_sound  # noqa: PLC0415 - NumPy, libsndfile and aiohttp

    keys = read_identity(identity)

    async def run() -> FetchReport:
        async with connect(settings, via, node=node, token=token, timeout=timeout) as client:
            return await fetch_sound(
                client, start, end, path, gaps=gaps, on_progress=on_progress, timeout=timeout, keys=keys,
                ca_file=settings.s3.ca_file,
            )  # fmt: skip

    return asyncio.run(run())


def read_identity(identity: Path | None) -> Keys | None:
    """The private keys in that file, to open what is fetched or exported. FetchError if there are none."""
    if identity is None:
        return None
    from query_service.sound.decryption import read_keys  # noqa: PLC0415 - pyrage, for those who need it

    return read_keys(identity)


@asynccontextmanager
async def connect(
    settings: Settings, via: Via, *, node: str | None = None, token: str | None = None, timeout: float = 10.0
) -> AsyncIterator[NodeClient]:
    """A client of `node`, closed at the end. DoorError when it cannot be opened."""
    wanted = node or settings.node.name
    if not is_node_name(wanted):
        raise DoorError(f"{wanted[:70]!r} is not a node's name")
    client = await _opened(settings, via, wanted, token, timeout, any_node=node is None)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def connect_fleet(
    settings: Settings, *, token: str | None = None, timeout: float = 10.0
) -> AsyncIterator[FleetClient]:
    """A client of all nodes, over Ably; closed at the end. DoorError when it cannot be opened."""
    client = await _ably_door(settings, EVERY_NODE, token, timeout)
    try:
        yield client
    finally:
        await client.close()


async def _opened(
    settings: Settings, via: Via, node: str, token: str | None, timeout: float, *, any_node: bool
) -> NodeClient:
    match via:
        case "local":
            from query_service.answer.node_answers import NodeAnswers  # noqa: PLC0415

            if node != settings.node.name:
                raise DoorError(
                    f"the data folder is that of {settings.node.name}; ask {node} with --via ably, mqtt or http"
                )
            if not settings.recorder.record_path.is_dir():
                raise DoorError(f"{settings.recorder.record_path}: no such spool; is this the data folder of a node?")
            return NodeAnswers(settings)
        case "ably":
            return await _ably_door(settings, node, token, timeout)
        case "mqtt":
            from query_service.client.mqtt import MqttClient  # noqa: PLC0415

            client = MqttClient(settings.mqtt, node)
            await client.open(timeout)
            return client
        case "http":
            from query_service.client.http import HttpClient  # noqa: PLC0415

            trusted = trusted_users(settings.catalog.db_path.parent)
            return HttpClient(settings.http, node, any_node=any_node, trusted=trusted)


async def _ably_door(settings: Settings, node: str, token: str | None, timeout: float) -> AblyClient:
    from query_service.client.ably import AblyClient, new_client_id  # noqa: PLC0415
    from query_service.realtime import tokens  # noqa: PLC0415

    token = token or settings.ably.token.reveal()
    client_id = tokens.claims_of(token).client_id if token else new_client_id()

    def make_token() -> str:
        now = Instant.from_seconds(time.time())
        return token or tokens.client_token(settings.ably.api_key, client_id, _TOKEN_SECONDS, now)

    # a token that was issued may be for another user's node on this machine
    trusted = None if token else trusted_users(settings.catalog.db_path.parent)
    client = AblyClient(settings.ably.endpoint, node, client_id, make_token, _TOKEN_SECONDS, trusted)
    await client.open(timeout)
    return client
