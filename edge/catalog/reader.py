"""The reading half of the catalog, for any process beside the archiver's."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from edge.catalog.tables import Tables, desc, greatest, select, total
from edge.catalog.values import CatalogChunk, CatalogSound, unpack
from edge.core.instant import Instant
from edge.core.values import Archive, Chunk, Hole, Stream, Where

T = TypeVar("T")
_EVERY = 1_000_000_000
_AT_ONCE = 512  # ids in one query; SQLite before 3.32 takes 999
_SIZES = (1, 8, 64, _AT_ONCE)  # of `in`: Pony keeps its SQL for each, for ever (500 ids: 400 kB)


class CatalogReader:
    """Answers from the file at `path`, which is opened at the first question and again whenever it was replaced.

    Every method raises CatalogBusy where trying again soon will do, and CatalogError where it will not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()  # Pony takes relative ones from its own folder
        self._tables: Tables | None = None
        self._opening = threading.Lock()

    def close(self) -> None:
        """Closes the calling thread's connection; the next question opens another."""
        with self._opening:
            if self._tables is not None:
                self._tables.close()
            self._tables = None

    def chunks_between(self, start: Instant, end: Instant, limit: int) -> list[CatalogChunk]:
        """At most `limit` chunks with sound in [start, end), by their start, then their id."""
        with self._session() as tables:
            table, earliest = tables.Chunk, int(start) - longest(tables.Chunk)
            first, last = int(start), int(end)
            found = select(c for c in table if c.started_at < last and c.started_at > earliest and c.ended_at > first)
            return chunk_values(found, limit)

    def chunk(self, chunk_id: str) -> CatalogChunk | None:
        """One chunk by its id; None where it is not known."""
        with self._session() as tables:
            table = tables.Chunk
            found = chunk_values(select(c for c in table if c.chunk_id == chunk_id), 1)
            return found[0] if found else None

    def holes_between(self, start: Instant, end: Instant) -> list[Hole]:
        """The gaps and pauses with a part in [start, end), by their start."""
        with self._session() as tables:
            table, earliest = tables.Hole, int(start) - longest(tables.Hole)
            first, last = int(start), int(end)
            found = select(
                (h.started_at, h.ended_at, h.cause, h.id)
                for h in table
                if h.started_at < last and h.started_at > earliest and h.ended_at > first
            ).order_by(1, 2, 4)
            return [Hole(cause, Instant(began), Instant(ended)) for began, ended, cause, _ in found]

    def sounds_between(
        self, start: Instant, end: Instant, limit: int, *, loudest_first: bool = False
    ) -> list[CatalogSound]:
        """At most `limit` sounds that began in [start, end), in order or by their LAFmax."""
        with self._session() as tables:
            table, first, last = tables.Sound, int(start), int(end)
            found = select(s for s in table if s.started_at >= first and s.started_at < last)
            if loudest_first:
                found = found.order_by(desc(table.lafmax), table.started_at)
            else:
                found = found.order_by(table.started_at, table.sound_id)
            return [_sound(row) for row in found[:limit]]

    def archives(self, ids: Iterable[str]) -> dict[str, Archive]:
        """The archives of these ids that are known."""
        found: dict[str, Archive] = {}
        with self._session() as tables:
            table = tables.Archive
            for some in batched_ids(ids):
                found.update(
                    (row.archive_id, archive_value(row)) for row in select(a for a in table if a.archive_id in some)
                )
        return found

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
        found: dict[str, Stream] = {}
        with self._session() as tables:
            table = tables.Stream
            for some in batched_ids(ids):
                rows = select((s.stream_id, s.record) for s in table if s.stream_id in some)
                found.update((stream_id, unpack(record, Stream)) for stream_id, record in rows)
        return found

    def archive_ids(self) -> list[str]:
        """Every archive that is uploaded and is to stay, by its id."""
        with self._session() as tables:
            table = tables.Archive
            return sorted(select(a.archive_id for a in table if a.uploaded_at is not None and a.gone is None))

    def doomed(self) -> list[Archive]:
        """The archives that are gone for the catalog, and may still be in the store."""
        with self._session() as tables:
            table = tables.Archive
            found = select(a for a in table if a.gone is not None and a.deleted_at is None).order_by(table.archive_id)
            return [archive_value(row) for row in found]

    def uploaded_before(self, moment: Instant, limit: int) -> list[Archive]:
        """At most `limit` archives that are in the store since before `moment`, the oldest first."""
        with self._session() as tables:
            table, last = tables.Archive, int(moment)
            found = select(a for a in table if a.uploaded_at < last and a.gone is None).order_by(table.uploaded_at)
            return [archive_value(row) for row in found[:limit]]

    def kept(self, month: Instant) -> list[tuple[int, Instant]]:
        """(bytes, since when) in the store: one sum for all before `month`, then each archive since."""
        with self._session() as tables:
            table, first = tables.Archive, int(month)
            before = select(total(a.length) for a in table if a.uploaded_at < first and a.gone is None).first()
            since = select(
                (a.archive_id, a.length, a.uploaded_at) for a in table if a.uploaded_at >= first and a.gone is None
            )
            return [(int(before or 0), month), *((length, Instant(at)) for _, length, at in since)]

    def open_plans(self) -> list[Archive]:
        """The archives of waiting chunks that are planned and not uploaded, in the order of planning."""
        return [archive for archive in self._unfinished() if archive.replaces is None]

    def open_rewrites(self) -> list[Archive]:
        """The archives that are to replace others and are not uploaded."""
        return [archive for archive in self._unfinished() if archive.replaces is not None]

    def _unfinished(self) -> list[Archive]:
        with self._session() as tables:
            table = tables.Archive
            found = select(a for a in table if a.uploaded_at is None and a.gone is None)
            return [archive_value(row) for row in found.order_by(table.planned_at, table.archive_id)]

    def members(self, archive_id: str) -> list[CatalogChunk]:
        """The chunks that an archive holds or will hold, in its order."""
        with self._session() as tables:
            table = tables.Chunk
            found = chunk_values(select(c for c in table if c.archive_id == archive_id), _EVERY)
            return sorted(found, key=lambda row: row.where.offset if row.where else 0)

    def to_tell(self, archive_id: str) -> dict[str, Chunk]:
        """The chunks of an archive, by their ids, as the manifest of another one that holds them has to tell them."""
        with self._session() as tables:
            table = tables.Chunk
            found = chunk_values(select(c for c in table if c.archive_id == archive_id), _EVERY, to_tell=True)
            return {row.chunk.chunk_id: row.chunk for row in found}

    @contextlib.contextmanager
    def _session(self) -> Iterator[Tables]:
        tables = self._open()
        with tables.session():
            yield tables

    def _open(self) -> Tables:
        with self._opening:
            if self._tables is not None and self._tables.replaced():
                self._tables.close()
                self._tables = None
            if self._tables is None:
                self._tables = Tables(self.path, read_only=True)
            return self._tables


