"""The worst question of every type, to a query service of its own with a large catalog; beside it, others who wait.

`python -m bench.worst_questions [--chunks 1000000] [--sounds 400000] [--folder DIR] [--no-paging]`. One client asks
over HTTP, page after page; meanwhile a second client, from another address, asks for a minute of coverage, a third for
`/status` and `/metrics`, and a writer commits a chunk to the catalog as the archiver does, each ten times a second.
Clips are the longest that are allowed, of sound in the spool, and go to a local store; each counts as a page. Then some
questions are paged to their end, and the whole is compared with what was put into the catalog.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, NamedTuple

from bench import worst_catalog
from bench.worst_catalog import CLIP_SECONDS, DAY, SECOND, Plan
from edge.catalog import Catalog
from edge.configuration.settings import S3
from edge.core.instant import Instant
from tests.support.spool.chunks import make_chunk
from tests.support.store.s3 import running_store

PAGES = 40  # of each question, where it has so many
EVERY = 0.1  # seconds between two questions of those who wait
Question = dict[str, Any]
_COMPARED = ("from", "to", "chunk_id", "sound_id", "seconds")


class Asked(NamedTuple):
    """One question: seconds of each page and refusal, and what came."""

    seconds: list[float]
    pages: list[list[tuple[Any, ...]]]
    busy: int
    refused: str


class Client:
    """One connection to the query service, from an address of its own."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, 60, source_address=(address, 0))

    def get(self, path: str) -> bytes:
        self._connection.request("GET", path)
        response = self._connection.getresponse()
        return response.read()

    def post(self, question: Question) -> Any:
        body = json.dumps({"id": os.urandom(8).hex(), **question})
        self._connection.request("POST", "/query", body, {"Content-Type": "application/json"})
        return json.loads(self._connection.getresponse().read())

    def pages(self, question: Question, most: int) -> Asked:
        """At most `most` pages; a busy node is asked again, as it says."""
        asked, cursor, busy = Asked([], [], 0, ""), question.get("cursor"), 0
        while len(asked.pages) < most:
            began = time.perf_counter()
            answer = self.post({**question, "cursor": cursor})
            asked.seconds.append(time.perf_counter() - began)
            if answer["ok"]:
                cursor = answer.get("next")
                items = answer.get("intervals", answer.get("sounds", answer.get("levels", [answer.get("clip")])))
                asked.pages.append([tuple(item.get(name) for name in _COMPARED) for item in items])
                if cursor is None:
                    break
                assert items, "an empty page with a cursor"
            elif answer["error"]["code"] == "busy":
                busy += 1
                time.sleep(answer["error"]["retry_after"])
            else:
                return asked._replace(busy=busy, refused=answer["error"]["message"])
        return asked._replace(busy=busy)


