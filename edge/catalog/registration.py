"""What enters the catalog: chunks and stream records from the spool, archives from the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edge.catalog.copies import restore_discarded, restore_member, retire_superseded
from edge.catalog.file import CatalogFile
from edge.catalog.queries import batched, batched_ids, stream_records
from edge.catalog.rows import (
    add_chunk,
    archive_columns,
    corrected,
    put_holes,
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
        """Adds the chunks that are not known yet, as waiting; gives their number."""
        added = 0
        for some in batched(chunks):
            with self._file.session() as tables:
                streams = stream_records(tables, {chunk.stream_id for chunk in some})
                table, [ids] = tables.Chunk, batched_ids([chunk.chunk_id for chunk in some])
                known = set(select(c.chunk_id for c in table if c.chunk_id in ids))
                for chunk in some:
                    if chunk.chunk_id not in known:
                        known.add(chunk.chunk_id)
                        add_chunk(tables, chunk, streams.get(chunk.stream_id))
                        added += 1
        return added

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

        A chunk that already is in another archive stays there, unless this archive replaces that one, and has a copy.
        """
        with self._file.session() as tables:
            if tables.Archive.get(archive_id=archive.archive_id) is None:
                tables.Archive(**archive_columns(archive))
            for member in members:
                restore_member(tables, archive, member)
            for one in discarded:
                restore_discarded(tables, archive, one)
            for archive_id in (archive.archive_id, archive.replaces):
                retire_superseded(tables, archive_id)
            span_archive(tables, archive.archive_id)
