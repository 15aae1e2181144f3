"""What enters the catalog: chunks and stream records from the spool, archives from the store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from edge.catalog.copies import claimed, drop_claims, is_own_stream, restore_discarded, restore_member
from edge.catalog.file import CatalogFile
from edge.catalog.queries import batched, batched_ids, stream_records
from edge.catalog.rows import (
    add_chunk,
    archive_columns,
    corrected,
    put_holes,
    put_spool_chunk,
    retime,
    span_archive,
)
from edge.catalog.tables import select
from edge.catalog.values import pack, unpack
from edge.core.values import Archive, Chunk, DiscardedChunk, PlannedMember, Stream


class Registration:
    """May be repeated after a crash: nothing is registered twice."""

    def __init__(self, file: CatalogFile) -> None:
        self._file = file

    def add_chunks(self, chunks: Iterable[Chunk]) -> int:
        """Adds the spool's chunks that are not known yet, as waiting; gives their number.

        What is in the spool wins over what an archive found in the store claims: such a chunk waits again.
        """
        added = 0
        for some in batched(chunks):
            with self._file.session() as tables:
                streams = stream_records(tables, {chunk.stream_id for chunk in some})
                table, [ids] = tables.Chunk, batched_ids([chunk.chunk_id for chunk in some])
                known, claims = set(select(c.chunk_id for c in table if c.chunk_id in ids)), claimed(tables, ids)
                drop_claims(tables, claims)
                for chunk in some:
                    stream = streams.get(chunk.stream_id)
                    if chunk.chunk_id in claims:
                        claims.remove(chunk.chunk_id)
                        put_spool_chunk(tables, table[chunk.chunk_id], chunk, stream)
                        added += 1
                    elif chunk.chunk_id not in known:
                        known.add(chunk.chunk_id)
                        add_chunk(tables, chunk, stream)
                        added += 1
        return added

    def registered(self, chunk_ids: Collection[str]) -> set[str]:
        """Those of the spool's chunks that `add_chunks` would not add."""
        found: set[str] = set()
        with self._file.session() as tables:
            table = tables.Chunk
            for some in batched_ids(chunk_ids):
                found.update(select(c.chunk_id for c in table if c.chunk_id in some))
            return found - claimed(tables, chunk_ids)

    def put_stream(self, stream: Stream) -> bool:
        """Stores a stream's record. True when its times were corrected after some of it was archived."""
        with self._file.session() as tables:
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

    def is_own_stream(self, stream_id: str) -> bool:
        """Whether this node knows the stream's times itself: no record found in the store may change them."""
        with self._file.session() as tables:
            return is_own_stream(tables, stream_id)

    def corrections_due(self) -> list[str]:
        """Streams that were corrected after an archive with their older times was planned."""
        with self._file.session() as tables:
            table = tables.Stream
            return sorted(select(s.stream_id for s in table if s.correction_due))

    def mark_correction_stored(self, stream_id: str) -> None:
        with self._file.session() as tables:
            tables.Stream[stream_id].correction_due = False

    def restore_archive(
        self, archive: Archive, members: Sequence[PlannedMember], discarded: Sequence[DiscardedChunk] = ()
    ) -> None:
        """Adds an archive found in the store as its own manifest describes it.

        A chunk that already is in another archive stays there, and has a copy. An archive that this one claims to
        replace stays too: only the node that rewrites an archive deletes the old one. One that this node has planned
        or verified itself is not added to, whatever lies elsewhere under its ID.
        """
        with self._file.session() as tables:
            row = tables.Archive.get(archive_id=archive.archive_id)
            if row is None:
                tables.Archive(**archive_columns(archive))
            elif row.sha256 or row.plan or (row.bucket, row.key) != (archive.bucket, archive.key):
                return
            for member in members:
                restore_member(tables, archive, member)
            for one in discarded:
                restore_discarded(tables, archive, one)
            span_archive(tables, archive.archive_id)
