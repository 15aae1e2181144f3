"""A question over the Ably SDK on both sides, on loopback: how long until the answer, alone and of 20 clients at once.

`python -m bench.roundtrip [--asks 300] [--clients 20]`. Three processes, as on a node: the realtime server, the query
service, and this one, which asks; besides the time it tells how much memory the query service holds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

import imhearing
from edge.configuration import loader as config
from edge.configuration.settings import Ably, Http, Mqtt, Settings
from edge.core.files import write_atomically
from edge.core.instant import Instant
from edge.embedded import ports
from query_service import api
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import Request, new_id
from query_service.realtime.tokens import new_api_key
from tests.support.messaging.broker import running_broker
from tests.support.nodes.query_node import QueryNode
from tests.support.spool.chunks import START
from tests.support.store.s3 import running_store
from tests.support.wait import wait_until

SECOND = 1_000_000
CHUNKS = 60


@contextlib.contextmanager
def process(name: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{name}.log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, imhearing.__file__, name, "--data", str(folder)], stdout=log, stderr=log
        )
        try:
            yield running
        finally:
            running.terminate()
            running.wait(10)


@contextlib.contextmanager
def node(folder: Path) -> Iterator[tuple[Settings, int]]:
    """A node of an hour of chunks, all but five of them archived; its settings and its query service's process id."""
    with running_broker() as broker, running_store() as store:
        made = QueryNode(folder, CHUNKS)
        names = sorted(made.audio)
        for first in range(0, CHUNKS - 5, 10):
            made.archive(store.settings, names[first : min(first + 10, CHUNKS - 5)])
        port = ports.choose(None)
        settings = replace(
            made.settings,
            s3=store.settings,
            mqtt=Mqtt(host=broker.host, port=broker.port),
            http=Http(port=ports.choose(None)),
            ably=Ably(api_key=new_api_key(), endpoint=f"127.0.0.1:{port}"),
        )
        write_atomically(folder / "config.ini", config.to_ini(settings, "bench").encode(), 0o600)
        with process("realtime-server", folder):
            wait_until(lambda: ports.answers(port), "the realtime server answers")
            with process("query-service", folder) as service:
                yield settings, service.pid


async def ask(door: api.NodeClient, number: int, urls: bool) -> float:
    """Milliseconds until the right answer."""
    start = Instant(START + number % 997)
    began = time.perf_counter()
    answer = await door.query(Request(id=new_id(), from_=start, to=Instant(START + CHUNKS * SECOND), urls=urls), 20)
    spent = (time.perf_counter() - began) * 1000
    assert isinstance(answer, CoverageAnswer), answer
    assert (answer.from_, len(answer.intervals)) == (start, CHUNKS)
    return spent


async def alone(settings: Settings, via: api.Via, asks: int, urls: bool) -> list[float]:
    async with api.connect(settings, via) as door:
        for number in range(10):
            await ask(door, number, urls)
        spent = []
        for number in range(asks):
            spent.append(await ask(door, number, urls))
            await asyncio.sleep(0.03)  # the service allows 50 messages a second
        return spent


async def together(settings: Settings, clients: int, each: int) -> list[float]:
    async with contextlib.AsyncExitStack() as stack:
        doors = [await stack.enter_async_context(api.connect(settings, "ably")) for _ in range(clients)]

        async def one(number: int) -> list[float]:
            return [await ask(doors[number], number * each + turn, False) for turn in range(each)]

        return [spent for some in await asyncio.gather(*map(one, range(clients))) for spent in some]


def tell(what: str, spent: list[float]) -> None:
    ranked = sorted(spent)
    values = (ranked[0], statistics.median(spent), ranked[int(len(ranked) * 0.95)], ranked[-1])
    print(f"| {what} | {len(spent)} | {' | '.join(f'{value:.1f}' for value in values)} |", flush=True)


def resident(pid: int) -> float:
    """Megabytes."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asks", type=int, default=300)
    parser.add_argument("--clients", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imhearing-bench-") as folder, node(Path(folder)) as (settings, pid):
        api.query(settings, "ably", type="status", timeout=30)
        print(f"An hour of {CHUNKS} chunks, ms. The query service at the start: {resident(pid):.0f} MB resident.\n")
        print("| way | answers | fastest | median | p95 | worst |\n|---|---|---|---|---|---|")
        tell("ably", asyncio.run(alone(settings, "ably", args.asks, False)))
        tell("mqtt", asyncio.run(alone(settings, "mqtt", args.asks, False)))
        tell("http", asyncio.run(alone(settings, "http", args.asks, False)))
        print(f"\nresident: {resident(pid):.0f} MB without links", flush=True)
        tell("ably, with links", asyncio.run(alone(settings, "ably", args.asks, True)))
        tell(f"ably, {args.clients} clients at once", asyncio.run(together(settings, args.clients, 5)))
        print(f"\nresident at the end: {resident(pid):.0f} MB")


if __name__ == "__main__":
    main()
