"""Queries shared by the classes of this package, within a session: rows -> values, and `in` with many IDs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from msgspec.structs import replace

from edge.catalog.budget import Budget
from edge.catalog.tables import Tables, greatest, select
from edge.catalog.values import (
    BriefChunk,
    CatalogChunk,
    CatalogSound,
    ChunkClaim,
    ChunkRun,
    HoleRun,
    LeanChunk,
    unpack,
    unpack_sized,
)
from edge.core import wire
from edge.core.ids import seq_of, stream_of
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import Archive, Chunk, Hole, Stream, Where

T = TypeVar("T")
EVERY = 1_000_000_000
_FIRST_BATCH = 64
_SKIPPED = 4  # bytes of a manifest that are skipped cost as much as one that is decoded
_TOUCHING = """SELECT "started_at", "chunk_id", "ended_at", "uncertain", "manifest", "state", "reason", "archive_id",
"offset", "length" FROM "chunks" WHERE ("started_at", "chunk_id") > ($at, $name) AND "started_at" < $last
AND "ended_at" > $first ORDER BY "started_at", "chunk_id" LIMIT $limit"""
# a manifest also names the file, which has to be looked for where the store does not have it
_TIMES = _TOUCHING.replace('"manifest"', """CASE WHEN "state" IN ('stored', 'gone') THEN NULL ELSE "manifest" END""", 1)
_CLAIMS = """SELECT c."started_at", c."chunk_id", c."ended_at", c."uncertain", coalesce(s."ordinal", 0),
c."state" IN ('stored', 'gone') FROM "chunks" AS c LEFT JOIN "streams" AS s ON s."stream_id" = c."stream_id"
WHERE (c."started_at", c."chunk_id") > ($at, $name) AND c."started_at" < $last AND c."ended_at" > $first
AND c."state" <> 'aside' ORDER BY c."started_at", c."chunk_id" LIMIT $limit"""
_LONG_HOLE = 86_400_000_000  # µs: longer ones are few, and searched for by their duration
_HOLES_BEFORE = """SELECT "cause", "started_at", "ended_at" FROM (
SELECT *, max("ended_at") OVER (ORDER BY "started_at" DESC, "ended_at", "cause", "id"
ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS "hidden_until" FROM (
SELECT * FROM "holes" WHERE "started_at" > $earliest AND "started_at" <= $first AND "ended_at" > $first
AND "duration" <= $long UNION ALL
SELECT * FROM "holes" WHERE "started_at" <= $first AND "ended_at" > $first AND "duration" > $long
) AS "begun") AS "seen" WHERE "hidden_until" IS NULL OR "ended_at" > "hidden_until"
ORDER BY "started_at" DESC, "ended_at", "cause", "id" LIMIT $limit"""
_HOLES_AFTER = """SELECT "cause", "started_at", "ended_at" FROM "holes" WHERE "started_at" > $first
AND "started_at" < $last ORDER BY "started_at", "ended_at", "id" LIMIT $limit"""
# what a chunk's row has of a state is found by its start; of those that began last, one ended last
KEPT = """SELECT min((SELECT min("started_at") FROM "chunks" WHERE "state" = s."value")),
max((SELECT max("ended_at") FROM (SELECT "ended_at" FROM "chunks" WHERE "state" = s."value"
ORDER BY "started_at" DESC LIMIT 16)))
FROM json_each('["waiting", "planned", "stored"]') AS s"""
STORED_ARCHIVES = """SELECT sum("is_stored"), sum("length" * "is_stored"), max("archive_id") FROM (
SELECT "archive_id", "length", "uploaded_at" IS NOT NULL AND "gone" IS NULL AS "is_stored" FROM "archives"
WHERE "archive_id" > $after ORDER BY "archive_id" LIMIT 10000)"""
_ARCHIVES = """SELECT "archive_id", "node", "bucket", "key", "length", "sha256", "chunks", "started_at", "ended_at",
"planned_at", "uploaded_at", "replaces", "gone", "deleted_at" FROM (SELECT "value" AS "id" FROM json_each($ids)) AS i
CROSS JOIN "archives" AS a ON a."archive_id" = i."id\""""
_SOUNDS = """SELECT "sound_id", "chunk_id", "started_at", "ended_at", "lafmax", "laeq"
FROM (SELECT "value" AS "id" FROM json_each($ids)) AS i CROSS JOIN "sounds" AS s ON s."sound_id" = i."id\""""
_HOLES_AT = """SELECT "cause", "started_at", "ended_at" FROM json_each($starts) AS s CROSS JOIN "holes" AS h
ON h."started_at" = s."value\""""
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


def archives_with(tables: Tables, ids: Iterable[str]) -> dict[str, Archive]:
    """The archives of these IDs that are known."""
    rows = tables.rows(_ARCHIVES, {"ids": wire.encode(sorted(set(ids))).decode()})
    return {row[0]: archive_value(row) for row in rows}


def sounds_with(tables: Tables, ids: Iterable[str]) -> dict[str, CatalogSound]:
    """The sounds of these IDs that are known."""
    rows = tables.rows(_SOUNDS, {"ids": wire.encode(sorted(set(ids))).decode()})
    return {row[0]: sound_value(row) for row in rows}


def chunk_values(found: Any, limit: int, *, for_manifest: bool = False) -> list[CatalogChunk]:
    """At most `limit` of the chunks that a query finds, by their start, then their id.

    `for_manifest`: with uncertain times as the recorder wrote them, because an archive's manifest also holds the
    stream's record, whose `shift` its reader adds.

    Selects columns, not entities: those are three times as slow and stay in memory for the whole session.
    """
    return [_chunk_value(row, unpack(row[4], Chunk), for_manifest) for row in _chunk_rows(found, limit)]


def brief_values(found: Any, budget: Budget, *, each_second: bool = False) -> list[CatalogChunk]:
    """Up to 512 chunks that a query finds, without the level of each second; with them, lean ones. BudgetSpent."""
    values: list[CatalogChunk] = []
    wanted, share = (LeanChunk, 1) if each_second else (BriefChunk, _SKIPPED)
    for row in _chunk_rows(found, _BATCH):
        chunk, size = unpack_sized(row[4], wanted)
        budget.count_row(size // share)
        values.append(_chunk_value(row, chunk, for_manifest=False))
    return values


def chunk_run(
    tables: Tables,
    start: Instant,
    end: Instant,
    limit: int,
    budget: Budget,
    duration: int | None,
    *,
    times_only: bool = False,
) -> ChunkRun:
    """At most `limit` chunks with sound in [start, end), by their start, then their id, within the budget; without the
    level of each second. With `duration`: lean ones with them, of so many µs after `start`, and of one chunk more. With
    `times_only`: lean ones without levels. BudgetSpent.
    """
    brief, share = (BriefChunk, _SKIPPED) if duration is None else (LeanChunk, 1)
    query = _TIMES if times_only else _TOUCHING
    run: list[CatalogChunk] = []
    covered, batch = 0, _FIRST_BATCH
    values = {"first": int(start), "last": int(end), "at": _earliest(tables, start), "name": ""}
    # by SQL: this is where questions spend their time, and Pony takes as long for a row as its manifest does
    while True:
        wanted = min(limit - len(run), batch)
        rows = tables.rows(query, {**values, "limit": wanted})
        for row in rows:
            chunk, size = (_lean_chunk(row), 0) if times_only else unpack_sized(row[4], brief)
            budget.count_row(size // share)
            run.append(_chunk_value(row, chunk, for_manifest=False))
            enough = duration is not None and covered >= duration
            if len(run) == limit or enough or not budget.has_bytes_left:
                return ChunkRun(run, run[-1].chunk.started_at)
            covered += row[2] - max(row[0], start)
        if not rows or len(rows) < wanted:
            return ChunkRun(run)
        values["at"], values["name"] = rows[-1][:2]
        batch = min(2 * batch, _BATCH)


def _lean_chunk(row: tuple[Any, ...]) -> Chunk:
    """By its columns, where those are enough."""
    started_at, chunk_id, ended_at, uncertain, manifest = row[:5]
    if manifest is not None:
        return unpack(manifest, LeanChunk)
    return LeanChunk(
        chunk_id=chunk_id,
        stream_id=stream_of(chunk_id),
        seq=seq_of(chunk_id),
        frames=1,
        rate=1,
        format="flac",
        started_at=Instant(started_at),
        ended_at=Instant(ended_at),
        uncertain=bool(uncertain),
    )


def _earliest(tables: Tables, start: Instant) -> int:
    """What lasts at `start` begins later than this."""
    return int(start) - 1 - (tables.rows('SELECT max("duration"), 0 FROM "chunks"', {})[0][0] or 0)


def claims(
    tables: Tables, start: Instant, end: Instant, after: tuple[Instant, str] | None, limit: int
) -> list[ChunkClaim]:
    """Of the next chunks with a part in [start, end), after that start and ID. Those that were found damaged claim
    nothing."""
    at, name = after or (_earliest(tables, start), "")
    values = {"first": int(start), "last": int(end), "at": int(at), "name": name, "limit": min(limit, _BATCH)}
    return [
        ChunkClaim(Instant(began), chunk_id, Instant(ended), bool(uncertain), ordinal, bool(is_kept))
        for began, chunk_id, ended, uncertain, ordinal, is_kept in tables.rows(_CLAIMS, values)
    ]


def chunks_after(tables: Tables, key: tuple[int, str]) -> tuple[list[CatalogChunk], tuple[int, str] | None]:
    """The next chunks after that start and ID, in this order; and the key of the last one, None at the end."""
    values = {"first": int(FIRST) - 1, "last": int(LAST) + 1, "at": key[0], "name": key[1], "limit": _BATCH}
    rows = tables.rows(_TOUCHING, values)
    chunks = [_chunk_value(row, unpack(row[4], Chunk), for_manifest=False) for row in rows]
    return chunks, tuple(rows[-1][:2]) if rows else None


def hole_run(tables: Tables, start: Instant, end: Instant, limit: int) -> HoleRun:
    """At most `limit` gaps and pauses that begin in (start, end), by their start, and as many that last at `start`.

    Of the latter, not those that are hidden by others: at each moment, the gap that began last counts, of those the
    shortest. However many there are, `until` lies beyond `start`.
    """
    values = {
        "first": int(start), "last": int(end), "earliest": int(start) - _LONG_HOLE, "long": _LONG_HOLE, "limit": limit
    }  # fmt: skip
    before, after = tables.rows(_HOLES_BEFORE, values), tables.rows(_HOLES_AFTER, values)
    ends = [before[-1][2]] if len(before) == limit else []
    ends += [after[-1][1]] if len(after) == limit else []
    until = min(ends, default=int(end))
    found = [Hole(cause, Instant(began), Instant(ended)) for cause, began, ended in [*reversed(before), *after]]
    return HoleRun(found, Instant(until) if until < end else None)


def known_holes(tables: Tables, holes: Iterable[Hole]) -> set[Hole]:
    """Those of these gaps and pauses that the catalog has."""
    found: set[Hole] = set()
    for some in batched(holes):
        values = {"starts": wire.encode([int(hole.from_) for hole in some]).decode()}
        rows = tables.rows(_HOLES_AT, values)
        found.update(Hole(cause, Instant(began), Instant(ended)) for cause, began, ended in rows)
    return found.intersection(holes)


def _chunk_rows(found: Any, limit: int) -> list[tuple[Any, ...]]:
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
    return list(rows[:limit])


def _chunk_value(row: tuple[Any, ...], chunk: Chunk, for_manifest: bool) -> CatalogChunk:
    started_at, _, ended_at, uncertain, _, state, reason, archive_id, offset, size = row
    uncertain = bool(uncertain)
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
