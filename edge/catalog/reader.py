"""The reading half of the catalog, for every process but the archiver."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from edge.catalog.archive_records import ArchiveRecords
from edge.catalog.budget import Budget
from edge.catalog.file import CatalogFile
from edge.catalog.queries import (
    archives_with,
    batched_ids,
    brief_values,
    chunk_run,
    chunk_values,
    chunks_after,
    claims,
    hole_run,
    sounds_with,
    stream_records,
    touching,
)
from edge.catalog.rollup.reader import RollupReader
from edge.catalog.sound_order import sound_run
from edge.catalog.tables import Tables, desc, select
from edge.catalog.values import (
    CatalogChunk,
    CatalogSound,
    ChunkClaim,
    ChunkRun,
    HoleRun,
    SoundKey,
    SoundRange,
    SoundRun,
    unpack,
)
from edge.core.errors import BudgetSpent
from edge.core.instant import FIRST, Instant
from edge.core.values import Archive, Stream


class CatalogReader:
    """Answers from the file at `path`. Every method raises CatalogBusy where trying again soon will help, and
    CatalogError where it will not."""

    def __init__(self, path: Path, file: CatalogFile | None = None) -> None:
        self.file = file or CatalogFile(path)
        self.path = self.file.path
        self._budget: Budget | None = None
        self.archive_records = ArchiveRecords(self.file)
        self.rollup = RollupReader(self._session)

    def close(self) -> None:
        """Closes the calling thread's connection; the next question opens another."""
        self.file.close()

    @contextlib.contextmanager
    def within(self, budget: Budget) -> Iterator[None]:
        """What is read meanwhile counts, and raises BudgetSpent once too much was. One thread at a time."""
        self._budget = budget
        try:
            yield
        finally:
            self._budget = None

    def _session(self) -> contextlib.AbstractContextManager[Tables]:
        return self.file.session(self._budget)

    def chunks_between(self, start: Instant, end: Instant, limit: int) -> list[CatalogChunk]:
        """At most `limit` chunks with sound in [start, end), by their start, then their id."""
        with self._session() as tables:
            return chunk_values(touching(tables.Chunk, start, end), limit)

    def chunk_run(
        self, start: Instant, end: Instant, limit: int, *, duration: int | None = None, times_only: bool = False
    ) -> ChunkRun:
        """As `chunks_between`, within the budget. Without the level of each second, unless there is a `duration`: then
        lean, of so many µs of sound after `start`, and of one chunk more; `times_only`: lean, too. Raises BudgetSpent.
        """
        budget = self._budget or Budget()
        if not budget.rows_left:
            raise BudgetSpent("the question needs more of the catalog than one may read")
        with self._session() as tables:
            most = min(limit, budget.rows_left)
            return chunk_run(tables, start, end, most, budget, duration, times_only=times_only)

    def claims(self, start: Instant, end: Instant, after: tuple[Instant, str] | None, limit: int) -> list[ChunkClaim]:
        """What the next chunks with a part in [start, end) claim, after that start and ID, within the budget."""
        with self._session() as tables:
            return claims(tables, start, end, after, limit)

    def chunks(self, ids: Iterable[str], *, each_second: bool = False) -> list[CatalogChunk]:
        """Those of these chunks that are known, by default without the level of each second."""
        found: list[CatalogChunk] = []
        with self._session() as tables:
            table = tables.Chunk
            for some in batched_ids(ids):
                rows = select(c for c in table if c.chunk_id in some)
                found += brief_values(rows, self._budget or Budget(), each_second=each_second)
        return found

    def every_chunk(self) -> Iterator[CatalogChunk]:
        """All chunks by their start, then their id, with the level of each second; read in batches."""
        after: tuple[int, str] | None = FIRST - 1, ""
        while after is not None:
            with self._session() as tables:
                rows, after = chunks_after(tables, after)
            yield from rows

    def last_chunks(self, start: Instant, end: Instant, limit: int) -> list[CatalogChunk]:
        """The `limit` chunks that began last in [start, end), without the level of each second."""
        with self._session() as tables:
            table, first, last = tables.Chunk, int(start), int(end)
            began = select((c.started_at, c.chunk_id) for c in table if c.started_at >= first and c.started_at < last)
            latest = [chunk_id for _, chunk_id in began.order_by(desc(1))[:limit]]
        return self.chunks(latest)

    def hole_run(self, start: Instant, end: Instant, limit: int) -> HoleRun:
        """The gaps and pauses that count in [start, end) up to `until`, by their start: about `limit` of them."""
        with self._session() as tables:
            return hole_run(tables, start, end, limit)

    def sound_run(self, wanted: SoundRange, after: SoundKey | None, limit: int) -> SoundRun:
        """At most `limit` of the wanted sounds after that one; fewer where the budget ends first."""
        with self._session() as tables:
            return sound_run(tables, wanted, after, limit, self._budget)

    def sounds(self, ids: Iterable[str]) -> list[CatalogSound]:
        """Those of these sounds that are known."""
        with self._session() as tables:
            return [*sounds_with(tables, ids).values()]

    def archives(self, ids: Iterable[str]) -> dict[str, Archive]:
        """The archives of these ids that are known."""
        with self._session() as tables:
            return archives_with(tables, ids)

    def archive(self, archive_id: str) -> Archive | None:
        """One archive by its id; None where it is not known."""
        return self.archives([archive_id]).get(archive_id)

    def known(self, chunk_ids: Iterable[str]) -> set[str]:
        """Those of these chunks that the catalog has a row of."""
        found: set[str] = set()
        with self._session() as tables:
            table = tables.Chunk
            for some in batched_ids(chunk_ids):
                found.update(select(c.chunk_id for c in table if c.chunk_id in some))
        return found

    def stream(self, stream_id: str) -> Stream | None:
        """A stream's record as last registered."""
        with self._session() as tables:
            row = tables.Stream.get(stream_id=stream_id)
            return unpack(row.record, Stream) if row else None

    def streams(self, ids: Iterable[str]) -> dict[str, Stream]:
        """The records of these streams that are known."""
        with self._session() as tables:
            return stream_records(tables, ids)
