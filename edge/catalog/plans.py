"""Committed plans and how they end: uploaded, or taken back.

From the moment a plan is committed, the store may have its archive: its response can be lost, and a process can end
between upload and commit. So a plan that is taken back always leaves a deletion pending.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

from edge.catalog.copies import drop_copies, move_members
from edge.catalog.file import CatalogFile
from edge.catalog.queries import batched_ids
from edge.catalog.rows import put_plan, span_archive
from edge.catalog.tables import select
from edge.catalog.values import UploadedChunk
from edge.core.errors import CatalogDamaged, CatalogError
from edge.core.instant import Instant
from edge.core.values import Archive, DiscardedChunk, PlannedMember


class Plans:
    """An archive is committed here before its first byte is uploaded, so a crash never changes its bytes."""

    def __init__(self, file: CatalogFile) -> None:
        self._file = file

    def commit(
        self,
        archive: Archive,
        members: Sequence[PlannedMember],
        manifest: bytes,
        discarded: Sequence[DiscardedChunk] = (),
    ) -> bool:
        """Freezes a plan: its chunks leave the waiting ones. False when the very same archive is there already.

        Raises CatalogError when one of the chunks does not wait.
        """
        with self._file.session() as tables:
            if not put_plan(tables, archive, manifest):
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

    def manifest(self, archive_id: str) -> bytes:
        """The frozen manifest of an open plan. Raises CatalogError, and CatalogDamaged where it cannot be read."""
        with self._file.session() as tables:
            row = tables.Archive.get(archive_id=archive_id)
            if row is None or row.plan is None:
                raise CatalogError(f"{archive_id}: has no open plan")
            try:
                return zlib.decompress(row.plan)
            except zlib.error as problem:
                text = f"{self._file.path}: the catalog is damaged (the plan of {archive_id} cannot be read: {problem})"
                raise CatalogDamaged(text) from None

    def mark_uploaded(self, archive_id: str, sha256: str, at: Instant) -> None:
        """The archive's bytes are verified in the store: from now on its chunks are there."""
        with self._file.session() as tables:
            row = tables.Archive[archive_id]
            if row.sha256 is not None:
                return
            row.set(sha256=sha256, uploaded_at=int(at), plan=None)
            drop_copies(tables, archive_id)  # of one that was found in the store: its chunks are there
            table = tables.Chunk
            for chunk in select(c for c in table if c.archive_id == archive_id and c.state == "planned"):
                chunk.state = "stored"

    def uploaded_chunks(self, chunk_ids: Iterable[str]) -> dict[str, UploadedChunk]:
        """Those of these chunks whose archive is uploaded, and verified by this node."""
        found: dict[str, UploadedChunk] = {}
        with self._file.session() as tables:
            chunks, archives = tables.Chunk, tables.Archive
            for some in batched_ids(chunk_ids):
                rows = select(
                    (c.chunk_id, c.sha256, a.uploaded_at)
                    for c in chunks
                    for a in archives
                    if c.chunk_id in some
                    and c.state == "stored"
                    and a.archive_id == c.archive_id
                    and a.sha256 is not None
                )
                found.update((chunk_id, UploadedChunk(sha256, Instant(at))) for chunk_id, sha256, at in rows)
        return found

    def commit_rewrite(self, archive: Archive, manifest: bytes) -> None:
        """Freezes a plan whose chunks are in the store already, in the archive that it replaces."""
        with self._file.session() as tables:
            put_plan(tables, archive, manifest)

    def mark_rewritten(
        self,
        archive: Archive,
        sha256: str,
        at: Instant,
        members: Sequence[PlannedMember],
        discarded: Sequence[DiscardedChunk],
    ) -> None:
        """A rewritten archive is verified in the store: its chunks move there, the old one is to be deleted."""
        with self._file.session() as tables:
            row, old = tables.Archive[archive.archive_id], tables.Archive[archive.replaces]
            if old.gone == "replaced":
                return
            if row.sha256 is None:
                row.set(sha256=sha256, uploaded_at=int(at), plan=None)
            move_members(tables, archive, members, discarded)
            old.gone = "replaced"
            span_archive(tables, archive.archive_id)

    def take_back(self, archive_id: str) -> None:
        """Its chunks wait again, and its deletion is pending until the store is known to have nothing of it.

        Does nothing to an archive that is known to be in the store. One that was found there stays there.
        """
        with self._file.session() as tables:
            row = tables.Archive.get(archive_id=archive_id)
            if row is None or (row.uploaded_at is not None and row.plan is None):
                return
            table = tables.Chunk
            for chunk in select(c for c in table if c.archive_id == archive_id):
                if chunk.state == "planned":
                    chunk.set(state="waiting", archive_id=None, offset=None)
                elif row.uploaded_at is None:
                    chunk.set(archive_id=None, offset=None)
            row.set(gone="unwanted" if row.uploaded_at is None else None, plan=None)
