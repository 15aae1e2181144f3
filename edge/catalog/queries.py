"""Queries shared by the classes of this package, within a session: rows -> values, and `in` with many IDs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from msgspec.structs import replace

from edge.catalog.tables import Tables, greatest, select
from edge.catalog.values import CatalogChunk, CatalogSound, unpack
from edge.core.instant import Instant
from edge.core.values import Archive, Chunk, Stream, Where

T = TypeVar("T")
EVERY = 1_000_000_000
_BATCH = 512  # IDs in one query; SQLite before 3.32 takes 999
_IN_LENGTHS = (1, 8, 64, _BATCH)  # of `in`: Pony keeps its SQL for each, for ever (500 IDs: 400 kB)


def touching(table: Any, start: Instant, end: Instant) -> Any:
    """The rows with a part in [start, end). Their longest duration is one index lookup, and bounds the search."""
    first, last, earliest = int(start), int(end), int(start) - 1 - (greatest(row.duration for row in table) or 0)
    return select(row for row in table if row.started_at < last and row.started_at > earliest and row.ended_at > first)


def batched(items: Iterable[T]) -> Iterator[list[T]]:
    """Runs short enough for one query or one commit; no more than one is in memory."""
    left = iter(items)
    while some := list(islice(left, _BATCH)):
        yield some


def batched_ids(ids: Iterable[str]) -> Iterator[list[str]]:
    """As `batched`, for `in`: padded to one of a few lengths by repeating the last ID."""
    for some in batched(ids):
        size = next(size for size in _IN_LENGTHS if size >= len(some))
        yield some + some[-1:] * (size - len(some))


def stream_records(tables: Tables, ids: Iterable[str]) -> dict[str, Stream]:
    """The records of these streams that are known."""
    found: dict[str, Stream] = {}
    table = tables.Stream
    for some in batched_ids(ids):
        rows = select((s.stream_id, s.record) for s in table if s.stream_id in some)
        found.update((stream_id, unpack(record, Stream)) for stream_id, record in rows)
    return found


def chunk_values(found: Any, limit: int, *, for_manifest: bool = False) -> list[CatalogChunk]:
    """At most `limit` of the chunks that a query finds, by their start, then their id.

    `for_manifest`: with uncertain times as the recorder wrote them, because an archive's manifest also holds the
    stream's record, whose `shift` its reader adds.

    Selects columns, not entities: those are three times as slow and stay in memory for the whole session.
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
    return [_chunk_value(row, for_manifest) for row in rows[:limit]]


def _chunk_value(row: tuple[Any, ...], for_manifest: bool) -> CatalogChunk:
    started_at, _, ended_at, uncertain, manifest, state, reason, archive_id, offset, size = row
    chunk = unpack(manifest, Chunk)
    as_written = for_manifest and uncertain
    if not as_written and (chunk.started_at, chunk.ended_at, chunk.uncertain) != (started_at, ended_at, uncertain):
        times = {"started_at": Instant(started_at), "ended_at": Instant(ended_at)}
        chunk = replace(chunk, uncertain=uncertain, **times)
    # an archive holds only the manifest of a discarded chunk: it has no offset
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


def sound_value(row: Any) -> CatalogSound:
    start, end = Instant(row.started_at), _instant(row.ended_at)
    return CatalogSound(row.sound_id, row.chunk_id, start, end, row.lafmax, row.laeq)
