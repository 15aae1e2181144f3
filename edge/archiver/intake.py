"""Spool -> catalog: registers what the spool holds. Events only say where to look; the spool's files tell the truth."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from edge.archiver.retention.removal import removable_streams, remove_chunks, remove_discarded, remove_streams
from edge.catalog import Catalog
from edge.core.errors import SpoolError
from edge.core.ids import is_chunk_id
from edge.core.instant import Instant
from edge.core.values import Chunk, Stream
from edge.spool.spool import Spool

log = logging.getLogger(__name__)

_AT_ONCE = 500  # manifests in memory


class Intake:
    """Keeps the catalog level with the spool, and the spool free of what the store has."""

    def __init__(
        self, spool: Spool, catalog: Catalog, stored: Callable[[Mapping[str, Instant]], None] | None = None
    ) -> None:
        """`stored` is told which chunks the store has too, and since when; without it nothing is removed."""
        self._spool = spool
        self._catalog = catalog
        self._stored = stored
        self._seen: set[str] = set()  # chunks of the last scan: one that is set aside gets no other chance meanwhile
        self._settled: set[str] = set()  # chunks that the store has too, and that stay here nevertheless
        self._streams: dict[str, Stream] = {}  # records as last registered
        self._complained: set[str] = set()
        self._trouble = ""
        self.newest: Chunk | None = None  # tells how fast the disk fills

    def notice(self, chunk_id: str) -> bool:
        """Registers one chunk that an event named; False when the spool does not have it, or it is known."""
        # whoever may publish can name any number of chunks that are not here: those leave no trace
        if not is_chunk_id(chunk_id) or chunk_id in self._seen:
            return False
        if not _is_file(self._spool.layout.manifest_path(chunk_id)):
            return False
        chunk = self._manifest(chunk_id)
        if chunk is None or not _is_file(self._spool.layout.audio_path(chunk)):
            return False
        self._scan_streams()
        added = self._catalog.registration.add_chunks([chunk])
        self._seen.add(chunk_id)
        self.newest = chunk
        return added > 0

    def rescan(self) -> int:
        """Looks at the whole spool; gives how many chunks were not known. Raises SpoolError, CatalogError.

        The catalog is asked about every file each time, so that what failed once is done by the next rescan.
        """
        files = set(self._spool.chunks.finished())
        self._scan_streams()
        known = self._catalog.known(files)
        added = self._register(sorted(files - known))
        fresh = known - self._seen
        if fresh and (again := fresh & self._catalog.queue.aside().keys()):
            self._catalog.queue.requeue(again)  # a disk that was away, or a restart: they get another chance
        self._seen = files
        self._settled &= files
        if self._stored is not None:
            self._let_go(known)
        return added

    def uploaded(self, chunks: Mapping[str, Instant]) -> None:
        """These chunks are in the store since then. Raises SpoolError where they cannot be removed, as is wished."""
        if self._stored is not None:
            self._stored(chunks)
            self._settled.update(chunks)

    def _let_go(self, known: set[str]) -> None:
        """Removes what nobody needs here. Where that fails, nothing else has to wait: the next rescan tries again."""
        try:
            self._tell_stored(known - self._settled)
            remove_discarded(self._spool, self._catalog)
            self._remove_lone_manifests(self._spool.chunks.manifest_ids() - self._spool.chunks.finished().keys())
            removable = removable_streams(self._spool, self._catalog, self._complain)
            for stream_id in removable:
                self._streams.pop(stream_id, None)
            if removable:
                remove_streams(self._spool, removable)
            self._trouble = ""
        except SpoolError as problem:
            if str(problem) != self._trouble:
                log.warning("%s", problem)
            self._trouble = str(problem)

    def _register(self, fresh: list[str]) -> int:
        added = 0
        for start in range(0, len(fresh), _AT_ONCE):
            found = [self._manifest(chunk_id) for chunk_id in fresh[start : start + _AT_ONCE]]
            chunks = [chunk for chunk in found if chunk is not None]
            added += self._catalog.registration.add_chunks(chunks)
            self.newest = chunks[-1] if chunks else self.newest
        return added

    def _scan_streams(self) -> None:
        for stream_id in self._spool.streams.ids():
            try:
                stream = self._spool.streams.read(stream_id)
            except SpoolError as problem:
                self._complain(stream_id, problem)
                continue
            if self._streams.get(stream_id) != stream:
                if self._catalog.registration.put_stream(stream):
                    log.info("the times of stream %s were corrected after some of it was archived", stream_id)
                self._streams[stream_id] = stream

    def _tell_stored(self, known: set[str]) -> None:
        """Chunks that are in the store and still here: copies, or a crash came between the commit and the removal."""
        stored = self._catalog.plans.uploaded_chunks(known)
        same = {name: what.uploaded_at for name, what in stored.items() if self._is_what_was_stored(name, what.sha256)}
        if same:
            log.info("the store already has %d chunks that are here", len(same))
            self.uploaded(same)

    def _remove_lone_manifests(self, lone: set[str]) -> None:
        """A crash came between the removal of a chunk's audio and that of its manifest."""
        if nobody_needs := self._catalog.plans.uploaded_chunks(lone):
            remove_chunks(self._spool, nobody_needs)

    def _is_what_was_stored(self, chunk_id: str, sha256: str) -> bool:
        chunk = self._manifest(chunk_id)
        if chunk is not None and chunk.sha256 == sha256:
            return True
        if chunk is not None:
            self._complain(
                chunk_id, SpoolError(f"{chunk_id}: differs from the chunk of that name in the store; it is left here")
            )
            self._settled.add(chunk_id)
        return False

    def _manifest(self, chunk_id: str) -> Chunk | None:
        try:
            return self._spool.chunks.manifest(chunk_id)
        except SpoolError as problem:
            self._complain(chunk_id, problem)
            return None

    def _complain(self, name: str, problem: SpoolError) -> None:
        if name not in self._complained:
            self._complained.add(name)
            log.warning("%s", problem)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # whatever it is, it can be neither read nor archived
        return False
