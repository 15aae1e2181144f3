"""The chunks that are not in the store yet: waiting, due, or set aside because their file is damaged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edge.catalog.file import CatalogFile
from edge.catalog.queries import chunk_values
from edge.catalog.tables import count, greatest, least, select, total
from edge.catalog.values import UploadBacklog
from edge.core.instant import Instant
from edge.core.values import Chunk


class UploadQueue:
    """Waiting chunks become due when a limit is exceeded or on command; due ones are planned."""

    def __init__(self, file: CatalogFile) -> None:
        self._file = file

    def waiting(self, limit: int) -> list[Chunk]:
        """At most `limit` chunks that no plan has yet, oldest first."""
        with self._file.session() as tables:
            table = tables.Chunk
            return [row.chunk for row in chunk_values(select(c for c in table if c.state == "waiting"), limit)]

    def mark_due(self) -> int:
        """Everything that waits now is due, even if the limit is met again; gives the number of chunks."""
        with self._file.session() as tables:
            table = tables.Chunk
            chunks = int(count(c for c in table if c.state == "waiting"))
            if chunks:
                tables.mark_due()
            return chunks

    def due(self, limit: int) -> list[Chunk]:
        """At most `limit` due chunks without a plan, oldest first, as a manifest must describe them."""
        with self._file.session() as tables:
            chunks, marks = tables.Chunk, tables.Due
            found = select(c for c in chunks for d in marks if c.state == "waiting" and d.chunk_id == c.chunk_id)
            return [row.chunk for row in chunk_values(found, limit, for_manifest=True)]

    def backlog(self, *, planned_too: bool = True) -> UploadBacklog:
        """What waits to be planned, and with `planned_too` what waits to be uploaded."""
        states = ["waiting", "planned"] if planned_too else ["waiting"]
        with self._file.session() as tables:
            table = tables.Chunk
            rows = select(
                (count(c), total(c.length), total(c.duration), least(c.ended_at), greatest(c.lafmax))
                for c in table
                if c.state in states
            )
            chunks, size, duration, oldest, loudest = rows.first()
            since = None if oldest is None else Instant(oldest)
            return UploadBacklog(chunks, int(size or 0), int(duration or 0), since, loudest)

    def set_aside(self, reasons: Mapping[str, str]) -> None:
        """These waiting chunks cannot be archived as they are, and why (one line each)."""
        with self._file.session() as tables:
            for chunk_id, reason in reasons.items():
                row = tables.Chunk.get(chunk_id=chunk_id)
                if row is not None and row.state == "waiting":
                    row.set(state="aside", reason=reason)

    def aside(self) -> dict[str, str]:
        """Every chunk that is set aside, and why."""
        with self._file.session() as tables:
            table = tables.Chunk
            return dict(select((c.chunk_id, c.reason) for c in table if c.state == "aside"))

    def requeue(self, chunk_ids: Iterable[str]) -> None:
        """Chunks that were set aside wait again."""
        with self._file.session() as tables:
            for chunk_id in chunk_ids:
                row = tables.Chunk.get(chunk_id=chunk_id)
                if row is not None and row.state == "aside":
                    row.set(state="waiting", reason=None)
