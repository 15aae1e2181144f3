"""Hostile peers: floods of connections, foreign web pages, and nodes whose answers do not match the query."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from edge.configuration.settings import Http
from edge.core.errors import DoorError
from query_service.client.fleet import query_fleet
from query_service.client.paging import coverage_pages, query_node
from query_service.doors import http_listener
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.levels import LevelsAnswer
from query_service.queries.protocol import Answer, Request
from query_service.queries.sounds import SoundsAnswer
from query_service.queries.values import Gap, Interval
from query_service.sound.fetch import fetch_sound
from tests.support.messaging.http_door import JSON, TOKEN, fake_http_door, http_request
from tests.support.messaging.realtime import in_loop, running_server
from tests.support.silent_peers import silent_peers
from tests.support.spool.chunks import at
from tests.support.wait import DEADLINE

QUESTION = b'{"id": "a", "type": "status"}'


async def wait_until_closed(readers: list[asyncio.StreamReader], but: int = 0) -> None:
    """Waits until the other side has closed all of these connections `but` a few."""
    waiting = {asyncio.ensure_future(reader.read()) for reader in readers}
    try:
        async with asyncio.timeout(DEADLINE):
            while len(waiting) > but:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def status_of(url: str, **headers: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        return response.status


@pytest.mark.parametrize("sent", [b"", b"GET /status HTTP/1.1\r\nX: "])
@in_loop
async def test_a_flood_of_connections_does_not_block_the_http_door(sent: bytes) -> None:
    ours = {"Authorization": f"Bearer {TOKEN.reveal()}"}
    async with fake_http_door(Http(token=TOKEN)) as url, aiohttp.ClientSession(headers=ours) as kept:
        async with kept.get(f"{url}/status") as response:
            assert response.status == 422
        async with silent_peers(int(url.rpartition(":")[2]), 250, sent) as readers:
            async with asyncio.timeout(DEADLINE):
                assert await status_of(f"{url}/status", **ours) == 422
                async with kept.get(f"{url}/status") as response:
                    assert response.status == 422
            await wait_until_closed(readers, but=http_listener.MAX_CONNECTIONS)
            assert kept.connector is not None
            assert len(kept.connector._conns) == 1  # the same connection all along


@in_loop
async def test_a_flood_of_connections_does_not_block_the_realtime_server() -> None:
    async with running_server() as server, silent_peers(server.port, 250, b"GET /time HTTP/1.1\r\nX: ") as readers:
        async with asyncio.timeout(DEADLINE):
            assert await status_of(f"http://{server.endpoint}/time") == 200
        await wait_until_closed(readers, but=http_listener.MAX_CONNECTIONS)


@in_loop
async def test_many_open_pages_leave_room_for_each_other() -> None:
    """Each keeps its connection after a request, as browsers do."""
    pages = 3 * http_listener.MAX_CONNECTIONS
    async with fake_http_door(Http()) as url, contextlib.AsyncExitStack() as stack:
        port = int(url.rpartition(":")[2])
        request = b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for batch in range(pages // 30):
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(30)]  # at once
            for _, writer in opened:
                stack.callback(writer.close)
                writer.write(request)
            async with asyncio.timeout(DEADLINE):
                heads = await asyncio.gather(*(reader.readline() for reader, _ in opened))
            assert all(head.startswith(b"HTTP/1.1 ") for head in heads), batch


@in_loop
async def test_an_idle_connection_is_not_closed_under_a_page_that_may_still_use_it() -> None:
    """A browser that sends a request just when its connection is closed gets no answer: it is let go with an answer."""

    async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays."""
        writer.write(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
        return b"connection: close" not in head

    async with fake_http_door(Http()) as url, contextlib.AsyncExitStack() as stack, asyncio.timeout(DEADLINE):
        kept = []
        for _ in range(3 * http_listener.MAX_CONNECTIONS):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            stack.callback(writer.close)
            if await asked(reader, writer):
                kept.append((reader, writer))
        assert len(kept) >= http_listener.MAX_CONNECTIONS // 2
        for reader, writer in kept:
            await asked(reader, writer)


@in_loop
async def test_who_comes_while_every_connection_is_served_waits_for_one_of_them() -> None:
    may_go_on = asyncio.Event()

    async def answer(request: Request, client: str) -> Answer:
        await may_go_on.wait()
        return CoverageAnswer(id=request.id, node="porch", from_=at(0), to=at(1), intervals=(), archives={})

    request = b"GET /coverage?from=2026-03-03T22:00:00Z&to=2026-03-03T23:00:00Z HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with fake_http_door(Http(), answer) as url, contextlib.AsyncExitStack() as stack:
        port, readers = int(url.rpartition(":")[2]), []
        for number in range(http_listener.MAX_CONNECTIONS + 20):
            address = (f"127.0.1.{number // 10}", 0)
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=address)
            stack.callback(writer.close)
            writer.write(request)
            readers.append(reader)
        heads = asyncio.gather(*(reader.readline() for reader in readers))
        done, _ = await asyncio.wait([heads], timeout=1)  # as long as a browser may take to be refused
        assert not done
        may_go_on.set()
        async with asyncio.timeout(DEADLINE):
            assert [head for head in await heads if not head.startswith(b"HTTP/1.1 ")] == []


