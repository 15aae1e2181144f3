"""Which archives hold a chunk, within a session of the writer: its row names one, and further ones are copies.

A chunk gets into two archives when the catalog is lost while its file is still in the spool, and it is uploaded again.

What an archive found in the store says is only a claim until this node has verified the archive's bytes, which its
`sha256` shows: it adds to what is known, and changes nothing but other claims. No claim deletes anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from edge.catalog.queries import batched_ids
from edge.catalog.rows import give_up, known_row, remove_sounds, timed_copy
from edge.catalog.tables import Tables, count, select
from edge.catalog.values import CatalogChunk, pack, unpack
from edge.core.instant import Instant
from edge.core.values import Archive, Chunk, DiscardedChunk, PlannedMember, Where


def restore_member(tables: Tables, archive: Archive, member: PlannedMember) -> None:
    """An archive in the store claims to hold this chunk: that is where it is if it was not known, else it is a copy."""
    is_new = tables.Chunk.get(chunk_id=member.chunk.chunk_id) is None
    row = known_row(tables, member.chunk)
    if is_new:
        row.set(state="stored", reason=None, archive_id=archive.archive_id, offset=member.offset)
    elif row.archive_id != archive.archive_id:
        _put_copy(tables, archive.archive_id, member)


def restore_discarded(tables: Tables, archive: Archive, one: DiscardedChunk) -> None:
    """An archive in the store claims that this chunk is no longer kept.

    Erased: that wins against any other claim, so that no earlier version of an archive brings it back. Those keep it as
    a copy.
    """
    is_new = tables.Chunk.get(chunk_id=one.chunk.chunk_id) is None
    row = known_row(tables, one.chunk)
    is_erased = one.cause == "erased" and is_claim(tables, row)
    if is_erased:
        leave_claim(tables, row)
    if is_new or is_erased or (row.state == "gone" and row.archive_id is None):
        give_up(tables, row, one.cause if is_new or is_erased else row.reason)
        row.set(archive_id=archive.archive_id, offset=None)


def is_claim(tables: Tables, row: Any) -> bool:
    """Whether nothing but an archive found in the store says what became of this chunk."""
    return bool(claimed(tables, [row.chunk_id]))


def claimed(tables: Tables, chunk_ids: Iterable[str]) -> set[str]:
    """Those of these chunks of which `is_claim` holds."""
    found: set[str] = set()
    chunks, archives = tables.Chunk, tables.Archive
    for some in batched_ids(chunk_ids):
        found.update(
            select(
                c.chunk_id
                for c in chunks
                for a in archives
                if c.chunk_id in some
                and c.state in ("stored", "gone")
                and a.archive_id == c.archive_id
                and a.sha256 is None
                and a.plan is None
            )
        )
    return found


def is_own_stream(tables: Tables, stream_id: str) -> bool:
    """Whether this node has recorded some of the stream, as more than claims show: then it knows the stream's times."""
    chunks, archives = tables.Chunk, tables.Archive
    of_stream = select(c for c in chunks if c.stream_id == stream_id)
    claims = count(
        c
        for c in of_stream
        for a in archives
        if c.state in ("stored", "gone") and a.archive_id == c.archive_id and a.sha256 is None and a.plan is None
    )
    return bool(of_stream.count() > claims)


def drop_claims(tables: Tables, chunk_ids: Collection[str]) -> None:
    """These chunks are in the spool: what archives in the store claim of them counts for nothing but a copy."""
    for chunk_id in chunk_ids:
        leave_claim(tables, tables.Chunk[chunk_id])
    remove_sounds(tables, chunk_ids)


def leave_claim(tables: Tables, row: Any) -> None:
    """The row rests on no claim from now on; what the archive may have of it is a copy."""
    if row.offset is not None:
        become_copy(tables, row)
    row.set(archive_id=None, offset=None)


def move_members(
    tables: Tables, archive: Archive, members: Sequence[PlannedMember], discarded: Sequence[DiscardedChunk]
) -> None:
    """A rewritten archive is in the store: its chunks are there from now on, or in another copy."""
    for member in members:
        row = tables.Chunk[member.chunk.chunk_id]
        if row.archive_id == archive.replaces:
            row.set(archive_id=archive.archive_id, offset=member.offset)
        elif row.archive_id != archive.archive_id:
            _drop_copy(tables, row.chunk_id, archive.replaces)
            _put_copy(tables, archive.archive_id, member)
    for one in discarded:
        row = tables.Chunk[one.chunk.chunk_id]
        _drop_copy(tables, row.chunk_id, archive.replaces)
        is_unlisted = row.state == "gone" and (row.archive_id is None or is_claim(tables, row))
        if row.archive_id == archive.replaces or is_unlisted:
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
    select(c for c in table if c.archive_id == archive_id).delete()
    tables.db.flush()


def copies_in(tables: Tables, archive_id: str, *, for_manifest: bool = False) -> list[CatalogChunk]:
    """The chunks of an archive that have their rows elsewhere. They are gone if this node has erased them."""
    table = tables.Copy
    found = []
    for copy in select(c for c in table if c.archive_id == archive_id):
        row = tables.Chunk[copy.chunk_id]
        if row.archive_id == archive_id:  # it is being verified
            continue
        chunk = unpack(copy.manifest, Chunk) if for_manifest else timed_copy(copy, row)
        where = Where(archive_id, chunk.member, copy.offset, chunk.bytes, chunk.sha256)
        is_erased = row.reason == "erased" and not is_claim(tables, row)
        found.append(CatalogChunk(chunk, where, "erased" if is_erased else None))
    return found


def copies_touching(tables: Tables, start: Instant, end: Instant) -> list[tuple[Chunk, str]]:
    """The copies with sound in [start, end), in archives that are kept, and these archives; by their start."""
    copies, archives, chunks = tables.Copy, tables.Archive, tables.Chunk
    rows = select(
        (c, k) for c in copies for a in archives for k in chunks
        if a.archive_id == c.archive_id and a.gone is None and k.chunk_id == c.chunk_id
    )  # fmt: skip
    timed = ((timed_copy(copy, row), copy.archive_id) for copy, row in rows)  # nearly always none
    found = [(chunk, archive_id) for chunk, archive_id in timed if chunk.started_at < end and chunk.ended_at > start]
    return sorted(found, key=lambda one: (one[0].started_at, one[0].chunk_id, one[1]))


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
