"""The writing half of the catalog: the archiver's alone, which a lock on the file beside it makes sure of."""

from __future__ import annotations

import fcntl
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

from edge.catalog.reader import CatalogReader, batched, batched_ids, chunk_values, longest
from edge.catalog.reserve import Reserve
from edge.catalog.rows import (
    add_chunk,
    archive_columns,
    give_up,
    known_row,
    put_holes,
    retime,
    retire_superseded,
    span_archive,
)
from edge.catalog.tables import Tables, count, desc, greatest, least, select, total
from edge.catalog.times import corrected
from edge.catalog.values import Attempt, Backlog, Kept, Stored, pack, unpack
from edge.core.errors import CatalogDamaged, CatalogError
from edge.core.instant import Instant
from edge.core.values import Archive, Chunk, DiscardedChunk, GoneCause, PlannedMember, Stream

_KEPT_ATTEMPTS = 1_000
_LOUDEST_DBFS = 10.0  # dB: what is below was not measured in dBA, in which no microphone is as quiet
_LONGEST_SOUND = 86_400_000_000  # µs


def take_lock(path: Path) -> IO[str]:
    """The right to write the catalog at `path`, until the file given is closed. Raises CatalogError."""
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("a")
    except OSError as problem:
        raise CatalogError(
            f"{path}: the catalog cannot be written ({problem.strerror});"
            " mend the folder's rights or set [catalog] db_path"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise CatalogError(f"{path}: another archiver is writing this catalog; stop it first") from None
    return lock


class Catalog(CatalogReader):
    """The catalog at `path`; made where it is missing. With `read_only` it is a CatalogReader and nothing more.

    Every change is on disk when its method returns. Everything may be repeated after a crash: it changes nothing twice.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(path)
        self._read_only = read_only
        self._reserve = Reserve(self.path)
        self._lock: IO[str] | None = None

    def open(self) -> None:
        """Takes the lock and opens or makes the file. Raises CatalogError when another archiver has it."""
        with self._session():
            pass

    def close(self) -> None:
        super().close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _open(self) -> Tables:
        if self._read_only:
            return super()._open()
        with self._opening:
            if self._tables is not None and self._tables.replaced():
                raise CatalogDamaged(f"{self.path}: was removed or replaced while the archiver had it open")
            self._take_lock()
            self._reserve.keep()
            if self._tables is None:
                self._tables = Tables(self.path, read_only=False)
            return self._tables

    def _take_lock(self) -> None:
        if self._lock is None:
            self._lock = take_lock(self.path)

    # chunks and streams

    def register(self, chunks: Iterable[Chunk]) -> int:
        """Adds the chunks that are not known yet as waiting; gives their number."""
        added = 0
        for some in batched(chunks):
            streams = self.streams({chunk.stream_id for chunk in some})
            with self._session() as tables:
                table, [ids] = tables.Chunk, batched_ids([chunk.chunk_id for chunk in some])
                known = set(select(c.chunk_id for c in table if c.chunk_id in ids))
                for chunk in some:
                    if chunk.chunk_id not in known:
                        known.add(chunk.chunk_id)
                        add_chunk(tables, chunk, streams.get(chunk.stream_id))
                        added += 1
        return added

    def register_stream(self, stream: Stream) -> bool:
        """Keeps a stream's record; True when its times were corrected, which moves its chunks, sounds and holes."""
        with self._session() as tables:
            row = tables.Stream.get(stream_id=stream.stream_id)
            old = unpack(row.record, Stream) if row else None
            if old == stream:
                return False
            if stream.before:
                put_holes(tables, stream.stream_id, stream.before)
            moved = retime(tables, stream) if old is None or corrected(old, stream) else False
            if row is None:
                tables.Stream(
                    stream_id=stream.stream_id, ordinal=stream.ordinal, record=pack(stream), correction_due=moved
                )
            else:
                row.set(ordinal=stream.ordinal, record=pack(stream), correction_due=row.correction_due or moved)
            return moved

    def corrections_due(self) -> list[str]:
        """Streams that were corrected after an archive with their older times was planned."""
        with self._session() as tables:
            table = tables.Stream
            return sorted(select(s.stream_id for s in table if s.correction_due))

    def correction_stored(self, stream_id: str) -> None:
        with self._session() as tables:
            tables.Stream[stream_id].correction_due = False

    def waiting(self, limit: int) -> list[Chunk]:
        """At most `limit` chunks that no plan has yet, oldest first."""
        with self._session() as tables:
            table = tables.Chunk
            return [row.chunk for row in chunk_values(select(c for c in table if c.state == "waiting"), limit)]

    def mark_due(self) -> int:
        """All that waits now is to be archived, whatever comes between; gives the number of chunks."""
        with self._session() as tables:
            table = tables.Chunk
            chunks = int(count(c for c in table if c.state == "waiting"))
            if chunks:
                tables.mark_due()
            return chunks

    def due(self, limit: int) -> list[Chunk]:
        """At most `limit` of the chunks that are due and have no plan yet, oldest first: as plans tell them."""
        with self._session() as tables:
            chunks, marks = tables.Chunk, tables.Due
            found = select(c for c in chunks for d in marks if c.state == "waiting" and d.chunk_id == c.chunk_id)
            return [row.chunk for row in chunk_values(found, limit, to_tell=True)]

    def backlog(self, *, planned_too: bool = True) -> Backlog:
        """What waits to be planned, and with `planned_too` what waits to be uploaded."""
        states = ["waiting", "planned"] if planned_too else ["waiting"]
        with self._session() as tables:
            table = tables.Chunk
            rows = select(
                (count(c), total(c.length), total(c.duration), least(c.ended_at), greatest(c.lafmax))
                for c in table
                if c.state in states
            )
            chunks, size, duration, oldest, loudest = rows.first()
            since = None if oldest is None else Instant(oldest)
            return Backlog(chunks, int(size or 0), int(duration or 0), since, loudest)

    def last_archive(self) -> str | None:
        """The archive that was uploaded last."""
        with self._session() as tables:
            table = tables.Archive
            newest = select(a for a in table if a.uploaded_at is not None).order_by(desc(table.uploaded_at)).first()
            return newest.archive_id if newest else None

    def stored(self, chunk_ids: Iterable[str]) -> dict[str, Stored]:
        """Those of these chunks whose archive is uploaded and verified."""
        found: dict[str, Stored] = {}
        with self._session() as tables:
            chunks, archives = tables.Chunk, tables.Archive
            for some in batched_ids(chunk_ids):
                rows = select(
                    (c.chunk_id, c.sha256, a.uploaded_at)
                    for c in chunks
                    for a in archives
                    if c.chunk_id in some and c.state == "stored" and a.archive_id == c.archive_id
                )
                found.update((chunk_id, Stored(sha256, Instant(at))) for chunk_id, sha256, at in rows)
        return found

    def set_aside(self, reasons: Mapping[str, str]) -> None:
        """These waiting chunks cannot be archived as they are, and why (one line each)."""
        with self._session() as tables:
            for chunk_id, reason in reasons.items():
                row = tables.Chunk.get(chunk_id=chunk_id)
                if row is not None and row.state == "waiting":
                    row.set(state="aside", reason=reason)

    def aside(self) -> dict[str, str]:
        """Every chunk that is set aside, and why."""
        with self._session() as tables:
            table = tables.Chunk
            return dict(select((c.chunk_id, c.reason) for c in table if c.state == "aside"))

    def recall(self, chunk_ids: Iterable[str]) -> None:
        """Chunks that were set aside wait again."""
        with self._session() as tables:
            for chunk_id in chunk_ids:
                row = tables.Chunk.get(chunk_id=chunk_id)
                if row is not None and row.state == "aside":
                    row.set(state="waiting", reason=None)

    def mark_gone(self, chunk_ids: Iterable[str], cause: GoneCause) -> None:
        """These chunks are no longer anywhere, on purpose: from now on the spool need not have them."""
        with self._session() as tables:
            for chunk_id in chunk_ids:
                row = tables.Chunk.get(chunk_id=chunk_id)
                if row is not None and row.state != "planned":
                    give_up(tables, row, cause)

    def kept_between(self, start: Instant, end: Instant, limit: int) -> list[Kept]:
        """At most `limit` chunks with sound in [start, end) that are not gone, by their start."""
        with self._session() as tables:
            table, earliest = tables.Chunk, int(start) - longest(tables.Chunk)
            first, last = int(start), int(end)
            rows = select(
                (c.started_at, c.chunk_id, c.state, c.archive_id)
                for c in table
                if c.started_at < last and c.started_at > earliest and c.ended_at > first and c.state != "gone"
            ).order_by(1, 2)
            return [Kept(chunk_id, state, archive_id) for _, chunk_id, state, archive_id in rows[:limit]]

    def erased_between(self, start: Instant, end: Instant) -> int:
        """How many chunks with sound in [start, end) were erased."""
        with self._session() as tables:
            table, earliest = tables.Chunk, int(start) - longest(tables.Chunk)
            first, last = int(start), int(end)
            return int(
                count(
                    c
                    for c in table
                    if c.started_at < last and c.started_at > earliest and c.ended_at > first and c.reason == "erased"
                )
            )

    def is_sound_between(self, start: Instant, end: Instant, stream_id: str) -> bool:
        """Whether any sound has a part in [start, end). One without an end counts for its own stream alone."""
        with self._session() as tables:
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
        """Whether a chunk with sound in [start, end) that is not gone was as loud as `level`, or nobody can tell."""
        with self._session() as tables:
            table, earliest = tables.Chunk, int(start) - longest(tables.Chunk)
            first, last, loudest_dbfs = int(start), int(end), _LOUDEST_DBFS if level > 0 else -math.inf
            return bool(
                select(
                    c
                    for c in table
                    if c.started_at < last
                    and c.started_at > earliest
                    and c.ended_at > first
                    and c.state != "gone"
                    and (c.lafmax is None or c.lafmax >= level or c.lafmax < loudest_dbfs)
                ).exists()
            )

    def discarded(self, chunk_ids: Iterable[str]) -> dict[str, str]:
        """Those of these chunks that are given up, with their SHA-256: a copy in the spool is a leftover."""
        found: dict[str, str] = {}
        with self._session() as tables:
            table = tables.Chunk
            for some in batched_ids(chunk_ids):
                rows = select((c.chunk_id, c.sha256) for c in table if c.chunk_id in some and c.state == "gone")
                found.update(rows)
        return found

    def untold(self, limit: int) -> list[DiscardedChunk]:
        """At most `limit` discarded chunks that no archive's manifest tells of yet, oldest first."""
        with self._session() as tables:
            table = tables.Chunk
            found = select(c for c in table if c.state == "gone" and c.archive_id is None)
            rows = chunk_values(found, limit, to_tell=True)
            return [DiscardedChunk(row.chunk, row.gone) for row in rows if row.gone is not None]

    # archives

    def restore(
        self, archive: Archive, members: Sequence[PlannedMember], discarded: Sequence[DiscardedChunk] = ()
    ) -> None:
        """Takes an archive from the store as its own manifest describes it.

        A chunk that has a place keeps it, unless that is the archive which this one replaces.
        """
        with self._session() as tables:
            if tables.Archive.get(archive_id=archive.archive_id) is None:
                tables.Archive(**archive_columns(archive))
            for member in members:
                row = known_row(tables, member.chunk)
                if row.state != "gone" and row.archive_id in (None, archive.replaces):
                    row.set(state="stored", reason=None, archive_id=archive.archive_id, offset=member.offset)
            for one in discarded:
                row = known_row(tables, one.chunk)
                if row.archive_id in (None, archive.replaces):
                    give_up(tables, row, one.cause)
                    row.set(archive_id=archive.archive_id, offset=None)
            for archive_id in (archive.archive_id, archive.replaces):
                retire_superseded(tables, archive_id)
            span_archive(tables, archive.archive_id)

    def commit_plan(
        self,
        archive: Archive,
        members: Sequence[PlannedMember],
        manifest: bytes,
        discarded: Sequence[DiscardedChunk] = (),
    ) -> bool:
        """Freezes a plan: its chunks leave the waiting ones. False when the very same archive is there already.

        One that was taken back, and whose leftovers are still to be deleted, is planned again. Raises CatalogError
        when one of the chunks does not wait.
        """
        with self._session() as tables:
            row = tables.Archive.get(archive_id=archive.archive_id)
            columns = {**archive_columns(archive), "plan": zlib.compress(manifest, 6)}
            if row is None:
                tables.Archive(**columns)
            elif row.gone == "unwanted":
                row.set(**{name: value for name, value in columns.items() if name != "archive_id"})
            else:
                return False
            for one in discarded:
                tables.Chunk[one.chunk.chunk_id].archive_id = archive.archive_id
            for member in members:
                row = tables.Chunk.get(chunk_id=member.chunk.chunk_id)
                if row is None or row.state != "waiting":
                    raise CatalogError(f"{member.chunk.chunk_id}: is not waiting and cannot be planned")
                row.set(state="planned", archive_id=archive.archive_id, offset=member.offset)
            span_archive(tables, archive.archive_id)
            return True

    def planned_manifest(self, archive_id: str) -> bytes:
        """The frozen manifest of an open plan. Raises CatalogError, and CatalogDamaged where it cannot be read."""
        with self._session() as tables:
            row = tables.Archive.get(archive_id=archive_id)
            if row is None or row.plan is None:
                raise CatalogError(f"{archive_id}: has no open plan")
            try:
                return zlib.decompress(row.plan)
            except zlib.error as problem:
                text = f"{self.path}: the catalog is damaged (the plan of {archive_id} cannot be read: {problem})"
                raise CatalogDamaged(text) from None

    def mark_uploaded(self, archive_id: str, sha256: str, at: Instant) -> None:
        """The archive's bytes are verified in the store: from now on its chunks are there."""
        with self._session() as tables:
            row = tables.Archive[archive_id]
            if row.uploaded_at is not None:
                return
            row.set(sha256=sha256, uploaded_at=int(at), plan=None)
            table = tables.Chunk
            for chunk in select(c for c in table if c.archive_id == archive_id and c.state == "planned"):
                chunk.state = "stored"

    def commit_rewrite(self, archive: Archive, manifest: bytes) -> None:
        """Freezes a plan whose chunks are in the store already, in the archive that it replaces."""
        with self._session() as tables:
            if tables.Archive.get(archive_id=archive.archive_id) is None:
                tables.Archive(**archive_columns(archive), plan=zlib.compress(manifest, 6))

    def mark_rewritten(
        self,
        archive: Archive,
        sha256: str,
        at: Instant,
        members: Sequence[PlannedMember],
        discarded: Sequence[DiscardedChunk],
    ) -> None:
        """A rewritten archive is verified in the store: its chunks move there, the old one is to be deleted."""
        with self._session() as tables:
            row = tables.Archive[archive.archive_id]
            if row.uploaded_at is not None:
                return
            row.set(sha256=sha256, uploaded_at=int(at), plan=None)
            for member in members:
                tables.Chunk[member.chunk.chunk_id].set(archive_id=archive.archive_id, offset=member.offset)
            for one in discarded:
                chunk = tables.Chunk[one.chunk.chunk_id]
                give_up(tables, chunk, one.cause)
                chunk.set(archive_id=archive.archive_id, offset=None)
            tables.Archive[archive.replaces].gone = "replaced"
            span_archive(tables, archive.archive_id)

    def discard_plan(self, archive_id: str, *, perhaps_stored: bool = False) -> None:
        """Forgets a plan that was never uploaded: its chunks wait again.

        With `perhaps_stored` it stays among the doomed ones until the store is known to have nothing of it.
        """
        with self._session() as tables:
            row = tables.Archive.get(archive_id=archive_id)
            if row is None or row.uploaded_at is not None:
                return
            table = tables.Chunk
            for chunk in select(c for c in table if c.archive_id == archive_id):
                if chunk.state == "planned":
                    chunk.state = "waiting"
                chunk.set(archive_id=None, offset=None)
            if perhaps_stored:
                row.set(gone="unwanted", plan=None)
            else:
                row.delete()

    def expire(self, archive_id: str) -> None:
        """An archive was kept for as long as was asked: its chunks are gone, and it is to be deleted."""
        with self._session() as tables:
            tables.Archive[archive_id].gone = "lifecycle"
            table = tables.Chunk
            for chunk in select(c for c in table if c.archive_id == archive_id and c.state == "stored"):
                chunk.set(state="gone", reason="lifecycle")

    def mark_deleted(self, archive_id: str, at: Instant) -> None:
        """The store has nothing more of this doomed archive; no matter where it was planned again since."""
        with self._session() as tables:
            row = tables.Archive.get(archive_id=archive_id)
            if row is None or row.gone is None:
                return
            if row.gone == "unwanted":
                row.delete()
            else:
                row.deleted_at = int(at)

    def add_attempt(self, attempt: Attempt) -> None:
        """Keeps a try to upload; the newest thousand stay."""
        with self._session() as tables:
            row = tables.Attempt(
                archive_id=attempt.archive_id, at=int(attempt.at), seconds=attempt.seconds, cause=attempt.cause
            )
            row.flush()
            table, old = tables.Attempt, row.id - _KEPT_ATTEMPTS
            select(a for a in table if a.id <= old).delete(bulk=True)

    def attempts(self, limit: int = 100) -> list[Attempt]:
        """The newest attempts first."""
        with self._session() as tables:
            table = tables.Attempt
            rows = select(a for a in table).order_by(desc(table.id))[:limit]
            return [Attempt(row.archive_id, Instant(row.at), row.seconds, row.cause) for row in rows]
