"""Guests, viewers and other pages who want more of the page than they may have."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

from edge.configuration.settings import Http, Settings
from edge.messaging.events import GapFound
from query_service.doors import http_listener
from query_service.doors.event_streams import EventStreams
from query_service.doors.sessions import PageSessions
from tests.support.nodes.page_door import HTTP, PASSWORDS, page_door, status_of, visitor
from tests.support.nodes.query_node import QueryNode
from tests.support.silent_peers import silent_peers
from tests.support.spool.chunks import at
from tests.support.wait import DEADLINE

RANGE = {"from": "2026-03-03T22:00:00Z", "to": "2026-03-03T22:00:02Z"}
UNFINISHED = (
    b"POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nOrigin: http://127.0.0.1:%d\r\n"
    b"Content-Type: application/json\r\nContent-Length: 50\r\nExpect: 100-continue\r\n\r\n"
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A node with two seconds of sound, and a page with passwords."""
    return replace(QueryNode(tmp_path, chunks=2).with_doors(), http=HTTP)


@pytest.mark.parametrize(("path", "http"), [(b"/session", HTTP), (b"/query", Http())])
def test_unfinished_requests_do_not_keep_others_out(settings: Settings, path: bytes, http: Http) -> None:
    async def run() -> None:
        async with page_door(settings, http) as url:
            port = int(url.rpartition(":")[2])
            unfinished = UNFINISHED % (path, port, port)
            async with silent_peers(port, http_listener.MAX_CONNECTIONS + 50, unfinished) as peers:
                async with asyncio.timeout(DEADLINE):  # until each was answered "100 Continue", or closed
                    await asyncio.gather(*(peer.readline() for peer in peers), return_exceptions=True)
                async with visitor(url) as session:
                    assert await status_of(session, "GET", "/session") == 200

    asyncio.run(run())


def test_the_viewers_log_in_is_no_excuse_for_guesses_at_the_owners_password(settings: Settings) -> None:
    async def run() -> None:
        async with page_door(settings) as url, visitor(url) as session:
            found = []
            for _ in range(2):
                found += [await status_of(session, "POST", "/session", json={"password": "wrong"}) for _ in range(2)]
                found.append(await status_of(session, "POST", "/session", json={"password": PASSWORDS["viewer"]}))
            assert found == [401, 401, 200, 401, 429, 429]

    asyncio.run(run())


def test_log_ins_from_many_addresses_leave_room_for_others(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for its password to be checked, and keeps its connection meanwhile."""
    checked = threading.Event()
    monkeypatch.setattr(PageSessions, "log_in", lambda *_: checked.wait() and None)

    async def guess(url: str, number: int) -> int:
        connector = aiohttp.TCPConnector(local_addr=(f"127.0.0.{number}", 0))
        async with aiohttp.ClientSession(url, connector=connector, headers={"Origin": url}) as session:
            return await status_of(session, "POST", "/session", json={"password": "wrong"})

    async def run() -> None:
        async with page_door(settings) as url:
            guesses = [asyncio.create_task(guess(url, number)) for number in range(2, 102)]
            under_way = set(guesses)
            try:
                async with asyncio.timeout(DEADLINE):
                    while len(under_way) > 8:
                        _, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    async with visitor(url) as session:
                        assert await status_of(session, "GET", "/session") == 200
            finally:
                checked.set()
            assert sorted(await asyncio.gather(*guesses)) == [401] * 8 + [503] * 92

    asyncio.run(run())


def test_a_page_that_rebinds_its_name_learns_nothing_and_cannot_try_passwords(settings: Settings) -> None:
    async def run() -> None:
        async with page_door(settings, Http()) as url, visitor(url) as session:
            rebound = {"Host": "evil.example", "Origin": "http://evil.example"}
            assert await status_of(session, "GET", "/session", headers=rebound) == 403
            wrong = {"password": "wrong"}
            found = [await status_of(session, "POST", "/session", json=wrong, headers=rebound) for _ in range(5)]
            assert found == [403] * 5
            assert await status_of(session, "POST", "/session", json=wrong) == 401  # and no wait

    asyncio.run(run())


def test_whoever_has_logged_out_hears_of_no_more_events(settings: Settings) -> None:
    events = EventStreams()

    async def run() -> None:
        async with (
            page_door(settings, events=events) as url,
            visitor(url, "viewer") as session,
            session.get("/events") as response,
        ):
            assert (await response.content.readline()).startswith(b"retry:")
            assert await status_of(session, "DELETE", "/session") == 200
            events.put(GapFound(at=at(1), node="porch", started_at=at(0), ended_at=at(1), cause="crash"), False)
            async with asyncio.timeout(DEADLINE):
                assert b"crash" not in await response.content.read()

    asyncio.run(run())


def test_only_without_a_password_may_this_machines_users_have_clips(settings: Settings) -> None:
    """A web server in front of the page is on this machine too, and so is whoever it serves."""
    clip = {"id": "a", "type": "clip", **RANGE}

    async def run() -> None:
        async with page_door(settings) as url, visitor(url) as session:
            assert await status_of(session, "POST", "/query", json=clip) == 403
            assert await status_of(session, "GET", "/status") == 200
        async with page_door(settings, Http()) as url, visitor(url) as session:
            assert await status_of(session, "POST", "/query", json=clip) != 403

    asyncio.run(run())


def test_the_owner_may_log_in_through_a_web_server_with_tls(settings: Settings) -> None:
    async def run() -> None:
        async with page_door(settings) as url, visitor(url) as session:
            through = {"Host": "porch.example", "Origin": "https://porch.example", "X-Forwarded-For": "192.0.2.1"}
            assert await status_of(session, "GET", "/coverage", params=RANGE, headers=through) == 403
            password = {"password": PASSWORDS["owner"]}
            async with session.post("/session", json=password, headers=through) as response:
                assert response.status == 200
                cookie = response.cookies["imhearing-porch"]
                assert cookie["secure"]
            through["Cookie"] = f"imhearing-porch={cookie.value}"
            assert await status_of(session, "GET", "/coverage", params=RANGE, headers=through) == 200

    asyncio.run(run())


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"])
def test_a_request_that_was_passed_on_is_not_of_this_machine(settings: Settings, name: str) -> None:
    async def run() -> None:
        async with page_door(settings, Http()) as url, aiohttp.ClientSession(url) as session:
            assert await status_of(session, "GET", "/coverage", params=RANGE) == 200
            assert await status_of(session, "GET", "/coverage", params=RANGE, headers={name: "x"}) == 403

    asyncio.run(run())
