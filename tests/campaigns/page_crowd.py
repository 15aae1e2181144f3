"""Two hundred open pages: questions are still answered soon, nobody's playback is cut, and memory is bounded.

`python -m tests.campaigns.page_crowd [--pages 200] [--seconds 60]`. Each page does what the page's modules do: it keeps
a stream of events if it gets one, asks for its session and the status every five seconds, and for what it shows at
first and whenever a chunk comes, which is every ten seconds. Each ten of them are in one browser; all are opened within
ten seconds. Four play: they fetch a minute of sound, over and over. Somebody with an address of his own asks once a
second. Exit code 0 if each of his questions had its answer within a second, no sound was cut or refused, and the
service with its helpers held less than 120 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from edge.configuration.settings import Mqtt
from edge.core.instant import Instant
from edge.messaging.bus import Bus
from edge.messaging.events import GapFound, LevelMeasured
from query_service.page.codes import make_code
from tests.support.messaging.broker import running_broker
from tests.support.nodes.query_node import QueryNode
from tests.support.nodes.query_process import KEY, QueryProcess, running_query_process
from tests.support.spool.chunks import SECOND, START

TABS = 10  # of one browser
PLAYERS = 4
CHUNKS = 120  # of a second
OPENED_WITHIN = 10.0  # seconds, of 200
REFRESH = 5.0
CHUNK_EVERY = 10.0
SOON = 1.0
ROOM = 120.0  # MB
NEWS = (b"event: recorder/gap", b"event: recorder/chunk")
MINUTE, HOUR = 60 * SECOND, 3_600 * SECOND


class Crowd:
    """All who are there, and what went wrong for them. They see an hour from `start` on, and hear its first minute."""

    def __init__(self, service: QueryProcess, start: Instant) -> None:
        self._service = service
        self._start = start
        span = {"from": str(start), "to": str(Instant(start + HOUR))}
        self._view = (
            ("states", {**span, "urls": "false"}),
            ("levels", {**span, "step": "10"}),
            ("sounds", {**span, "order": "loudest", "urls": "false"}),
        )
        self.waited: dict[str, list[float]] = {"page": [], "somebody": []}
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.most_memory = 0.0
        self._digests: set[str] = set()

    async def page(self, number: int) -> None:
        await asyncio.sleep(number * OPENED_WITHIN / 200)
        async with self._browser(2 + number // TABS) as browser:
            await self._show(browser)
            await asyncio.gather(self._refresh(browser), self._follow(browser))

    async def player(self, number: int) -> None:
        async with self._browser(100 + number) as browser:
            code = {"code": make_code(KEY, time.time())}
            async with browser.post("/session", json=code, headers={"Origin": self._service.url}) as response:
                assert response.status == 200, await response.text()
            span = {"from": str(self._start), "to": str(Instant(self._start + MINUTE)), "format": "flac"}
            while not self.faults:
                await self._listen(browser, span)

    async def _listen(self, browser: aiohttp.ClientSession, span: dict[str, str]) -> None:
        try:
            async with browser.get("/audio", params=span) as response:
                try:
                    body = await response.read()
                except (aiohttp.ClientError, TimeoutError) as problem:
                    self.faults.append(f"sound was cut: {problem!r}")
                    return
        except aiohttp.ClientError as problem:  # the connection was idle: a browser opens another
            self.counts[f"player: {type(problem).__name__}"] += 1
            return
        if response.status == 503:
            self.counts["player: busy"] += 1
            await asyncio.sleep(json.loads(body)["error"]["retry_after"])
            return
        if response.status != 200:
            self.faults.append(f"sound was refused: {response.status} {body[:200]!r}")
        self.counts["played"] += 1
        self._digests.add(hashlib.sha256(body).hexdigest())
        if len(self._digests) > 1:
            self.faults.append("the same minute sounds different")

    async def somebody(self) -> None:
        async with self._browser(200) as browser:
            while True:
                for kind, fields in self._view:
                    await self._ask(browser, "somebody", kind, fields)
                    await asyncio.sleep(1)

    async def watch_memory(self) -> None:
        while True:
            self.most_memory = max(self.most_memory, await asyncio.to_thread(lambda: self._service.memory))
            await asyncio.sleep(0.2)

    def _browser(self, address: int) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(local_addr=(f"127.0.1.{address}", 0), limit=6)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=60, sock_read=60)
        jar = aiohttp.CookieJar(unsafe=True)
        return aiohttp.ClientSession(self._service.url, connector=connector, timeout=timeout, cookie_jar=jar)

    async def _show(self, browser: aiohttp.ClientSession) -> None:
        await asyncio.gather(*(self._ask(browser, "page", kind, fields) for kind, fields in self._view))

    async def _refresh(self, browser: aiohttp.ClientSession) -> None:
        while True:
            await self._ask(browser, "page", "session", {})
            await self._ask(browser, "page", "status", {})
            await asyncio.sleep(REFRESH)

    async def _follow(self, browser: aiohttp.ClientSession) -> None:
        """Its stream, if it gets one; what is new is shown."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with browser.get("/events", headers={"Accept": "text/event-stream"}) as response:
                    self.counts[f"streams {response.status}"] += 1
                    if response.status == 200:
                        async for line in response.content:
                            if line.strip() in NEWS:
                                await self._show(browser)
                        self.counts["streams lost"] += 1
            await asyncio.sleep(30)

    async def _ask(self, browser: aiohttp.ClientSession, who: str, kind: str, fields: dict[str, str]) -> None:
        """As api.js does: what is busy is asked again."""
        began = time.monotonic()
        for _ in range(20):
            try:
                async with browser.get(f"/{kind}", params=fields) as response:
                    answer: dict[str, Any] = await response.json()
            except (aiohttp.ClientError, TimeoutError) as problem:
                # a connection that was idle may be closed: a browser opens another
                self.counts[f"{who}: {type(problem).__name__}"] += 1
                await asyncio.sleep(0.05)
                continue
            if response.status == 200:
                self.waited[who].append(time.monotonic() - began)
                return
            assert answer["error"]["code"] == "busy", answer
            self.counts[f"{who}: busy"] += 1
            await asyncio.sleep(answer["error"]["retry_after"])
        self.faults.append(f"{who}: {kind} was not answered")


