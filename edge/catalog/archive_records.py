"""Reading what the catalog knows about archives: planned, uploaded, to be deleted, and their members."""

from __future__ import annotations

from edge.catalog.copies import claimed, copies_in
from edge.catalog.file import CatalogFile
from edge.catalog.queries import EVERY, archive_value, chunk_values
from edge.catalog.tables import count, desc, select, total
from edge.catalog.values import CatalogChunk
from edge.core.instant import Instant
from edge.core.values import Archive, Chunk


class ArchiveRecords:
    """For any reader of the catalog."""

    def __init__(self, file: CatalogFile) -> None:
        self._file = file

    def uploaded_ids(self) -> list[str]:
        """The IDs of all archives that are in the store and stay there, sorted."""
        with self._file.session() as tables:
            table = tables.Archive
            return sorted(select(a.archive_id for a in table if a.uploaded_at is not None and a.gone is None))

    def uploaded_totals(self) -> tuple[int, int]:
        """How many archives are in the store and stay there, and how many chunks they hold."""
        with self._file.session() as tables:
            table = tables.Archive
            found = select(
                (count(a), total(a.chunks)) for a in table if a.uploaded_at is not None and a.gone is None
            ).first()
            return int(found[0]), int(found[1] or 0)

    def pending_deletion(self) -> list[Archive]:
        """The archives that the catalog has given up and that may still be in the store."""
        with self._file.session() as tables:
            table = tables.Archive
            found = select(a for a in table if a.gone is not None and a.deleted_at is None).order_by(table.archive_id)
            return [archive_value(row) for row in found]

    def uploaded_before(self, moment: Instant, limit: int) -> list[Archive]:
        """At most `limit` archives that were uploaded before `moment` and are still kept, oldest first."""
        with self._file.session() as tables:
            table, last = tables.Archive, int(moment)
            found = select(a for a in table if a.uploaded_at < last and a.gone is None).order_by(table.uploaded_at)
            return [archive_value(row) for row in found[:limit]]

    def expired_since(self, moment: Instant) -> int:
        """How many archives were deleted for their age since `moment`, or are about to be."""
        with self._file.session() as tables:
            table, first = tables.Archive, int(moment)
            expired = select(a for a in table if a.gone == "lifecycle")
            return int(count(a for a in expired if a.deleted_at is None or a.deleted_at >= first))

    def kept_bytes(self, month: Instant) -> list[tuple[int, Instant]]:
        """(bytes, since when) in the store: one sum for everything before `month`, then each later archive."""
        with self._file.session() as tables:
            table, first = tables.Archive, int(month)
            before = select(total(a.length) for a in table if a.uploaded_at < first and a.gone is None).first()
            since = select(
                (a.archive_id, a.length, a.uploaded_at) for a in table if a.uploaded_at >= first and a.gone is None
            )
            return [(int(before or 0), month), *((length, Instant(at)) for _, length, at in since)]

    def uploaded_since(self, moment: Instant) -> list[tuple[str, int]]:
        """(key, bytes) of every archive uploaded at `moment` or later, also of those deleted since."""
        with self._file.session() as tables:
            return list(select((a.key, a.length) for a in tables.Archive if a.uploaded_at >= int(moment)))

    def last_uploaded(self) -> Archive | None:
        """The archive that was uploaded last."""
        with self._file.session() as tables:
            table = tables.Archive
            newest = select(a for a in table if a.uploaded_at is not None).order_by(desc(table.uploaded_at)).first()
            return archive_value(newest) if newest else None

    def open_plans(self) -> list[Archive]:
        """The archives of waiting chunks that are planned and not uploaded, in the order of planning."""
        return [archive for archive in self._unfinished() if archive.replaces is None]

    def open_rewrites(self) -> list[Archive]:
        """The archives that are to replace others and are not uploaded."""
        return [archive for archive in self._unfinished() if archive.replaces is not None]

    def _unfinished(self) -> list[Archive]:
        with self._file.session() as tables:
            table = tables.Archive
            found = select(a for a in table if a.plan is not None and a.gone is None)
            return [archive_value(row) for row in found.order_by(table.planned_at, table.archive_id)]

    def members(self, archive_id: str) -> list[CatalogChunk]:
        """The chunks that an archive holds or will hold, in its order."""
        with self._file.session() as tables:
            table = tables.Chunk
            found = chunk_values(select(c for c in table if c.archive_id == archive_id), EVERY)
            found += copies_in(tables, archive_id)
            return sorted(found, key=lambda row: row.where.offset if row.where else 0)

    def erased_copies(self) -> list[tuple[str, str, str | None]]:
        """(chunk ID, archive ID) of erased chunks that another archive in the store still holds; and which archive
        claims that they were erased, where this node does not know it itself."""
        with self._file.session() as tables:
            copies, chunks, archives = tables.Copy, tables.Chunk, tables.Archive
            found = select(
                (c.chunk_id, c.archive_id, k.archive_id)
                for c in copies
                for k in chunks
                for a in archives
                if k.chunk_id == c.chunk_id and k.reason == "erased" and a.archive_id == c.archive_id and a.gone is None
            )
            claims = claimed(tables, {chunk_id for chunk_id, _, _ in found})
            return sorted((chunk_id, copy, by if chunk_id in claims else None) for chunk_id, copy, by in found)

    def chunks_for_manifest(self, archive_id: str) -> dict[str, Chunk]:
        """An archive's chunks by their IDs, as the manifest of the archive that replaces it must describe them."""
        with self._file.session() as tables:
            table = tables.Chunk
            found = chunk_values(select(c for c in table if c.archive_id == archive_id), EVERY, for_manifest=True)
            found += copies_in(tables, archive_id, for_manifest=True)
            return {row.chunk.chunk_id: row.chunk for row in found}