def questions(wanted: Plan) -> Iterator[tuple[str, Question]]:
    first, last = str(worst_catalog.START), str(wanted.end)
    everything: Question = {"from": first, "to": last}
    quiet = {"from": first, "to": str(Instant(wanted.minutes.start + (wanted.minutes.end - wanted.minutes.start) // 5))}
    for name, part in zip(("minutes", "hours", "seconds", "crowd"), wanted.parts, strict=True):
        span = {"from": str(part.start), "to": str(part.end)}
        yield f"coverage, {name}", {"type": "coverage", **span}
        for step in (1, 60, 3_600, 86_400):
            yield f"levels, {name}, step {step}", {"type": "levels", "step": step, **span}
    yield "coverage, gaps", {"type": "coverage", "from": str(wanted.gaps_start), "to": last}
    yield "coverage, one interval a page", {"type": "coverage", "limit": 1, **everything}
    yield "sounds, loudest", {"type": "sounds", **everything}
    yield "sounds, loudest of the quietest", {"type": "sounds", **quiet}
    yield "sounds, by time", {"type": "sounds", "order": "time", **everything}
    yield "sounds, by time, none so loud", {"type": "sounds", "order": "time", "min_level": 90, **everything}
    yield "sounds, loudest, none so loud", {"type": "sounds", "min_level": 90, **everything}
    yield "sounds, one a page", {"type": "sounds", "limit": 1, **everything}
    yield "sounds, forged cursor", {"type": "sounds", "cursor": "AAAAAAAAAAAAAAAAWy0xZTMwMCwxMCwieCJd", **everything}


def clip_questions(wanted: Plan) -> Iterator[tuple[str, Question]]:
    """The longest clip, the first one since the service started; others of other seconds; one again; one too long."""
    whole = CLIP_SECONDS * SECOND
    for name, first, length in (
        ("longest, the first", 0, whole),
        ("longest, again", 0, whole),
        ("a second later", SECOND, whole - SECOND),
        ("two seconds later", 2 * SECOND, whole - 2 * SECOND),
        ("too long", 0, whole + SECOND),
        ("of the crowd", wanted.crowd.start - wanted.end, 60 * SECOND),
        ("of ten minutes of chunks of a second", wanted.seconds.start - wanted.end, whole),
    ):
        start = wanted.end + first
        span = {"from": str(Instant(start)), "to": str(Instant(start + length))}
        yield f"clip, {name}", {"type": "clip", **span}


def waiting_client(port: int, address: str, paths: list[str], stop: Event, spent: Any) -> None:
    client = Client(port, address)
    while not stop.is_set():
        for path in paths:
            began = time.perf_counter()
            client.get(path)
            spent.put(time.perf_counter() - began)
        stop.wait(EVERY)


def writer(path: Path, stop: Event, spent: Any) -> None:
    with contextlib.closing(Catalog(path)) as catalog:
        catalog.open()
        seq = 0
        while not stop.is_set():
            chunk = make_chunk(seq, b"", stream_id="20260303T220000Z-zzzz", start=Instant.parse("2026-03-03T22:00:00Z"))
            began = time.perf_counter()
            catalog.registration.add_chunks([chunk])
            spent.put(time.perf_counter() - began)
            seq += 1
            stop.wait(EVERY)


class Waiting:
    """Those who wait, each in a process of its own, while they are needed."""

    def __init__(self, port: int, catalog: Path, wanted: Plan) -> None:
        minute = f"/coverage?from={wanted.minutes.start}&to={Instant(wanted.minutes.start + 60 * SECOND)}"
        self._stop = multiprocessing.Event()
        self.spent: dict[str, Any] = {name: multiprocessing.Queue() for name in ("client", "status", "commit")}
        arguments: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
            (waiting_client, (port, "127.0.0.2", [minute], self._stop, self.spent["client"])),
            (waiting_client, (port, "127.0.0.3", ["/status", "/metrics"], self._stop, self.spent["status"])),
            (writer, (catalog, self._stop, self.spent["commit"])),
        ]
        self._processes = [multiprocessing.Process(target=target, args=args) for target, args in arguments]

    def __enter__(self) -> Waiting:
        for process in self._processes:
            process.start()
        for name in self.spent:
            self.spent[name].get(timeout=60)  # each has begun; its first time does not count
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for process in self._processes:
            process.join(30)

    def worst(self) -> dict[str, float]:
        """Milliseconds since the last call."""
        time.sleep(EVERY)
        found = {}
        for name, queue in self.spent.items():
            times = [0.0]
            while not queue.empty():
                times.append(queue.get())
            found[name] = max(times) * 1000
        return found


def memory(process: int, name: str) -> float:
    """VmRSS or VmHWM of a process, in MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(process)


@contextlib.contextmanager
def query_service(folder: Path, store: S3) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The query service on `folder`, which has a catalog; and the port of its HTTP door."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "config.ini"
    config.write_text(
        f"[node]\nname = porch\n[http]\nport = {port}\n[s3]\ns3_bucket_name = {store.s3_bucket_name}\n"
        f"endpoint_url = {store.endpoint_url}\naccess_key_id = {store.access_key_id.reveal()}\n"
        f"secret_access_key = {store.secret_access_key.reveal()}\n"
        "[query]\ncursor_key = 0123456789abcdef\n[log]\nlevel = warning\n"
    )
    config.chmod(0o600)
    command = [sys.executable, "imhearing.py", "query-service", "--data", str(folder), "--config", str(config)]
    process = subprocess.Popen(command, env={**os.environ, "MALLOC_ARENA_MAX": "1"})
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                Client(port).get("/status")
                break
            except OSError:
                assert time.monotonic() < deadline, "the query service did not start"
                time.sleep(0.1)
        yield process, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def measure(process: int, port: int, catalog: Path, wanted: Plan) -> None:
    print("| question | pages | busy | page, worst, ms | client, ms | status, ms | commit, ms | MB | |")
    print("|---|---|---|---|---|---|---|---|---|")
    client = Client(port)
    with Waiting(port, catalog, wanted) as waiting:
        for name, question in [*questions(wanted), *clip_questions(wanted)]:
            waiting.worst()
            asked = client.pages(question, PAGES)
            worst, slowest = waiting.worst(), max(asked.seconds) * 1000
            numbers = " | ".join(f"{worst[who]:.0f}" for who in ("client", "status", "commit"))
            print(
                f"| {name} | {len(asked.pages)} | {asked.busy} | {slowest:.0f} | {numbers}"
                f" | {memory(process, 'VmRSS'):.0f} | {asked.refused} |",
                flush=True,
            )
    print(f"\nmost memory: {memory(process, 'VmHWM'):.0f} MB; load {os.getloadavg()[0]:.1f}\n")


def compare(port: int, wanted: Plan) -> None:
    """Pages to the end, against what is in the catalog."""
    client = Client(port)
    span: Question = {"from": str(worst_catalog.START), "to": str(wanted.end), "urls": False}
    times = list(worst_catalog.sound_times(wanted))
    orders: dict[str, Callable[[int], Any]] = {
        "loudest": lambda number: (-times[number][2], times[number][0], number),
        "time": lambda number: number,
    }
    for order, key in orders.items():
        asked = client.pages({"type": "sounds", "order": order, **span}, 10**9)
        found = [name for page in asked.pages for _, _, _, name, _ in page]
        expected = [worst_catalog.sound_name(number) for number in sorted(range(wanted.sounds), key=key)]
        report(f"sounds by {order}", asked, found == expected, len(found))
    asked = client.pages({"type": "coverage", **span, "to": str(wanted.seconds.end)}, 10**9)
    intervals = [interval for page in asked.pages for interval in page]
    expected = [worst_catalog.chunk_name(part, number) for part in wanted.parts[:3] for number in range(part.chunks)]
    tiles = all(before[1] == after[0] for before, after in pairwise(intervals))
    same = [chunk for _, _, chunk, _, _ in intervals] == expected
    report("coverage", asked, same and tiles, len(intervals))
    asked = client.pages({"type": "levels", "step": 86_400, **span, "to": str(wanted.seconds.end)}, 10**9)
    seconds = [count for page in asked.pages for *_, count in page]
    length = wanted.seconds.end - worst_catalog.START
    same = len(seconds) == -(-length // DAY) and sum(seconds) == length // SECOND
    report("levels by day", asked, same, len(seconds))


def report(name: str, asked: Asked, is_complete: bool, items: int) -> None:
    outcome = "complete" if is_complete and not asked.refused else f"NOT COMPLETE {asked.refused}"
    late = sum(seconds > 0.5 for seconds in asked.seconds)
    print(
        f"{name}: {items} in {len(asked.pages)} pages, {asked.busy} busy, slowest {max(asked.seconds) * 1000:.0f} ms,"
        f" {late} above 500 ms,"
        f" {sum(asked.seconds):.0f} s in all: {outcome}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--sounds", type=int, default=400_000)
    parser.add_argument("--folder", type=Path, help="with room for 2 GB; the catalog is kept there for the next time")
    parser.add_argument("--no-paging", action="store_true", help="leave out the comparison of whole answers")
    args = parser.parse_args()
    wanted = worst_catalog.plan(args.chunks, args.sounds)
    with tempfile.TemporaryDirectory(prefix="imhearing-bench-") as temporary:
        folder = Path(args.folder or temporary)
        folder.mkdir(exist_ok=True)
        catalog = folder / "catalog.db"
        if not catalog.exists():
            began = time.monotonic()
            worst_catalog.make(folder / "unfinished.db", wanted)
            with contextlib.closing(Catalog(folder / "unfinished.db")) as made:
                made.open()  # the first time, it computes the days' sums
            (folder / "unfinished.db").rename(catalog)
            print(f"{catalog.stat().st_size / 1e6:.0f} MB, made in {time.monotonic() - began:.0f} s\n", flush=True)
        if not (folder / "spool").exists():
            worst_catalog.make_spool(folder / "spool.unfinished", wanted)
            (folder / "spool.unfinished").rename(folder / "spool")
        with running_store() as store, query_service(folder, store.settings) as (process, port):
            print(f"at start: {memory(process.pid, 'VmRSS'):.0f} MB; load {os.getloadavg()[0]:.1f}\n", flush=True)
            measure(process.pid, port, catalog, wanted)
            if not args.no_paging:
                compare(port, wanted)


if __name__ == "__main__":
    main()
