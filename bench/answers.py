"""One hour of coverage out of 10,000, 1,000,000 and 10,000,000 chunks, beside the ancestor's way.

`python -m bench.answers [--chunks 10000 1000000 10000000] [--folder DIR]`. Catalogs are made by raw SQL with the
indices that the archiver's have. Each row is as large as a real one, but only chunks of the hours asked for have
manifests that can be read. Times: from the bytes of the request to those of the answer, in the thread of the query
service; beside them the processor time, which does not depend on what else the machine does. The ancestor kept a start
and an end without an index, and loaded the entities that it found one by one, each in a query.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace
from pony import orm

from edge.catalog import Catalog, CatalogReader
from edge.catalog.values import pack
from edge.configuration.settings import S3, Query, Secret, Settings
from edge.core import wire
from edge.core.instant import Instant
from edge.spool.spool import Spool
from query_service.answer.facts import FactReader
from query_service.answer.node_answers import Presigner, Responder
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import Request
from tests.support.spool.chunks import make_chunk

SECOND = 1_000_000
MINUTE = 60 * SECOND
START = Instant.parse("2007-01-01T00:00:00Z")
BEGAN = int(START)
PER_STREAM = 1_000
PER_ARCHIVE = 10
HOURS = 200  # different ones, spread over everything
ASKED = 400
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_ROW = 420  # bytes of a packed manifest

_STREAM = "'20070101T000000Z-' || " + " || ".join(
    f"substr('{_LETTERS}', ((n / {PER_STREAM}) >> {shift} & 31) + 1, 1)" for shift in (15, 10, 5, 0)
)
_ARCHIVE = f"'20070101T000000Z-aaaa-000000-' || printf('%08x', n / {PER_ARCHIVE})"
_NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers LIMIT :count)"


def make_catalog(path: Path, chunks: int, hours: list[int]) -> None:
    """A catalog of `chunks` minutes in a row; those of `hours` (first chunks) can be answered from."""
    with contextlib.closing(Catalog(path)) as catalog:
        catalog.open()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -1000000")
        indices = db.execute(
            "SELECT name, sql FROM sqlite_master"
            " WHERE type = 'index' AND sql > '' AND tbl_name IN ('chunks', 'archives')"
        ).fetchall()
        for name, _ in indices:
            db.execute(f"DROP INDEX {name}")
        db.execute(
            f"""{_NUMBERS} INSERT INTO chunks (chunk_id, stream_id, first_frame, frames, started_at, ended_at, duration,
            uncertain, length, sha256, lafmax, manifest, state, archive_id, "offset")
            SELECT {_STREAM} || '-' || printf('%06d', n % {PER_STREAM}), {_STREAM}, n % {PER_STREAM} * 480000, 480000,
            {BEGAN} + n * {MINUTE}, {BEGAN} + (n + 1) * {MINUTE}, {MINUTE}, 0, 500000, '{"0" * 64}', -30.25,
            zeroblob({_ROW}), 'stored', {_ARCHIVE}, n % {PER_ARCHIVE} * 500100 FROM numbers""",  # noqa: S608
            {"count": chunks},
        )
        db.execute(
            f"""{_NUMBERS} INSERT INTO archives (archive_id, node, bucket, key, length, sha256, chunks, started_at,
            ended_at, planned_at, uploaded_at)
            SELECT '20070101T000000Z-aaaa-000000-' || printf('%08x', n), 'porch', 'garden', 'imhearing/porch/' || n ||
            '.zip', 5002000, '{"0" * 64}', {PER_ARCHIVE}, {BEGAN} + n * {PER_ARCHIVE * MINUTE},
            {BEGAN} + (n + 1) * {PER_ARCHIVE * MINUTE}, {BEGAN}, {BEGAN} FROM numbers""",  # noqa: S608
            {"count": -(-chunks // PER_ARCHIVE)},
        )
        for _, sql in indices:
            db.execute(sql)
        db.executemany("UPDATE chunks SET manifest = ? WHERE chunk_id = ?", _manifests(chunks, hours))
        db.commit()


def _manifests(chunks: int, hours: list[int]) -> Iterator[tuple[bytes, str]]:
    for number in sorted({n for first in hours for n in range(first - 2, first + 64) if 0 <= n < chunks}):
        stream, seq = divmod(number, PER_STREAM)
        name = "20070101T000000Z-" + "".join(_LETTERS[stream >> shift & 31] for shift in (15, 10, 5, 0))
        at = Instant(START + number * MINUTE)
        chunk = make_chunk(seq, b"", stream_id=name, start=Instant(at - seq * 60 * SECOND), seconds=60)
        yield pack(replace(chunk, bytes=500_000)), chunk.chunk_id


def make_ancestor(path: Path, chunks: int) -> None:
    """Its table: a start, an end, a path, an archive; a primary key and no other index."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute(
            'CREATE TABLE Record (id INTEGER PRIMARY KEY, start INTEGER NOT NULL, "end" INTEGER NOT NULL,'
            " path TEXT NOT NULL, archive TEXT)"
        )
        db.execute(
            f"{_NUMBERS} INSERT INTO Record SELECT n + 1, {BEGAN} + n * {MINUTE}, {BEGAN} + (n + 1) * {MINUTE},"  # noqa: S608
            f" '/records/' || n || '.wav', 'archive-' || n / {PER_ARCHIVE} || '.zip' FROM numbers",
            {"count": chunks},
        )
        db.commit()


