"""The page's part of the HTTP door: what each visitor may do, log-in, and sound by byte ranges."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import re
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import soundfile
from msgspec.structs import replace

from edge.configuration.settings import Http, Secret, Settings
from edge.core.errors import ConfigError
from query_service.doors import page_routes
from query_service.doors.http import check_settings
from query_service.page.codes import make_code
from query_service.sound import stream
from tests.support.messaging.http_door import JSON, TOKEN
from tests.support.nodes.page_door import HTTP, KEY, PASSWORDS, page_door, status_of, visitor
from tests.support.nodes.query_node import QueryNode
from tests.support.store.s3 import RunningStore
from tests.support.wait import DEADLINE

RANGE = {"from": "2026-03-03T22:00:00Z", "to": "2026-03-03T22:00:10Z"}


@pytest.fixture
def settings(tmp_path: Path, store: RunningStore) -> Settings:
    """A node with ten seconds of sound, three of them in the store."""
    node = QueryNode(tmp_path, chunks=10)
    node.archive(store.settings, sorted(node.audio)[:3])
    return replace(node.with_doors(s3=store.settings), http=HTTP)


def test_the_page_is_public_and_its_files_may_be_kept_for_ever(settings: Settings) -> None:
    async def run() -> None:
        async with page_door(settings) as url, aiohttp.ClientSession(url, auto_decompress=False) as session:
            headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}  # a link in a mail
            async with session.get("/", headers=headers) as response:
                assert response.status == 200
                html = await response.text()
                policy = response.headers["Content-Security-Policy"]
            [nonce] = set(re.findall(r'csp-nonce" content="([^"]+)"', html))
            assert f"'nonce-{nonce}'" in policy
            assert "unsafe" not in policy
            assert "porch" not in html
            addresses = re.findall(r'(?:src|href)="(/[^"]+)"', html)
            assert any(address.startswith("/assets/main-") for address in addresses)
            total = len(html)
            for address in addresses:
                async with session.get(address) as response:
                    assert "immutable" in response.headers["Cache-Control"]
                    data = await response.read()
                    total += len(data)
                    for imported in re.findall(r'from "(/assets/[^"]+)"', gzip.decompress(data).decode()):
                        assert await status_of(session, "GET", imported) == 200
            assert total < 400_000
            assert await status_of(session, "GET", "/assets/main.js") == 404
            assert await status_of(session, "GET", "/assets/..%2f..%2fassets.py") == 404

    asyncio.run(run())


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        (None, {"data": 200, "audio": 403, "clip": 403, "links": False}),  # this machine's users
        ("viewer", {"data": 200, "audio": 403, "clip": 403, "links": False}),
        ("owner", {"data": 200, "audio": 200, "clip": 200, "links": True}),
    ],
)
def test_each_role_may_do_what_it_should_and_no_more(
    settings: Settings, role: str | None, expected: dict[str, Any]
) -> None:
    async def run() -> None:
        async with page_door(settings) as url, visitor(url, role) as session:
            async with session.get("/coverage", params=RANGE) as response:
                assert response.status == expected["data"]
                archives = (await response.json())["archives"]
            assert any("url" in place for place in archives.values()) == expected["links"]
            assert await status_of(session, "GET", "/audio", params=RANGE) == expected["audio"]
            async with session.get("/session") as response:
                assert await response.json() == {
                    "node": "porch", "role": role or "local", "zone": "Europe/Berlin", "login": True,
                    "session": role is not None, "events": False, "live": False, "nodes": False,
                }  # fmt: skip
            assert await status_of(session, "GET", "/nodes") == 404
            question = {"id": "a", "type": "clip", **RANGE}
            status = await status_of(session, "POST", "/query", json=question)
            assert status == expected["clip"]

    asyncio.run(run())


def test_beyond_loopback_nothing_is_shown_without_a_session(settings: Settings) -> None:
    async def run() -> None:
        async with page_door(settings, replace(HTTP, host="0.0.0.0")) as address:  # noqa: S104
            url = address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
            async with visitor(url) as session:
                assert await status_of(session, "GET", "/") == 200
                for path in ("/coverage", "/status", "/audio", "/metrics", "/openapi.json", "/nodes"):
                    assert await status_of(session, "GET", path, params=RANGE) == 401
                async with session.get("/session") as response:
                    assert (await response.json())["role"] is None
            async with visitor(url, "viewer") as session:
                assert await status_of(session, "GET", "/coverage", params=RANGE) == 200
            async with visitor(url, "owner") as session:
                assert await status_of(session, "GET", "/audio", params=RANGE) == 200
                assert await status_of(session, "DELETE", "/session") == 200
                assert await status_of(session, "GET", "/audio", params=RANGE) == 401

    asyncio.run(run())


def test_the_token_of_programs_is_the_owners(settings: Settings) -> None:
    async def run() -> None:
        async with page_door(settings, replace(HTTP, token=TOKEN)) as url, aiohttp.ClientSession(url) as session:
            assert await status_of(session, "GET", "/audio", params=RANGE) == 401
            bearer = {"Authorization": f"Bearer {TOKEN.reveal()}"}
            assert await status_of(session, "GET", "/audio", params=RANGE, headers=bearer) == 200

    asyncio.run(run())


def test_a_code_opens_one_session_of_the_owner(settings: Settings) -> None:
    async def run() -> None:
        async with page_door(settings, Http()) as url, visitor(url) as session:
            code = {"code": make_code(KEY, time.time())}
            assert await status_of(session, "POST", "/session", json={"code": "x"}) == 401
            assert await status_of(session, "POST", "/session", json=code) == 200
            assert await status_of(session, "GET", "/audio", params=RANGE) == 200
            assert await status_of(session, "POST", "/session", json=code) == 401

    asyncio.run(run())


@pytest.mark.parametrize("origin", ["http://127.0.0.1:1", "http://evil.example", "null", None])
def test_other_pages_cannot_log_in_or_act_with_the_owners_session(settings: Settings, origin: str | None) -> None:
    async def run() -> None:
        async with page_door(settings, replace(HTTP, token=TOKEN)) as url, visitor(url, "owner") as session:
            headers = {"Origin": origin} if origin else {}
            session.headers.pop("Origin")
            question = {"id": "a", "type": "clip", **RANGE}
            assert await status_of(session, "POST", "/query", json=question, headers=headers) == 401
            password = {"password": PASSWORDS["owner"]}
            assert await status_of(session, "POST", "/session", json=password, headers=headers) == 403
            assert await status_of(session, "DELETE", "/session", headers=headers) == 403
            assert await status_of(session, "GET", "/audio", params=RANGE) == 200

    asyncio.run(run())


def test_wrong_passwords_are_slowed_down_and_disturb_no_open_session(settings: Settings) -> None:
    async def run() -> None:
        async with page_door(settings) as url, visitor(url, "owner") as owner, visitor(url) as stranger:
            found = [await status_of(stranger, "POST", "/session", json={"password": "wrong"}) for _ in range(5)]
            assert found == [401, 401, 401, 429, 429]
            assert await status_of(stranger, "POST", "/session", json={"password": PASSWORDS["owner"]}) == 429
            assert await status_of(owner, "GET", "/audio", params=RANGE) == 200

    asyncio.run(run())


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b'{"password": 1}', b'{"password": null}', b"\xff", b"{}"])
def test_a_log_in_of_another_form_is_refused(settings: Settings, body: bytes) -> None:
    async def run() -> None:
        async with page_door(settings) as url, visitor(url) as session:
            assert await status_of(session, "POST", "/session", data=body, headers=JSON) in (400, 401)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        (None, 200, slice(None)),
        ("bytes=0-", 206, slice(None)),
        ("bytes=0-43", 206, slice(0, 44)),
        ("bytes=60001-60009", 206, slice(60_001, 60_010)),
        ("bytes=-5", 206, slice(-5, None)),
        ("bytes=160000-999999", 206, slice(160_000, None)),
        ("bytes=160044-", 416, None),
        ("bytes=0-1,5-6", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
    ],
)
def test_wav_comes_in_any_byte_range(settings: Settings, asked: str | None, status: int, part: slice | None) -> None:
    async def run() -> None:
        async with page_door(settings) as url, visitor(url, "owner") as session:
            async with session.get("/audio", params=RANGE) as response:
                whole = await response.read()
                assert (
                    response.headers["Content-Disposition"] == 'inline; filename="porch-2026-03-03T220000.000000Z.wav"'
                )
            assert soundfile.info(io.BytesIO(whole)).frames == 80_000
            async with session.get("/audio", params=RANGE, headers={"Range": asked} if asked else {}) as response:
                assert response.status == status
                if part is None:
                    assert response.headers["Content-Range"] == "bytes */160044"
                    return
                data = await response.read()
                assert data == whole[part]
                if status == 206:
                    first = part.indices(len(whole))[0]
                    assert response.headers["Content-Range"] == f"bytes {first}-{first + len(data) - 1}/160044"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("changes", "status", "code", "field"),
    [
        ({"from": "2026-03-03T21:00:00Z", "to": "2026-03-03T21:30:00Z"}, 404, "bad_request", None),
        ({"format": "mp3"}, 400, "bad_request", "format"),
        ({"from": "yesterday"}, 400, "bad_request", "from"),
        ({"to": RANGE["from"]}, 400, "bad_request", "from"),
    ],
)
def test_sound_that_cannot_be_sent_is_refused_with_the_reason(
    settings: Settings, changes: dict[str, str], status: int, code: str, field: str | None
) -> None:
    async def run() -> None:
        async with (
            page_door(settings) as url,
            visitor(url, "owner") as session,
            session.get("/audio", params={**RANGE, **changes}) as response,
        ):
            error = json.loads(await response.read())["error"]
            assert (response.status, error["code"], error.get("field")) == (status, code, field)

    asyncio.run(run())


def test_a_password_must_be_stored_as_its_hash() -> None:
    with pytest.raises(ConfigError, match="imhearing page password"):
        check_settings(Http(owner_password=Secret("letmein")))
    with pytest.raises(ConfigError, match="imhearing page password"):
        check_settings(Http(host="0.0.0.0"))  # noqa: S104
    check_settings(replace(HTTP, host="0.0.0.0"))  # noqa: S104


LONG = {**RANGE, "to": "2026-03-03T23:00:00Z"}  # 58 MB, nearly all of it silence: more than sockets hold


def test_a_transfer_that_takes_nothing_gives_way_to_those_that_wait(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_routes, "_STALLED_SECONDS", 0.2)

    async def run() -> None:
        async with (
            page_door(settings) as url,
            visitor(url, "owner") as session,
            session.get("/audio", params=LONG) as one,
            session.get("/audio", params=LONG) as other,
        ):
            async with asyncio.timeout(DEADLINE):
                assert await status_of(session, "GET", "/audio", params=RANGE) == 200
                outcomes = await asyncio.gather(one.read(), other.read(), return_exceptions=True)
            assert any(isinstance(outcome, aiohttp.ClientError) for outcome in outcomes)

    asyncio.run(run())


def test_who_leaves_in_the_middle_of_a_transfer_leaves_nothing_behind(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(stream, "scratch", lambda: str(scratch))

    async def run() -> None:
        async with page_door(settings) as url, visitor(url, "owner") as session:
            async with session.get("/audio", params=LONG) as response:
                await response.content.readexactly(1_000)
                assert list(scratch.iterdir())
            async with asyncio.timeout(DEADLINE):
                while list(scratch.iterdir()):
                    await asyncio.sleep(0.01)

    asyncio.run(run())


def test_more_transfers_than_may_wait_are_put_off(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_routes, "_MOST_WAITING", 0)

    async def run() -> None:
        async with (
            page_door(settings) as url,
            visitor(url, "owner") as session,
            session.get("/audio", params=RANGE) as response,
        ):
            assert response.status == 503
            assert (await response.json())["error"]["code"] == "busy"

    asyncio.run(run())