def longest(table: Any) -> int:
    """The longest of all rows, in µs: one step in the index, and what keeps a range query flat."""
    return (greatest(row.duration for row in table) or 0) + 1


def batched(items: Iterable[T]) -> Iterator[list[T]]:
    """Runs short enough for one query or one commit."""
    everything = list(items)
    for start in range(0, len(everything), _AT_ONCE):
        yield everything[start : start + _AT_ONCE]


def batched_ids(ids: Iterable[str]) -> Iterator[list[str]]:
    """As `batched`, for `in`: filled up to one of a few lengths with ids that are there already."""
    for some in batched(ids):
        size = next(size for size in _SIZES if size >= len(some))
        yield some + some[-1:] * (size - len(some))


def chunk_values(found: Any, limit: int, *, to_tell: bool = False) -> list[CatalogChunk]:
    """At most `limit` of the chunks that a query finds, by their start, then their id.

    `to_tell`: for an archive's manifest, where unsure times stand as the recorder wrote them: the stream's record
    stands there too, and who reads both adds its `shift`.

    Columns, not entities: those are three times as slow, and stay in memory while their session lasts.
    """
    rows = select(
        (
            c.started_at,
            c.chunk_id,
            c.ended_at,
            c.uncertain,
            c.manifest,
            c.state,
            c.reason,
            c.archive_id,
            c.offset,
            c.length,
        )
        for c in found
    ).order_by(1, 2)
    return [_chunk_value(row, to_tell) for row in rows[:limit]]


def _chunk_value(row: tuple[Any, ...], to_tell: bool) -> CatalogChunk:
    started_at, _, ended_at, uncertain, manifest, state, reason, archive_id, offset, size = row
    chunk = unpack(manifest, Chunk)
    as_written = to_tell and uncertain
    if not as_written and (chunk.started_at, chunk.ended_at, chunk.uncertain) != (started_at, ended_at, uncertain):
        times = {"started_at": Instant(started_at), "ended_at": Instant(ended_at)}
        chunk = replace(chunk, uncertain=uncertain, **times)
    # of a discarded chunk an archive holds the manifest alone, which has no place
    stored = archive_id is not None and offset is not None and state in ("stored", "gone")
    return CatalogChunk(
        chunk,
        Where(archive_id, chunk.member, offset, size, chunk.sha256) if stored else None,
        reason if state == "gone" else None,
        reason if state == "aside" else None,
    )


def archive_value(row: Any) -> Archive:
    return Archive(
        archive_id=row.archive_id,
        node=row.node,
        bucket=row.bucket,
        key=row.key,
        bytes=row.length,
        sha256=row.sha256,
        chunks=row.chunks,
        started_at=Instant(row.started_at),
        ended_at=Instant(row.ended_at),
        planned_at=Instant(row.planned_at),
        uploaded_at=_instant(row.uploaded_at),
        replaces=row.replaces,
        gone=row.gone,
        deleted_at=_instant(row.deleted_at),
    )


def _instant(value: int | None) -> Instant | None:
    return None if value is None else Instant(value)


def _sound(row: Any) -> CatalogSound:
    ended_at = None if row.ended_at is None else Instant(row.ended_at)
    return CatalogSound(row.sound_id, row.chunk_id, Instant(row.started_at), ended_at, row.lafmax, row.laeq)
