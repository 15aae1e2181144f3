"""The archiver's service in a thread, and what it left in the spool, the catalog and the store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.archiver import service
from edge.archiver.pacing import Pacing
from edge.catalog import CatalogChunk, CatalogReader
from edge.catalog.erasures import ErasureResult, Erasures
from edge.configuration.settings import S3, Archive, Mqtt, Node, Recorder, Settings, Thresholds
from edge.configuration.settings import Catalog as CatalogSettings
from edge.core.errors import CatalogBusy
from edge.core.instant import FIRST, LAST, Instant
from query_service.answer.node_answers import NodeAnswers
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import Request
from tests.support.spool.chunks import RATE, SECOND, START, fill_spool
from tests.support.store.s3 import RunningStore
from tests.support.wait import DEADLINE, wait_until

FAST = Pacing(rescan=0.2, report=0.1, first_retry=0.05, longest_link_retry=0.2, longest_retry=0.2, blocked_retry=0.2)


def settings_without_broker(folder: Path, s3: S3) -> Settings:
    """An archiver that archives everything at once, three chunks at a time."""
    return Settings(
        node=Node(name="porch"),
        recorder=Recorder(record_path=folder / "spool"),
        thresholds=Thresholds(records_count=1),
        archive=Archive(archive_max_chunks=3),
        mqtt=Mqtt(host="127.0.0.1", port=1),
        s3=s3,
        catalog=CatalogSettings(db_path=folder / "catalog.db"),
    )


@contextlib.contextmanager
def running_archiver(settings: Settings, pacing: Pacing = FAST) -> Iterator[None]:
    stop = threading.Event()
    problems: list[BaseException] = []

    def run() -> None:
        try:
            service.run(settings, stop, pacing)
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(DEADLINE)
        assert not thread.is_alive(), "the archiver did not end"
        assert not problems, problems


def fill(settings: Settings, count: int, first: int = 0, frames: int = RATE) -> dict[str, bytes]:
    """Chunks in the node's spool; their audio by chunk ID."""
    return fill_spool(settings.recorder.record_path, count, first=first, node=settings.node.name, frames=frames)


def spooled(settings: Settings) -> set[str]:
    """The IDs of all chunks whose audio is in the spool."""
    return {path.name.split(".")[0] for path in settings.recorder.record_path.glob("*.flac")}


def _archives(store: RunningStore) -> list[Path]:
    """Its archives, while folders may go: `os.walk` skips these, `rglob` of Python 3.11 raises."""
    return [
        Path(folder) / name for folder, _, names in os.walk(store.folder) for name in names if name.endswith(".zip")
    ]


def archived(store: RunningStore) -> dict[str, bytes]:
    """Every chunk in the store by its ID; one that is in two archives is a failure."""
    found: dict[str, bytes] = {}
    for path in _archives(store):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist()[:-1]:
                assert name.split(".")[0] not in found, f"{name} is in two archives"
                found[name.split(".")[0]] = archive.read(name)
    return found


def stored_chunks(store: RunningStore) -> list[str]:
    """The IDs of the chunks in all archives in the store; one that is in two archives comes twice."""
    found = []
    for path in _archives(store):
        with contextlib.suppress(zipfile.BadZipFile, FileNotFoundError), zipfile.ZipFile(path) as archive:
            found += [name.split(".")[0] for name in archive.namelist()[:-1]]
    return found


_readers: dict[Path, CatalogReader] = {}


def _reader(catalog: Path) -> CatalogReader:
    """The last one is kept: a new one compiles its queries first, which costs more than to answer them."""
    if catalog not in _readers:
        while _readers:
            _readers.popitem()[1].close()
        _readers[catalog] = CatalogReader(catalog)
    return _readers[catalog]


def catalog_rows(settings: Settings) -> dict[str, CatalogChunk]:
    """All chunks of the catalog by their ID, once it can be read."""

    def read() -> list[CatalogChunk] | None:
        try:
            return _reader(settings.catalog.db_path).chunks_between(FIRST, LAST, 10_000)
        except CatalogBusy:
            return None

    rows = wait_until(lambda: [found] if (found := read()) is not None else None, "the catalog can be read")[0]
    return {row.chunk.chunk_id: row for row in rows}


def rows_by_number(settings: Settings) -> dict[int, CatalogChunk]:
    """All chunks of the catalog, which has one stream, by their sequence number."""
    return {row.chunk.seq: row for row in catalog_rows(settings).values()}


def all_stored(settings: Settings, count: int) -> Callable[[], bool]:
    """Whether the catalog has exactly so many chunks, all in the store, and the spool has none."""

    def ask() -> bool:
        if spooled(settings):
            return False
        rows = catalog_rows(settings)
        return len(rows) == count and all(row.where for row in rows.values())

    return ask


def wait_stored(settings: Settings, count: int) -> None:
    wait_until(lambda: sum(row.where is not None for row in catalog_rows(settings).values()) == count, "all is stored")


def erase(settings: Settings, start: int, end: int) -> ErasureResult:
    """Erases the seconds [start, end) of the recording, and waits until that is done."""
    orders = Erasures(settings.catalog.db_path)
    order = orders.give(Instant(START + start * SECOND), Instant(START + end * SECOND), START)
    wait_until(lambda: orders.result(order.id) is not None, "the order is carried out")
    result = orders.result(order.id)
    assert result is not None
    wait_until(lambda: orders.open() == [], "the order is removed")
    return result


def coverage_of(settings: Settings, seconds: int) -> CoverageAnswer:
    """The coverage of the first seconds of the recording."""

    async def ask() -> CoverageAnswer:
        door = NodeAnswers(settings)
        try:
            end = Instant(START + seconds * SECOND)
            answer = await door.query(Request(id="0123456789abcdef", from_=START, to=end, urls=False))
        finally:
            await door.close()
        assert isinstance(answer, CoverageAnswer), answer
        return answer

    return asyncio.run(ask())
