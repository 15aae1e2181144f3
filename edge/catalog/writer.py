"""The writing half of the catalog: the archiver's alone, which a lock on the file beside it makes sure of."""

from __future__ import annotations

import fcntl
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from edge.catalog.reader import CatalogReader, archive_value, batched, catalog_chunk
from edge.catalog.tables import Tables, count, desc, greatest, least, select, total
from edge.catalog.times import corrected, retimed
from edge.catalog.values import Attempt, Backlog, GoneCause, Stored, pack, unpack
from edge.errors import CatalogError
from edge.instant import Instant
from edge.model import Archive, Chunk, Hole, PlannedMember, SoundSpan, Stream

_KEPT_ATTEMPTS = 1_000


class Catalog(CatalogReader):
    """The catalog at `path`; made where it is missing. With `read_only` it is a CatalogReader and nothing more.

    Every change is on disk when its method returns. Everything may be repeated after a crash: it changes nothing twice.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(path)
        self._read_only = read_only
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
            if self._tables is None:
                self._take_lock()
                self._tables = Tables(self.path, read_only=False)
            return self._tables

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        try:
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            lock = self.path.with_name(self.path.name + ".lock").open("a")
        except OSError as problem:
            raise CatalogError(
                f"{self.path}: the catalog cannot be written ({problem.strerror});"
                " mend the folder's rights or set [catalog] db_path"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise CatalogError(f"{self.path}: another archiver is writing this catalog; stop it first") from None
        self._lock = lock

    # chunks and streams

    def register(self, chunks: Iterable[Chunk]) -> int:
        """Adds the chunks that are not known yet as waiting; gives their number."""
        added = 0
        for some in batched(chunks):
            streams = self.streams({chunk.stream_id for chunk in some})
            with self._session() as tables:
                table, ids = tables.Chunk, [chunk.chunk_id for chunk in some]
                known = set(select(c.chunk_id for c in table if c.chunk_id in ids))
                for chunk in some:
                    if chunk.chunk_id not in known:
                        known.add(chunk.chunk_id)
                        _add_chunk(tables, chunk, streams.get(chunk.stream_id))
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
                _put_holes(tables, stream.stream_id, stream.before)
            moved = _retime(tables, stream) if old is None or corrected(old, stream) else False
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
            found = select(c for c in table if c.state == "waiting").order_by(table.started_at, table.chunk_id)
            return [_row_chunk(row) for row in found[:limit]]

    def count_waiting(self) -> int:
        """How many chunks no plan has yet."""
        with self._session() as tables:
            table = tables.Chunk
            return int(count(c for c in table if c.state == "waiting"))

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
            for some in batched(chunk_ids):
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
        """These chunks are no longer anywhere, on purpose."""
        with self._session() as tables:
            for chunk_id in chunk_ids:
                row = tables.Chunk.get(chunk_id=chunk_id)
                if row is not None and row.state != "planned":
                    row.set(state="gone", reason=cause)

    # archives

    def commit_plan(self, archive: Archive, members: Sequence[PlannedMember], manifest: bytes) -> None:
        """Freezes a plan: its chunks leave the waiting ones. Raises CatalogError when one of them does not wait."""
        with self._session() as tables:
            if tables.Archive.get(archive_id=archive.archive_id) is not None:
                return
            values = {name: getattr(archive, name) for name in archive.__struct_fields__}
            values["length"] = values.pop("bytes")
            tables.Archive(**values, plan=zlib.compress(manifest, 6))
            for member in members:
                row = tables.Chunk.get(chunk_id=member.chunk.chunk_id)
                if row is None or row.state != "waiting":
                    raise CatalogError(f"{member.chunk.chunk_id}: is not waiting and cannot be planned")
                row.set(state="planned", archive_id=archive.archive_id, offset=member.offset)

    def open_plans(self) -> list[Archive]:
        """The archives that are planned and not uploaded, in the order of planning."""
        with self._session() as tables:
            table = tables.Archive
            found = select(a for a in table if a.uploaded_at is None).order_by(table.planned_at, table.archive_id)
            return [archive_value(row) for row in found]

    def planned_manifest(self, archive_id: str) -> bytes:
        """The frozen manifest of an open plan. Raises CatalogError."""
        with self._session() as tables:
            row = tables.Archive.get(archive_id=archive_id)
            if row is None or row.plan is None:
                raise CatalogError(f"{archive_id}: has no open plan")
            return zlib.decompress(row.plan)

    def mark_uploaded(self, archive_id: str, sha256: str, at: Instant) -> None:
        """The archive's bytes are verified in the store: from now on its chunks are there."""
        with self._session() as tables:
            row = tables.Archive[archive_id]
            if row.uploaded_at is not None:
                return
            row.set(sha256=sha256, uploaded_at=int(at), plan=None)
            table = tables.Chunk
            for chunk in select(c for c in table if c.archive_id == archive_id):
                chunk.state = "stored"

    def discard_plan(self, archive_id: str) -> None:
        """Forgets a plan that was never uploaded: its chunks wait again."""
        with self._session() as tables:
            row = tables.Archive.get(archive_id=archive_id)
            if row is None or row.uploaded_at is not None:
                return
            table = tables.Chunk
            for chunk in select(c for c in table if c.archive_id == archive_id):
                chunk.set(state="waiting", archive_id=None, offset=None)
            row.delete()

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


