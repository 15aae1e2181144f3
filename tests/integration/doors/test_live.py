"""GET /live: who may listen, what is refused, and who is counted."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

from edge.catalog import Catalog
from edge.configuration import loader
from edge.configuration.settings import Http, Secret, Settings
from query_service import service
from query_service.answer.node_answers import NodeAnswers
from query_service.doors.http import HttpDoor
from query_service.doors.page_routes import PageRoutes
from query_service.doors.sessions import password_hash
from query_service.sound.stream import StreamSource
from tests.support.messaging.http_door import TOKEN
from tests.support.recording.listening import decoders, until
from tests.support.recording.microphone import write_noise
from tests.support.recording.recorder_process import RecorderProcess, running_recorder
from tests.support.wait import DEADLINE

PASSWORDS = {"owner": "correct horse", "viewer": "battery staple"}
HTTP = Http(
    port=1, live="yes", token=TOKEN, owner_password=Secret(password_hash(PASSWORDS["owner"])),
    viewer_password=Secret(password_hash(PASSWORDS["viewer"])),
)  # fmt: skip


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[RecorderProcess]:
    write_noise(tmp_path / "noise.wav", 300, 1, 8_000)
    source = f"recorder.source={tmp_path / 'noise.wav'}"
    with running_recorder(tmp_path / "data", source, "recorder.pace=real", "recorder.record_period=1") as running:
        running.wait_until_recording()
        yield running


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = tmp_path / "data"
    folder.mkdir(exist_ok=True)
    made = replace(loader.load(folder, None, ["node.name=porch"]), http=HTTP)
    catalog = Catalog(made.catalog.db_path)
    catalog.open()
    catalog.close()
    return made


@asynccontextmanager
async def door(settings: Settings) -> AsyncIterator[str]:
    """As the service opens it."""
    live = service.live_sound(settings)
    answers = NodeAnswers(settings, lambda: live.listeners if live is not None else 0)
    http = replace(settings.http, port=0)
    page = PageRoutes("porch", http, "key", StreamSource(answers.inside, answers.bits_of), "UTC", live=live)
    opened = HttpDoor("porch", answers.answer, http, None, page)
    try:
        async with opened.open():
            yield opened.address
    finally:
        await answers.close()


@asynccontextmanager
async def visitor(url: str, role: str) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Origin": url} | ({"Authorization": f"Bearer {TOKEN.reveal()}"} if role == "program" else {})
    async with aiohttp.ClientSession(url, cookie_jar=aiohttp.CookieJar(unsafe=True), headers=headers) as session:
        if role in PASSWORDS:
            async with session.post("/session", json={"password": PASSWORDS[role]}) as response:
                assert response.status == 200
        yield session


async def listeners(session: aiohttp.ClientSession) -> int:
    async with session.get("/status") as response:
        found: int = (await response.json())["listeners"]
        return found


async def refusal(session: aiohttp.ClientSession) -> tuple[int, str, str]:
    async with session.get("/live") as response:
        error = json.loads(await response.read())["error"]
        return response.status, error["code"], error["message"]


@pytest.mark.parametrize("role", ["owner", "program"])
def test_the_owner_hears_and_everyone_sees_that_somebody_does(
    settings: Settings, recorder: RecorderProcess, role: str
) -> None:
    async def run() -> None:
        async with door(settings) as url, visitor(url, role) as session, visitor(url, "viewer") as viewer:
            assert await listeners(viewer) == 0
            async with session.get("/live") as response:
                assert (response.status, response.content_type) == (200, "audio/wav")
                head = await response.content.readexactly(44)
                assert struct.unpack("<HHI", head[20:28]) == (1, 1, 8_000)
                assert await response.content.readexactly(16_000)
                assert await listeners(viewer) == 1
                assert len(decoders()) == 1
            await until(lambda: not decoders(), "the decoder ends once nobody listens")
            assert await listeners(viewer) == 0

    asyncio.run(run())


def test_a_viewer_hears_nothing(settings: Settings, recorder: RecorderProcess) -> None:
    async def run() -> None:
        async with door(settings) as url, visitor(url, "viewer") as session:
            status, code, _ = await refusal(session)
            assert (status, code) == (403, "forbidden")

    asyncio.run(run())


def test_live_listening_ends_with_its_session(settings: Settings, recorder: RecorderProcess) -> None:
    async def run() -> None:
        async with door(settings) as url, visitor(url, "owner") as session, session.get("/live") as response:
            await response.content.readexactly(44)
            async with session.delete("/session") as ended:
                assert ended.status == 200
            async with asyncio.timeout(DEADLINE):
                await response.content.read()  # to its end
            await until(lambda: not decoders(), "the decoder ends")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("changes", "status", "code", "message"),
    [
        ({"http": replace(HTTP, live="no")}, 404, "bad_request", "[http] live = no"),
        ({"recipients": "age1x"}, 422, "encrypted", "has no key"),
        ({}, 409, "bad_request", "the recorder is stopped"),
    ],
)
def test_what_cannot_be_heard_is_refused_with_the_reason(
    settings: Settings, changes: dict[str, object], status: int, code: str, message: str
) -> None:
    changed = settings
    if "recipients" in changes:
        changed = replace(settings, recorder=replace(settings.recorder, **changes))
    elif changes:
        changed = replace(settings, **changes)

    async def run() -> None:
        async with door(changed) as url, visitor(url, "owner") as session:
            found = await refusal(session)
            assert found[:2] == (status, code)
            assert message in found[2]
            assert await listeners(session) == 0

    asyncio.run(run())
