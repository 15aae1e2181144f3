"""Which archives hold a chunk, within a session of the writer: its row names one, and further ones are copies.

A chunk gets into two archives when the catalog is lost while its file is still in the spool, and it is uploaded again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from edge.catalog.queries import touching
from edge.catalog.rows import give_up, known_row
from edge.catalog.tables import Tables, select
from edge.catalog.values import CatalogChunk, RemainingChunk, pack, unpack
from edge.core.instant import Instant
from edge.core.values import Archive, Chunk, DiscardedChunk, PlannedMember, Where


def restore_member(tables: Tables, archive: Archive, member: PlannedMember) -> None:
    """An archive in the store holds this chunk.

    That is where the chunk is from now on if it was not known, or was in the archive that this one replaces. Else it is
    a copy: nobody but the uploader decides that what waits in the spool is stored.
    """
    is_new = tables.Chunk.get(chunk_id=member.chunk.chunk_id) is None
    row = known_row(tables, member.chunk)
    if is_new or (row.state == "stored" and row.archive_id == archive.replaces):
        row.set(state="stored", reason=None, archive_id=archive.archive_id, offset=member.offset)
    elif row.archive_id != archive.archive_id:
        _put_copy(tables, archive.archive_id, member)


def restore_discarded(tables: Tables, archive: Archive, one: DiscardedChunk) -> None:
    """An archive in the store lists this chunk as no longer kept. What waits in the spool is not given up for that."""
    is_new = tables.Chunk.get(chunk_id=one.chunk.chunk_id) is None
    row = known_row(tables, one.chunk)
    is_replaced = archive.replaces is not None and row.archive_id == archive.replaces
    if is_new or is_replaced or (row.state == "gone" and row.archive_id is None):
        give_up(tables, row, one.cause if is_new or is_replaced else row.reason)
        row.set(archive_id=archive.archive_id, offset=None)


def move_members(
    tables: Tables, archive: Archive, members: Sequence[PlannedMember], discarded: Sequence[DiscardedChunk]
) -> None:
    """A rewritten archive is in the store: its chunks are there from now on, or in another copy."""
    for member in members:
        row = tables.Chunk[member.chunk.chunk_id]
        if row.archive_id == archive.replaces:
            row.set(archive_id=archive.archive_id, offset=member.offset)
        else:
            _drop_copy(tables, row.chunk_id, archive.replaces)
            _put_copy(tables, archive.archive_id, member)
    for one in discarded:
        row = tables.Chunk[one.chunk.chunk_id]
        _drop_copy(tables, row.chunk_id, archive.replaces)
        if row.archive_id == archive.replaces or (row.state == "gone" and row.archive_id is None):
            give_up(tables, row, one.cause)
            row.set(archive_id=archive.archive_id, offset=None)


def leave_archive(tables: Tables, archive_id: str) -> None:
    """An archive has reached its age limit: its chunks are in their copies from now on, or gone."""
    table = tables.Chunk
    for row in select(c for c in table if c.archive_id == archive_id and c.state == "stored"):
        copy = next(iter(_kept_copies(tables, row)), None)
        if copy is None:
            row.set(state="gone", reason="lifecycle")
            continue
        become_copy(tables, row)
        row.set(archive_id=copy.archive_id, offset=copy.offset)
        copy.delete()


def become_copy(tables: Tables, row: Any) -> None:
    """The place that a chunk's row names is only a copy from now on."""
    tables.Copy(chunk_id=row.chunk_id, archive_id=row.archive_id, offset=row.offset, manifest=row.manifest)
    row.set(archive_id=None, offset=None)


def drop_copies(tables: Tables, archive_id: str) -> None:
    """An archive is no longer in the store."""
    table = tables.Copy
    select(c for c in table if c.archive_id == archive_id).delete(bulk=True)


def retire_superseded(tables: Tables, archive_id: str | None) -> None:
    """An archive that another one replaces is given up once that one lists all its chunks."""
    archives, chunks, copies = tables.Archive, tables.Chunk, tables.Copy
    row = tables.Archive.get(archive_id=archive_id) if archive_id else None
    successors = set(select(a.archive_id for a in archives if a.replaces == archive_id)) if row else set()
    if row is None or not successors or select(c for c in chunks if c.archive_id == archive_id).exists():
        return
    for chunk_id in list(select(c.chunk_id for c in copies if c.archive_id == archive_id)):
        places = set(select(c.archive_id for c in copies if c.chunk_id == chunk_id))
        if not successors & {tables.Chunk[chunk_id].archive_id, *places}:
            return
    row.gone = "replaced"


def copies_in(tables: Tables, archive_id: str, *, for_manifest: bool = False) -> list[CatalogChunk]:
    """The chunks of an archive that have their rows elsewhere, with the times that are known now."""
    table = tables.Copy
    found = []
    for copy in select(c for c in table if c.archive_id == archive_id):
        chunk, row = unpack(copy.manifest, Chunk), tables.Chunk[copy.chunk_id]
        if not (for_manifest and chunk.uncertain):
            times = {"started_at": Instant(row.started_at), "ended_at": Instant(row.ended_at)}
            chunk = replace(chunk, uncertain=row.uncertain, **times)
        where = Where(archive_id, chunk.member, copy.offset, chunk.bytes, chunk.sha256)
        found.append(CatalogChunk(chunk, where))
    return found


def copies_touching(tables: Tables, start: Instant, end: Instant, limit: int) -> list[RemainingChunk]:
    """At most `limit` copies of chunks with sound in [start, end), in archives that are kept."""
    copies, archives = tables.Copy, tables.Archive
    if not select(c for c in copies).exists():  # nearly always
        return []
    chunks = touching(tables.Chunk, start, end)
    rows = select(
        (k.started_at, k.chunk_id, c.archive_id)
        for k in chunks
        for c in copies
        for a in archives
        if c.chunk_id == k.chunk_id and a.archive_id == c.archive_id and a.gone is None
    ).order_by(1, 2, 3)
    return [RemainingChunk(chunk_id, "stored", archive_id) for _, chunk_id, archive_id in rows[:limit]]


def _kept_copies(tables: Tables, row: Any) -> list[Any]:
    """The same bytes in other archives that are kept."""
    copies, archives, chunk_id = tables.Copy, tables.Archive, row.chunk_id
    found = select(
        c
        for c in copies
        for a in archives
        if c.chunk_id == chunk_id and a.archive_id == c.archive_id and a.gone is None
    )
    return [copy for copy in found if unpack(copy.manifest, Chunk).sha256 == row.sha256]


def _put_copy(tables: Tables, archive_id: str, member: PlannedMember) -> None:
    if tables.Copy.get(chunk_id=member.chunk.chunk_id, archive_id=archive_id) is None:
        tables.Copy(
            chunk_id=member.chunk.chunk_id, archive_id=archive_id, offset=member.offset, manifest=pack(member.chunk)
        )


def _drop_copy(tables: Tables, chunk_id: str, archive_id: str | None) -> None:
    copy = tables.Copy.get(chunk_id=chunk_id, archive_id=archive_id)
    if copy is not None:
        copy.delete()