def _add_chunk(tables: Tables, chunk: Chunk, stream: Stream | None) -> None:
    now = retimed(chunk, stream)
    tables.Chunk(
        chunk_id=chunk.chunk_id,
        stream_id=chunk.stream_id,
        first_frame=chunk.first_frame,
        frames=chunk.frames,
        started_at=int(now.started_at),
        ended_at=int(now.ended_at),
        duration=now.ended_at - now.started_at,
        uncertain=now.uncertain,
        length=chunk.bytes,
        sha256=chunk.sha256,
        lafmax=chunk.levels.lafmax if chunk.levels else None,
        manifest=pack(chunk),
        state="waiting",
    )
    if chunk.before and (stream is None or not stream.before):
        _put_holes(tables, chunk.stream_id, chunk.before)
    for span in chunk.sounds:
        _put_sound(tables, now, span)


def _put_holes(tables: Tables, stream_id: str, holes: Iterable[Hole]) -> None:
    table = tables.Hole
    select(h for h in table if h.stream_id == stream_id).delete(bulk=True)
    for hole in holes:
        tables.Hole(
            stream_id=stream_id,
            cause=hole.cause,
            started_at=int(hole.from_),
            ended_at=int(hole.to),
            duration=max(0, hole.to - hole.from_),
        )


def _put_sound(tables: Tables, chunk: Chunk, span: SoundSpan) -> None:
    """A sound across chunks stands in the manifests of all: the first says when it began, the last its end."""
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
    return chunk.started_at + (frame - chunk.first_frame) * (chunk.ended_at - chunk.started_at) // chunk.frames


def _retime(tables: Tables, stream: Stream) -> bool:
    """Moves a stream's chunks and sounds to its corrected times; True when an archive already tells older ones."""
    table, stream_id, told = tables.Chunk, stream.stream_id, False
    rows = list(select(c for c in table if c.stream_id == stream_id).order_by(table.first_frame))
    for row in rows:
        now = retimed(unpack(row.manifest, Chunk), stream)
        if (row.started_at, row.ended_at, row.uncertain) == (now.started_at, now.ended_at, now.uncertain):
            continue
        told = told or row.archive_id is not None
        row.set(
            started_at=int(now.started_at),
            ended_at=int(now.ended_at),
            duration=now.ended_at - now.started_at,
            uncertain=now.uncertain,
        )
        for span in now.sounds:
            _put_sound(tables, now, span)
    return told


def _row_chunk(row: Any) -> Chunk:
    head = (row.started_at, row.chunk_id, row.ended_at, row.uncertain, row.manifest)
    return catalog_chunk((*head, row.state, row.reason, row.archive_id, row.offset, row.length)).chunk
