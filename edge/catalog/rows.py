"""Values -> rows, within a session of the writer; and what a clock correction does to times."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from edge.catalog.queries import batched_ids
from edge.catalog.tables import Tables, greatest, least, select
from edge.catalog.values import pack, unpack
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import Archive, Chunk, GoneCause, Hole, SoundSpan, Stream


def add_chunk(tables: Tables, chunk: Chunk, stream: Stream | None) -> None:
    now = _retimed(chunk, stream)
    tables.Chunk(chunk_id=chunk.chunk_id, **_chunk_columns(chunk, now))
    _put_around(tables, chunk, now, stream)


def put_spool_chunk(tables: Tables, row: Any, chunk: Chunk, stream: Stream | None) -> None:
    """The chunk waits, as the spool has it: what was known of it came from elsewhere."""
    now = _retimed(chunk, stream)
    row.set(reason=None, **_chunk_columns(chunk, now))
    _put_around(tables, chunk, now, stream)


def _chunk_columns(chunk: Chunk, now: Chunk) -> dict[str, Any]:
    """Of a waiting chunk; `now`: with the times that are known now."""
    return {
        "stream_id": chunk.stream_id,
        "first_frame": chunk.first_frame,
        "frames": chunk.frames,
        "started_at": int(now.started_at),
        "ended_at": int(now.ended_at),
        "duration": now.ended_at - now.started_at,
        "uncertain": now.uncertain,
        "length": chunk.bytes,
        "sha256": chunk.sha256,
        "lafmax": chunk.levels.lafmax if chunk.levels else None,
        "manifest": pack(chunk),
        "state": "waiting",
    }


def _put_around(tables: Tables, chunk: Chunk, now: Chunk, stream: Stream | None) -> None:
    """The gaps before a chunk, and the sounds in it."""
    if chunk.before and (stream is None or not stream.before):
        put_holes(tables, chunk.stream_id, chunk.before)
    for span in chunk.sounds:
        _put_sound(tables, now, span)


def known_row(tables: Tables, chunk: Chunk) -> Any:
    """The chunk's row; made where there is none."""
    if tables.Chunk.get(chunk_id=chunk.chunk_id) is None:
        stream = tables.Stream.get(stream_id=chunk.stream_id)
        add_chunk(tables, chunk, unpack(stream.record, Stream) if stream else None)
    return tables.Chunk[chunk.chunk_id]


def give_up(tables: Tables, row: Any, cause: GoneCause) -> None:
    """The chunk is no longer kept. Of an erased one neither levels nor sounds remain."""
    row.set(state="gone", reason=cause)
    if cause == "erased":
        row.set(manifest=pack(silenced(unpack(row.manifest, Chunk))), lafmax=None)
        remove_sounds(tables, [row.chunk_id])


def remove_sounds(tables: Tables, chunk_ids: Iterable[str]) -> None:
    """Removes the sounds that begin in these chunks.

    Row by row: after a deletion in bulk, what the session holds of such a sound would still look alive.
    """
    table = tables.Sound
    for some in batched_ids(chunk_ids):
        select(s for s in table if s.chunk_id in some).delete()
    tables.db.flush()  # only then may a sound of the same ID be put


def silenced(chunk: Chunk) -> Chunk:
    """`chunk` without its levels and sounds."""
    return replace(chunk, levels=None, sounds=())


def archive_columns(archive: Archive) -> dict[str, Any]:
    values = {name: getattr(archive, name) for name in archive.__struct_fields__}
    values["length"] = values.pop("bytes")
    return values


def put_plan(tables: Tables, archive: Archive, manifest: bytes) -> bool:
    """Stores an open plan; False when the very same archive is there already.

    One that was taken back, and whose leftovers are still to be deleted, is planned again. If it now belongs elsewhere,
    the leftovers remain to be deleted, under another ID. One that was found in the store is planned, to be verified.
    """
    columns = {**archive_columns(archive), "plan": zlib.compress(manifest, 6)}
    row = tables.Archive.get(archive_id=archive.archive_id)
    if row is None:
        tables.Archive(**columns)
        return True
    is_here = (row.bucket, row.key) == (archive.bucket, archive.key)
    if row.gone is None and row.sha256 is None and row.plan is None and is_here:
        row.plan = columns["plan"]
        return True
    if row.gone != "unwanted":
        return False
    if not is_here:
        place = hashlib.sha256(f"{row.bucket}/{row.key}".encode()).hexdigest()
        leftovers = f"{row.archive_id[:-8]}{place[:8]}"
        if tables.Archive.get(archive_id=leftovers) is None:
            tables.Archive(**{**row.to_dict(), "archive_id": leftovers})
    row.set(**{name: value for name, value in columns.items() if name != "archive_id"})
    return True


