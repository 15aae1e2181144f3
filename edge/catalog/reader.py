"""The reading half of the catalog, for every process but the archiver."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from edge.catalog.archive_records import ArchiveRecords
from edge.catalog.file import CatalogFile
from edge.catalog.queries import archive_value, batched_ids, chunk_values, sound_value, stream_records, touching
from edge.catalog.tables import desc, select
from edge.catalog.values import CatalogChunk, CatalogSound, unpack
from edge.core.instant import Instant
from edge.core.values import Archive, Hole, Stream

_LOUDEST_DBFS = 10.0  # dB: anything below was not measured in dBA, where no microphone is that quiet
_LONGEST_SOUND = 86_400_000_000  # µs


class CatalogReader:
    """Answers from the file at `path`. Every method raises CatalogBusy where trying again soon will help, and
    CatalogError where it will not."""

    def __init__(self, path: Path, file: CatalogFile | None = None) -> None:
        self.file = file or CatalogFile(path)
        self.path = self.file.path
        self.archive_records = ArchiveRecords(self.file)

    def close(self) -> None:
        """Closes the calling thread's connection; the next question opens another."""
        self.file.close()

    def chunks_between(self, start: Instant, end: Instant, limit: int) -> list[CatalogChunk]:
        """At most `limit` chunks with sound in [start, end), by their start, then their id."""
        with self.file.session() as tables:
            return chunk_values(touching(tables.Chunk, start, end), limit)

    def chunk(self, chunk_id: str) -> CatalogChunk | None:
        """One chunk by its id; None where it is not known."""
        with self.file.session() as tables:
            table = tables.Chunk
            found = chunk_values(select(c for c in table if c.chunk_id == chunk_id), 1)
            return found[0] if found else None

    def holes_between(self, start: Instant, end: Instant) -> list[Hole]:
        """The gaps and pauses with a part in [start, end), by their start."""
        with self.file.session() as tables:
            holes = touching(tables.Hole, start, end)
            found = select((h.started_at, h.ended_at, h.cause, h.id) for h in holes).order_by(1, 2, 4)
            return [Hole(cause, Instant(began), Instant(ended)) for began, ended, cause, _ in found]

    def sounds_between(
        self, start: Instant, end: Instant, limit: int, *, loudest_first: bool = False
    ) -> list[CatalogSound]:
        """At most `limit` sounds that began in [start, end), in order or by their LAFmax."""
        with self.file.session() as tables:
            table, first, last = tables.Sound, int(start), int(end)
            found = select(s for s in table if s.started_at >= first and s.started_at < last)
            if loudest_first:
                found = found.order_by(desc(table.lafmax), table.started_at)
            else:
                found = found.order_by(table.started_at, table.sound_id)
            return [sound_value(row) for row in found[:limit]]

    def archives(self, ids: Iterable[str]) -> dict[str, Archive]:
        """The archives of these ids that are known."""
        found: dict[str, Archive] = {}
        with self.file.session() as tables:
            table = tables.Archive
            for some in batched_ids(ids):
                found.update(
                    (row.archive_id, archive_value(row)) for row in select(a for a in table if a.archive_id in some)
                )
        return found

    def archive(self, archive_id: str) -> Archive | None:
        """One archive by its id; None where it is not known."""
        return self.archives([archive_id]).get(archive_id)

    def known(self, chunk_ids: Iterable[str]) -> set[str]:
        """Those of these chunks that the catalog has a row of."""
        found: set[str] = set()
        with self.file.session() as tables:
            table = tables.Chunk
            for some in batched_ids(chunk_ids):
                found.update(select(c.chunk_id for c in table if c.chunk_id in some))
        return found

    def stream(self, stream_id: str) -> Stream | None:
        """A stream's record as last registered."""
        with self.file.session() as tables:
            row = tables.Stream.get(stream_id=stream_id)
            return unpack(row.record, Stream) if row else None

    def streams(self, ids: Iterable[str]) -> dict[str, Stream]:
        """The records of these streams that are known."""
        with self.file.session() as tables:
            return stream_records(tables, ids)

    def has_sound_between(self, start: Instant, end: Instant, stream_id: str) -> bool:
        """Whether any sound has a part in [start, end). One without an end counts for its own stream alone."""
        with self.file.session() as tables:
            table, first, last = tables.Sound, int(start), int(end)
            earliest = first - _LONGEST_SOUND
            return bool(
                select(
                    s
                    for s in table
                    if s.started_at < last
                    and s.started_at > earliest
                    and (s.ended_at > first or (s.ended_at is None and s.stream_id == stream_id))
                ).exists()
            )

    def is_loud_between(self, start: Instant, end: Instant, level: float) -> bool:
        """Whether a chunk with sound in [start, end) that is not gone was as loud as `level`, or was not measured."""
        with self.file.session() as tables:
            chunks, loudest_dbfs = touching(tables.Chunk, start, end), _LOUDEST_DBFS if level > 0 else -math.inf
            loud = select(
                c
                for c in chunks
                if c.state != "gone" and (c.lafmax is None or c.lafmax >= level or c.lafmax < loudest_dbfs)
            )
            return bool(loud.exists())