@pytest.mark.parametrize("sent", [b"", b"GET /status HTTP/1.1\r\nX: ", b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"])
@in_loop
async def test_connections_without_a_valid_request_are_closed_soon(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_listener, "HEAD_SECONDS", 0.2)
    async with (
        fake_http_door(Http(token=TOKEN)) as url,
        silent_peers(int(url.rpartition(":")[2]), 1, sent) as (reader,),
    ):
        async with asyncio.timeout(DEADLINE):
            with contextlib.suppress(ConnectionError):
                await reader.read()


@in_loop
async def test_malformed_http_requests_log_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with fake_http_door(Http()) as url, running_server() as server:
        for port in (int(url.rpartition(":")[2]), server.port):
            for sent in (
                b"\x16\x03\x01" + b"\0" * 80,
                b"GET /status HTTP/9.9\r\n\r\n",
                b"GET / HTTP/1.1\r\na b\r\n\r\n",
            ):
                async with silent_peers(port, 5, sent) as readers:
                    await wait_until_closed(readers)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@in_loop
async def test_whoever_leaves_in_the_middle_of_a_request_leaves_no_log_entry(caplog: pytest.LogCaptureFixture) -> None:
    async with fake_http_door(Http()) as url:
        port = int(url.rpartition(":")[2])
        unfinished = (
            b"POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n"
            b"Content-Type: application/json\r\n\r\n"
        )
        async with silent_peers(port, 5, unfinished) as peers:
            for peer in peers:
                assert (await peer.readline()).startswith(b"HTTP/1.1 100 ")
        assert await status_of(f"{url}/status") == 422
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_repeated_fault_is_logged_at_most_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = http_listener.OncePer(60)
    assert [limiter.now() for _ in range(3)] == [True, False, False]
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert limiter.now()


@in_loop
async def test_requests_from_foreign_web_pages_are_rejected_unprocessed() -> None:
    processed: list[Request] = []

    async def answer(request: Request, client: str) -> Answer:
        processed.append(request)
        return CoverageAnswer(id=request.id, node="porch", from_=at(0), to=at(1), intervals=(), archives={})

    async with fake_http_door(Http(), answer) as url:
        port = url.rpartition(":")[2]
        foreign: list[dict[str, str]] = [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://localhost.evil.example:80"},
            {"Origin": "http://127.0.0.1@evil.example"},
            {"Origin": "http://["},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site", "Origin": f"http://localhost:{port}"},
        ]
        for headers in foreign:
            assert (await asyncio.to_thread(http_request, f"{url}/status", None, **headers))[0] == 403, headers
            assert (await asyncio.to_thread(http_request, f"{url}/query", QUESTION, **JSON, **headers))[0] == 403, (
                headers
            )
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            status, _, body = await asyncio.to_thread(http_request, f"{url}/query", QUESTION, **{"Content-Type": kind})
            assert (status, json.loads(body)["error"]["code"]) == (415, "bad_request")
        clip = f"{url}/clip?from={at(0)}&to={at(1)}"
        assert (await asyncio.to_thread(http_request, clip))[0] == 404
        assert processed == []

        own: list[dict[str, str]] = [
            {},
            {"Sec-Fetch-Site": "none"},
            {"Sec-Fetch-Site": "same-origin", "Origin": f"http://127.0.0.1:{port}"},
            {"Origin": f"http://[::1]:{port}"},
            {"Content-Type": "application/json; charset=utf-8"},
        ]
        for headers in own:
            assert (await asyncio.to_thread(http_request, f"{url}/query", QUESTION, **{**JSON, **headers}))[0] == 200, (
                headers
            )
        assert len(processed) == len(own)


@in_loop
async def test_a_foreign_web_page_with_the_token_may_query() -> None:
    """The token is not the browser's to add: who sends it was given it."""
    ours = {"Authorization": f"Bearer {TOKEN.reveal()}", "Origin": "https://home.example"}
    async with fake_http_door(Http(token=TOKEN)) as url:
        assert await status_of(f"{url}/status", **ours) == 422


@pytest.mark.parametrize("number", ["1" + "0" * 400, "1" + "0" * 30, "1" + "0" * 5_000, "-1" + "0" * 400, "1e999"])
@pytest.mark.parametrize("field", ["limit", "step", "v", "min_level"])
@in_loop
async def test_absurdly_large_numbers_are_refused_with_their_field(
    number: str, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake_http_door(Http()) as url:
        address = f"{url}/sounds?from={at(0)}&to={at(1)}&{field}={number}"
        status, _, body = await asyncio.to_thread(http_request, address)
        if field == "min_level" and number == "1" + "0" * 30:
            assert status == 422  # it reached who answers
            return
        error = json.loads(body)["error"]
        assert (status, error["code"], error["field"]) == (400, "bad_request", field)
    assert not [record for record in caplog.records if record.exc_info]


# Nodes


class MadeUp:
    """A door to a node that answers as `answer` says, given the question and how many there were before."""

    node = "porch"

    def __init__(self, answer: Callable[[Request, int], Answer]) -> None:
        self._answer = answer
        self.asked = 0

    async def query(self, request: Request, timeout: float) -> Answer:
        assert timeout > 0
        self.asked += 1
        assert self.asked < 50, "it would go on for ever"
        return self._answer(request, self.asked - 1)

    async def query_node(self, node: str, request: Request, timeout: float) -> Answer:
        assert node == self.node
        return await self.query(request, timeout)

    async def query_all(self, request: Request, nodes: list[str], timeout: float) -> dict[str, Answer]:
        return {node: await self.query(request, timeout) for node in nodes}

    async def nodes(self, timeout: float = 10.0) -> list[str]:
        assert timeout > 0
        return [self.node]

    async def close(self) -> None: ...


def gap(start: float, end: float) -> Gap:
    return Gap(from_=at(start), to=at(end), cause="unknown")


def coverage(request: Request, intervals: tuple[Interval, ...], cursor: str | None = None) -> CoverageAnswer:
    return CoverageAnswer(
        id=request.id, node="porch", from_=at(0), to=at(2), intervals=intervals, archives={}, next=cursor
    )


# what a node gives, page by page, and then from the first page on
UNFIT: dict[str, list[tuple[tuple[Interval, ...], str | None]]] = {
    "alternating cursors": [((gap(0, 1),), "a"), ((gap(1, 2),), "b")],
    "the same page, new cursors": [((gap(0, 1),), "a")],
    "empty pages, new cursors": [((), "a")],
    "beyond the end": [((gap(0, 1), gap(1, 7_000 * 365 * 86_400.0)), None)],
    "before the start": [((gap(-5, 2),), None)],
    "a hole": [((gap(0, 0.5), gap(1, 2)), None)],
    "an overlap": [((gap(0, 1.5), gap(1, 2)), None)],
    "no length": [((gap(0, 0), gap(0, 2)), None)],
    "backwards": [((gap(0, 1), gap(1, 0.5), gap(0.5, 2)), None)],
    "an early end": [((gap(0, 1),), None)],
    "nothing": [((), None)],
    "more after the end": [((gap(0, 2),), "a"), ((gap(2, 3),), None)],
    "endless time, new cursors": [((gap(0, 1), gap(1, 2)), "a")],
}


def unfit(name: str) -> MadeUp:
    pages = UNFIT[name]

    def answer(request: Request, number: int) -> Answer:
        intervals, cursor = pages[number % len(pages)]
        return coverage(request, intervals, f"{cursor}{number}" if cursor and "new cursors" in name else cursor)

    return MadeUp(answer)


@pytest.mark.parametrize("name", UNFIT)
@in_loop
async def test_coverage_that_does_not_match_the_query_is_rejected(name: str, tmp_path: Path) -> None:
    question = Request(id="x", from_=at(0), to=at(2))
    with pytest.raises(DoorError, match="node porch"):
        _ = [page async for page in coverage_pages(unfit(name), at(0), at(2))]
    with pytest.raises(DoorError, match="node porch"):
        await query_node(unfit(name), question)
    with pytest.raises(DoorError, match="node porch"):
        await fetch_sound(unfit(name), at(0), at(2), tmp_path / "heard.flac")
    result = await query_fleet(unfit(name), question)
    assert (result.answers, list(result.refused)) == ({}, ["porch"])


@in_loop
async def test_coverage_pages_that_match_the_query_are_accepted() -> None:
    pages: list[tuple[tuple[Interval, ...], str | None]] = [((gap(0, 1),), "a"), ((gap(1, 1.5), gap(1.5, 2)), None)]
    question = Request(id="x", from_=at(0), to=at(2))
    answer = await query_node(MadeUp(lambda request, number: coverage(request, *pages[number])), question)
    assert isinstance(answer, CoverageAnswer)
    assert answer.intervals == (gap(0, 1), gap(1, 1.5), gap(1.5, 2))
    fleet = await query_fleet(MadeUp(lambda request, number: coverage(request, *pages[number])), question)
    assert fleet.answers["porch"] == replace(answer, id=fleet.answers["porch"].id)
    rest = replace(question, cursor="a")
    answer = await query_node(MadeUp(lambda request, _number: coverage(request, *pages[1])), rest)
    assert isinstance(answer, CoverageAnswer)
    assert len(answer.intervals) == 2


@pytest.mark.parametrize("kind", ["sounds", "levels"])
@in_loop
async def test_cursors_that_repeat_are_rejected_instead_of_followed_forever(kind: Any) -> None:
    def answer(request: Request, number: int) -> Answer:
        cursor = f"c{number % 3}"
        if kind == "sounds":
            return SoundsAnswer(id=request.id, node="porch", from_=at(0), to=at(2), sounds=(), archives={}, next=cursor)
        return LevelsAnswer(id=request.id, node="porch", from_=at(0), to=at(2), step=1, levels=(), next=cursor)

    with pytest.raises(DoorError, match="node porch"):
        await query_node(MadeUp(answer), Request(id="x", type=kind, from_=at(0), to=at(2)))
