"""A node's HTTP door with its page, and the browsers that visit it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from msgspec.structs import replace

from edge.configuration.settings import Http, Secret, Settings
from query_service.answer.node_answers import NodeAnswers
from query_service.doors.event_streams import EventStreams
from query_service.doors.http import HttpDoor
from query_service.doors.page_routes import PageRoutes
from query_service.doors.sessions import password_hash
from query_service.sound.stream import StreamSource

KEY = "the key of the node"
PASSWORDS = {"owner": "correct horse", "viewer": "battery staple"}
HTTP = Http(
    owner_password=Secret(password_hash(PASSWORDS["owner"])), viewer_password=Secret(password_hash(PASSWORDS["viewer"]))
)


@asynccontextmanager
async def page_door(
    settings: Settings, http: Http | None = None, events: EventStreams | None = None
) -> AsyncIterator[str]:
    http = replace(http or settings.http, port=0)
    answers = NodeAnswers(settings)
    page = PageRoutes("porch", http, KEY, StreamSource(answers.inside, answers.bits_of), "Europe/Berlin", events)
    opened = HttpDoor("porch", answers.answer, http, None, page)
    try:
        async with opened.open():
            yield opened.address
    finally:
        await answers.close()


@asynccontextmanager
async def visitor(url: str, role: str | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser: it keeps cookies, and says which page its requests come from."""
    jar = aiohttp.CookieJar(unsafe=True)  # of an address without a name, too
    async with aiohttp.ClientSession(url, cookie_jar=jar, headers={"Origin": url}) as session:
        if role is not None:
            async with session.post("/session", json={"password": PASSWORDS[role]}) as response:
                assert response.status == 200, await response.text()
                assert (await response.json())["role"] == role
        yield session


async def status_of(session: aiohttp.ClientSession, method: str, path: str, **options: Any) -> int:
    async with session.request(method, path, **options) as response:
        await response.read()
        return response.status
