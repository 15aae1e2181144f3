"""What was given up on purpose, and what the store still has to delete. Committed here before anything is deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from edge.catalog.copies import become_copy, claimed, copies_touching, drop_copies, leave_archive, leave_claim
from edge.catalog.file import CatalogFile
from edge.catalog.queries import batched_ids, chunk_values, touching
from edge.catalog.rows import give_up
from edge.catalog.tables import Tables, count, select
from edge.catalog.values import RemainingChunk
from edge.core.instant import Instant
from edge.core.values import DiscardedChunk, GoneCause


class DeletionRecords:
    """Chunks and archives that are gone, or are to go."""

    def __init__(self, file: CatalogFile) -> None:
        self._file = file

    def mark_gone(self, chunk_ids: Collection[str], cause: GoneCause) -> None:
        """These chunks are given up on purpose: from now on their files may be removed from the spool."""
        with self._file.session() as tables:
            claims = claimed(tables, chunk_ids)
            for chunk_id in chunk_ids:
                row = tables.Chunk.get(chunk_id=chunk_id)
                if row is not None and row.state != "planned":
                    if chunk_id in claims:
                        leave_claim(tables, row)
                    give_up(tables, row, cause)

    def remaining_between(self, start: Instant, end: Instant, limit: int) -> list[RemainingChunk]:
        """What is not erased of chunks with sound in [start, end): at most `limit` chunks by their start, then copies.

        Of a chunk that was given up for another cause, its levels and sounds are left.
        """
        with self._file.session() as tables:
            chunks = touching(tables.Chunk, start, end)
            rows = select(
                (c.started_at, c.chunk_id, c.state, c.archive_id)
                for c in chunks
                if c.state != "gone" or c.reason != "erased"
            ).order_by(1, 2)
            found = [
                RemainingChunk(chunk_id, _listed(tables, archive_id) if state == "gone" else state, archive_id)
                for _, chunk_id, state, archive_id in rows[:limit]
            ]
            copies = copies_touching(tables, start, end)[:limit]
            return found + [RemainingChunk(chunk.chunk_id, "stored", archive_id) for chunk, archive_id in copies]

    def count_remaining_between(self, start: Instant, end: Instant) -> int:
        """How many chunks with sound in [start, end) are not erased."""
        with self._file.session() as tables:
            chunks = touching(tables.Chunk, start, end)
            return int(count(c for c in chunks if c.state != "gone" or c.reason != "erased"))

    def count_erased_between(self, start: Instant, end: Instant) -> int:
        """How many chunks with sound in [start, end) were erased."""
        with self._file.session() as tables:
            chunks = touching(tables.Chunk, start, end)
            return int(count(c for c in chunks if c.reason == "erased"))

    def given_up(self, chunk_ids: Iterable[str]) -> dict[str, str]:
        """Those of these chunks that this node gave up, with their SHA-256: a copy in the spool is a leftover."""
        found: dict[str, str] = {}
        with self._file.session() as tables:
            table = tables.Chunk
            for some in batched_ids(chunk_ids):
                rows = select((c.chunk_id, c.sha256) for c in table if c.chunk_id in some and c.state == "gone")
                claims = claimed(tables, some)
                found.update((chunk_id, sha256) for chunk_id, sha256 in rows if chunk_id not in claims)
        return found

    def not_in_manifest(self, limit: int) -> list[DiscardedChunk]:
        """At most `limit` discarded chunks that no archive's manifest lists yet, oldest first."""
        with self._file.session() as tables:
            table = tables.Chunk
            found = select(c for c in table if c.state == "gone" and c.archive_id is None)
            rows = chunk_values(found, limit, for_manifest=True)
            return [DiscardedChunk(row.chunk, row.gone) for row in rows if row.gone is not None]

    def expire_archive(self, archive_id: str) -> None:
        """An archive has reached its age limit: its chunks are gone, and its deletion is pending."""
        with self._file.session() as tables:
            tables.Archive[archive_id].gone = "lifecycle"
            leave_archive(tables, archive_id)

    def keep_archive(self, archive_id: str, uploaded_at: Instant | None = None) -> None:
        """An archive that was to be deleted for its age stays, with its chunks."""
        with self._file.session() as tables:
            archive, table = tables.Archive[archive_id], tables.Chunk
            if archive.gone != "lifecycle" or archive.deleted_at is not None:
                return
            archive.gone = None
            if uploaded_at is not None:
                archive.uploaded_at = int(uploaded_at)
            for chunk in select(c for c in table if c.archive_id == archive_id and c.offset is not None):
                if chunk.reason == "lifecycle":
                    chunk.set(state="stored", reason=None)
                elif chunk.reason == "erased":  # since then: the archive must be rewritten after all
                    become_copy(tables, chunk)

    def mark_deleted(self, archive_id: str, at: Instant) -> None:
        """The store has nothing left of an archive whose deletion was pending, unless it was planned again since."""
        with self._file.session() as tables:
            row = tables.Archive.get(archive_id=archive_id)
            if row is None or row.gone is None:
                return
            if row.gone == "unwanted":
                row.delete()
            else:
                row.deleted_at = int(at)
            drop_copies(tables, archive_id)

    def erased_from(self, archive_id: str) -> tuple[tuple[Instant, Instant], ...]:
        """When the sound was that an archive has and those that replaced it have not."""
        with self._file.session() as tables:
            chunks, archives = tables.Chunk, tables.Archive
            successors, newest = set[str](), [archive_id]
            while newest:
                newest = list(set(select(a.archive_id for a in archives if a.replaces in newest)) - successors)
                successors.update(newest)
            rows = set[tuple[int, int]]()
            for some in batched_ids(successors):
                erased = select(c for c in chunks if c.archive_id in some and c.reason == "erased")
                rows.update(select((c.started_at, c.ended_at) for c in erased))
            return tuple((Instant(start), Instant(end)) for start, end in sorted(rows))

    def delete_again(self, archive_id: str) -> None:
        """The store still has an archive that counted as deleted."""
        with self._file.session() as tables:
            tables.Archive[archive_id].deleted_at = None


def _listed(tables: Tables, archive_id: str | None) -> str:
    """The state of a chunk that was given up: which of its levels and sounds is left outside this catalog."""
    archive = tables.Archive.get(archive_id=archive_id) if archive_id else None
    if archive is None or archive.gone is not None:
        return "gone"
    return "planned" if archive.uploaded_at is None else "stored"