def put_holes(tables: Tables, stream_id: str, holes: Iterable[Hole]) -> None:
    table = tables.Hole
    select(h for h in table if h.stream_id == stream_id).delete()
    for hole in holes:
        tables.Hole(
            stream_id=stream_id,
            cause=hole.cause,
            started_at=int(hole.from_),
            ended_at=int(hole.to),
            duration=max(0, hole.to - hole.from_),
        )


def _put_sound(tables: Tables, chunk: Chunk, span: SoundSpan) -> None:
    """A sound across chunks is in the manifests of all of them: the first has its start, the last its end."""
    started_at = _frame_time(chunk, span.first_frame)
    ended_at = None if span.frames is None else _frame_time(chunk, span.first_frame + span.frames)
    row = tables.Sound.get(sound_id=span.sound_id)
    if row is None:
        tables.Sound(
            sound_id=span.sound_id,
            stream_id=chunk.stream_id,
            chunk_id=chunk.chunk_id,
            started_at=started_at,
            ended_at=ended_at,
            lafmax=span.lafmax,
            laeq=span.laeq,
        )
        return
    if chunk.first_frame <= span.first_frame:
        row.set(chunk_id=chunk.chunk_id, started_at=started_at)
    if ended_at is not None:
        row.set(ended_at=ended_at, laeq=span.laeq)
    row.lafmax = max(row.lafmax, span.lafmax)


def _frame_time(chunk: Chunk, frame: int) -> int:
    """Also a little before or after the chunk itself, at its own pace."""
    past = (frame - chunk.first_frame) * (chunk.ended_at - chunk.started_at) // chunk.frames
    return int(_bounded(chunk.started_at + past))


def retime(tables: Tables, stream: Stream) -> bool:
    """Moves a stream's chunks and sounds to its corrected times; True when an archive already has older ones."""
    table, stream_id, archives = tables.Chunk, stream.stream_id, set[str]()
    rows = list(select(c for c in table if c.stream_id == stream_id).order_by(table.first_frame))
    for row in rows:
        now = _retimed(unpack(row.manifest, Chunk), stream)
        if (row.started_at, row.ended_at, row.uncertain) == (now.started_at, now.ended_at, now.uncertain):
            continue
        if row.archive_id is not None:
            archives.add(row.archive_id)
        row.set(
            started_at=int(now.started_at),
            ended_at=int(now.ended_at),
            duration=now.ended_at - now.started_at,
            uncertain=now.uncertain,
        )
        for span in now.sounds:
            _put_sound(tables, now, span)
    for archive_id in archives:
        span_archive(tables, archive_id)
    return bool(archives)


def _retimed(chunk: Chunk, stream: Stream | None) -> Chunk:
    """`chunk`, as its manifest has it, with the times that its stream's record now gives.

    A manifest written while the clock could not be trusted says so, and has its times without its stream's `shift`,
    which the record has; the record also knows whether they are still uncertain.
    """
    if stream is None or not chunk.uncertain:
        return chunk
    return replace(
        chunk,
        started_at=_bounded(chunk.started_at + stream.shift),
        ended_at=_bounded(chunk.ended_at + stream.shift),
        uncertain=stream.uncertain,
    )


def _bounded(moment: int) -> Instant:
    """The nearest valid time: sums of numbers from outside may be out of range."""
    return Instant(min(max(moment, FIRST), LAST))


def corrected(old: Stream, new: Stream) -> bool:
    """Whether `new` has other times than `old`; a stream that has merely ended does not."""
    return (old.uncertain, old.shift, old.knots[:1]) != (new.uncertain, new.shift, new.knots[:1])


def span_archive(tables: Tables, archive_id: str) -> None:
    """Sets an archive's times to those that its chunks have now."""
    table, copies, row = tables.Chunk, tables.Copy, tables.Archive.get(archive_id=archive_id)
    own = select((least(c.started_at), greatest(c.ended_at)) for c in table if c.archive_id == archive_id).first()
    further = [
        timed_copy(copy, tables.Chunk[copy.chunk_id])
        for copy in select(copy for copy in copies if copy.archive_id == archive_id)
    ]
    times = [at for at in own if at is not None]
    times += [int(at) for chunk in further for at in (chunk.started_at, chunk.ended_at)]
    if row is not None and times:
        row.set(started_at=min(times), ended_at=max(times))


def timed_copy(copy: Any, row: Any) -> Chunk:
    """A copy with the times that its own archive gives, as two archives may contradict each other; the row's if these
    were not certain."""
    chunk = unpack(copy.manifest, Chunk)
    if not chunk.uncertain:
        return chunk
    times = {"started_at": Instant(row.started_at), "ended_at": Instant(row.ended_at)}
    return replace(chunk, uncertain=row.uncertain, **times)
