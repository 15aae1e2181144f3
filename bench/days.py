"""What the roll-up costs the archiver for each chunk, and how fast a year's days are answered.

`python -m bench.days [--days 365] [--chunk 60] [--folder DIR]`. Registers chunks one by one, as the archiver does (and
without the roll-up), then fills a catalog with a year of minutes, with levels, and asks for 400 days, page by page, and
for the extent. Times are of the processor and of the clock.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from msgspec.structs import replace

from edge.catalog import Catalog, CatalogReader
from edge.core import wire
from edge.core.ids import chunk_id
from edge.core.instant import Instant
from edge.core.values import Chunk, Levels
from edge.spool.spool import Spool
from query_service.answer.facts import FactReader
from query_service.answer.node_answers import Responder
from query_service.queries.days import DaysAnswer
from query_service.queries.extent import ExtentAnswer
from query_service.queries.protocol import Request
from query_service.queries.values import ErrorAnswer
from tests.support.spool.chunks import make_chunk

SECOND = 1_000_000
START = Instant.parse("2025-11-01T00:00:00Z")
ONE_BY_ONE = 300
TIMES = 40
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def chunks(count: int, seconds: int) -> Iterator[Chunk]:
    chance = random.Random(5)
    model = make_chunk(0, b"", seconds=seconds)
    for number in range(count):
        stream, seq = divmod(number, 10_000)
        name = "20251101T000000Z-" + "".join(_LETTERS[stream >> shift & 31] for shift in (15, 10, 5, 0))
        at = Instant(START + number * seconds * SECOND)
        each = tuple(round(chance.uniform(-70, -20), 1) for _ in range(seconds))
        yield replace(
            model, chunk_id=chunk_id(name, seq), stream_id=name, seq=seq, first_frame=seq * model.frames,
            started_at=at, ended_at=Instant(at + seconds * SECOND), bytes=500_000,
            levels=Levels("dBFS", False, -40.5, -30.2, -20.0, -35.0, -41.0, -45.5, each),
        )  # fmt: skip


def registered(folder: Path, seconds: int) -> tuple[float, float]:
    """Median milliseconds of the processor and of the clock for one chunk, in a commit of its own."""
    worked, passed = [], []
    with contextlib.closing(Catalog(folder / f"{time.monotonic_ns()}.db")) as catalog:
        catalog.open()
        for chunk in chunks(ONE_BY_ONE, seconds):
            began, at_work = time.perf_counter(), time.thread_time()
            catalog.registration.add_chunks([chunk])
            worked.append((time.thread_time() - at_work) * 1000)
            passed.append((time.perf_counter() - began) * 1000)
    return statistics.median(worked), statistics.median(passed)


def pages(responder: Responder, request: Request) -> tuple[list[float], list[float], int]:
    """Milliseconds of the processor and of the clock for each page, and bytes."""
    worked, passed, size = [], [], 0
    while True:
        began, at_work = time.perf_counter(), time.thread_time()
        answer = responder.answer(request)
        data = wire.encode(answer)
        worked.append((time.thread_time() - at_work) * 1000)
        passed.append((time.perf_counter() - began) * 1000)
        if isinstance(answer, ErrorAnswer):
            assert answer.error.code == "busy", answer
            continue
        assert isinstance(answer, DaysAnswer | ExtentAnswer), answer
        size += len(data)
        if isinstance(answer, ExtentAnswer) or answer.next is None:
            return worked, passed, size
        request = replace(request, cursor=answer.next)


def timed(responder: Responder, request: Request) -> str:
    wholes, work, each, size, count = [], [], [], 0, 0
    for _ in range(TIMES):
        worked, passed, size = pages(responder, request)
        wholes.append(sum(passed))
        work.append(sum(worked))
        each += passed
        count = len(passed)
    p95: Callable[[list[float]], float] = lambda values: sorted(values)[int(len(values) * 0.95)]  # noqa: E731
    return (
        f"{count} questions, {size / 1000:.0f} kB: median {statistics.median(wholes):.1f} ms, p95 {p95(wholes):.1f} ms,"
        f" processor {statistics.median(work):.1f} ms; one question p95 {p95(each):.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--chunk", type=int, nargs="+", default=[60, 3_600, 1], help="lengths in seconds")
    parser.add_argument("--folder", type=Path, help="the catalog is kept there for the next time")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imhearing-bench-") as temporary:
        folder = Path(args.folder or temporary)
        for seconds in args.chunk:
            with mock.patch("edge.catalog.file.refresh"):
                without = registered(Path(temporary), seconds)
            found = registered(Path(temporary), seconds)
            print(
                f"chunks of {seconds} s: {found[0]:.2f} ms of the processor, {found[1]:.2f} ms;"
                f" without the roll-up {without[0]:.2f} and {without[1]:.2f} ms",
                flush=True,
            )
        path, count = folder / f"{args.days}-days.db", args.days * 1_440
        if not path.exists():
            with contextlib.closing(Catalog(path)) as catalog:
                catalog.open()
                began, worked = time.monotonic(), time.thread_time()
                catalog.registration.add_chunks(chunks(count, 60))
                print(
                    f"{count} chunks registered in {time.monotonic() - began:.0f} s,"
                    f" {(time.thread_time() - worked) / count * 1000:.2f} ms of the processor each",
                    flush=True,
                )
        print(f"{path.stat().st_size / 1e6:.0f} MB")
        spool = Spool(folder / "spool", "porch")
        spool.create()
        now = Instant(START + args.days * 86_400 * SECOND)
        with contextlib.closing(CatalogReader(path)) as reader:
            responder = Responder("porch", FactReader(spool, reader), lambda _: None, clock=lambda: now)
            day = 86_400 * SECOND
            for zone in ("UTC", "Europe/Berlin"):
                request = Request(id="bench", type="days", from_=Instant(now - 400 * day), to=now, zone=zone)
                print(f"400 days, {zone}: {timed(responder, request)}", flush=True)
            request = Request(id="bench", type="days", from_=Instant(now - day), to=now, zone="Europe/Berlin")
            print(f"yesterday and today: {timed(responder, request)}")
            print(f"extent: {timed(responder, Request(id='bench', type='extent'))}")


if __name__ == "__main__":
    main()