async def crowd(service: QueryProcess, bus: Bus, pages: int, seconds: float) -> Crowd:
    """What became of them."""
    found = Crowd(service, START)
    async with asyncio.TaskGroup() as group:
        players = (found.player(number) for number in range(PLAYERS))
        everybody = (found.page(number) for number in range(pages))
        tasks = [
            group.create_task(each)
            for each in (*players, *everybody, found.somebody(), found.watch_memory(), happen(bus))
        ]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
    return found


async def happen(bus: Bus) -> None:
    """A level each second; and instead of a chunk, a gap, after which pages ask as much."""
    second = 0
    while True:
        now = Instant.from_seconds(time.time())
        bus.publish(
            LevelMeasured(at=now, node="porch", laeq=-50.0, lafmax=-45.0, lcpeak=-30.0, unit="dBFS", calibrated=False)
        )
        if second % CHUNK_EVERY == 0:
            bus.publish(GapFound(at=now, node="porch", started_at=now, ended_at=now, cause="restart"))
        second += 1
        await asyncio.sleep(1)


def verdict(found: Crowd, soon: float) -> list[str]:
    """What was not as it should be."""
    faults = list(found.faults)
    if not found.counts["played"]:
        faults.append("nobody heard anything")
    if (slowest := max(found.waited["somebody"], default=float("inf"))) > soon:
        faults.append(f"somebody waited {slowest:.2f} s")
    if found.most_memory > ROOM:
        faults.append(f"{found.most_memory:.0f} MB")
    return faults


def report(found: Crowd) -> None:
    for who, waited in found.waited.items():
        ordered = sorted(waited) or [0.0]
        print(  # noqa: T201
            f"{who}: {len(waited)} answers, median {ordered[len(ordered) // 2]:.3f} s,"
            f" p95 {ordered[int(len(ordered) * 0.95)]:.3f} s, slowest {ordered[-1]:.3f} s"
        )
    print(f"{found.most_memory:.1f} MB; {dict(sorted(found.counts.items()))}")  # noqa: T201


@contextlib.asynccontextmanager
async def node(folder: Path) -> AsyncIterator[tuple[QueryProcess, Bus]]:
    """A node with two minutes of sound, a broker, and its query service."""
    made = QueryNode(folder, CHUNKS)
    with running_broker() as broker:
        bus = Bus(Mqtt(host=broker.host, port=broker.port), "porch", "recorder")
        bus.start()
        bus.wait_connected(30)
        address = (f"mqtt.host={broker.host}", f"mqtt.port={broker.port}")
        with running_query_process(made.settings.catalog.db_path.parent, *address) as service:
            yield service, bus
        bus.stop()


async def play(pages: int, seconds: float, soon: float = SOON) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="imhearing-crowd-") as folder:
        async with node(Path(folder)) as (service, bus):
            found = await crowd(service, bus, pages, seconds)
    report(found)
    return verdict(found, soon)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    faults = asyncio.run(play(options.pages, options.seconds))
    print("\n".join(faults) or "all as it should be")  # noqa: T201
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