def ancestor(path: Path) -> Callable[[Instant, Instant], int]:
    """Asks as it did; gives how many records were found."""
    db: Any = orm.Database("sqlite", str(path))

    class Record(db.Entity):  # type: ignore[misc]
        start = orm.Required(int, size=64)
        end = orm.Required(int, size=64)
        path = orm.Required(str)
        archive = orm.Optional(str, nullable=True)

    db.generate_mapping(create_tables=False)
    records: Any = Record  # whose class Pony makes

    def ask(start: Instant, end: Instant) -> int:
        first, last = int(start), int(end)
        with orm.db_session:
            found = orm.select(r.id for r in records if r.start >= first and r.start < last)[:]
            return len([(r.path, r.archive) for r in (records[number] for number in found)])

    return ask


class Spent(NamedTuple):
    """Milliseconds of one question."""

    median: float
    p95: float
    processor: float  # 95th percentile


def timed(ask: Callable[[Instant, Instant], int], hours: list[int], times: int) -> Spent:
    """Over random hours of `hours`."""
    chance = random.Random(7)
    spent, processor = [], []
    for _ in range(times):
        start = Instant(START + chance.choice(hours) * MINUTE + chance.randrange(60 * SECOND))
        began, worked = time.perf_counter(), time.thread_time()
        found = ask(start, Instant(start + 60 * MINUTE))
        processor.append((time.thread_time() - worked) * 1000)
        spent.append((time.perf_counter() - began) * 1000)
        assert 60 <= found <= 61, found
    return Spent(statistics.median(spent), _p95(spent), _p95(processor))


def _p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


def responder(folder: Path, catalog: Path) -> Responder:
    spool = Spool(folder / "spool", "porch")
    spool.create()
    settings = Settings(
        query=Query(url_seconds=900),
        s3=S3(s3_bucket_name="garden", access_key_id=Secret("key"), secret_access_key=Secret("secret")),
    )
    return Responder("porch", FactReader(spool, CatalogReader(catalog)), Presigner(settings))


def run(folder: Path, chunks: int, keep: bool) -> None:
    chance = random.Random(5)
    hours = sorted(chance.randrange(2, chunks - 70) for _ in range(HOURS))
    catalog, old = folder / f"{chunks}.db", folder / f"{chunks}.ancestor.db"
    began = time.monotonic()
    if not catalog.exists():
        make_catalog(catalog, chunks, hours)
    if not old.exists():
        make_ancestor(old, chunks)
    built = time.monotonic() - began
    answering = responder(folder, catalog)

    def ask(start: Instant, end: Instant, urls: bool = False) -> int:
        request = Request(id="bench", from_=start, to=end, urls=urls)
        answer = answering.answer(request)
        assert isinstance(answer, CoverageAnswer), answer
        assert answer.next is None
        assert wire.encode(answer)
        return len(answer.intervals)

    timed(ask, hours, 20)
    plain = timed(ask, hours, ASKED)
    linked = timed(lambda start, end: ask(start, end, True), hours, ASKED)
    before = timed(ancestor(old), hours, 12 if chunks > 100_000 else 100)
    size = catalog.stat().st_size / 1e6
    print(
        f"| {chunks:,} | {size:,.0f} | {_row(plain)} | {_row(linked)} | {_row(before)} | {built:.0f} |",
        flush=True,
    )
    if not keep:
        catalog.unlink()
        old.unlink()


def _row(spent: Spent) -> str:
    return " | ".join(f"{value:.2f}" for value in spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--folder", type=Path, help="with room for 10 GB; catalogs are kept there for the next time")
    args = parser.parse_args()
    print("One question in ms: median, p95, p95 of the processor time.\n")
    print("| chunks | MB | answer | | | with links | | | ancestor | | | built in s |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="imhearing-bench-") as temporary:
        folder = Path(args.folder or temporary)
        for chunks in args.chunks:
            run(folder, chunks, keep=args.folder is not None)


if __name__ == "__main__":
    main()
