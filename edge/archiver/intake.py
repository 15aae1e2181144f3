"""Spool -> catalog: registers what the spool holds. Events only say where to look; the spool's files are the truth."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from edge.archiver.pacing import WarnOnce
from edge.catalog import Catalog
from edge.core.errors import SpoolError
from edge.core.ids import is_chunk_id
from edge.core.values import Chunk, Stream
from edge.spool.spool import Spool

log = logging.getLogger(__name__)


class Intake:
    """Keeps the catalog up to date with the spool."""

    def __init__(self, spool: Spool, catalog: Catalog) -> None:
        self._spool = spool
        self._catalog = catalog
        self._seen: set[str] = set()  # chunks of the last scan: one that is set aside gets no second chance meanwhile
        self._streams: dict[str, Stream] = {}  # records as last registered
        self._warn = WarnOnce(log)
        self.registered: set[str] = set()  # chunks in the spool that were in the catalog before the last rescan
        self.newest: Chunk | None = None  # shows how fast the disk fills

    def register(self, chunk_id: str) -> bool:
        """Registers one chunk; False when the spool does not have it, or it is registered already."""
        # anyone who may publish can name any number of chunks that are not here: those leave no trace
        if not is_chunk_id(chunk_id) or chunk_id in self._seen:
            return False
        if not _is_file(self._spool.layout.manifest_path(chunk_id)):
            return False
        chunk = self._manifest(chunk_id)
        if chunk is None or not _is_file(self._spool.layout.audio_path(chunk)):
            return False
        self._register_streams()
        added = self._catalog.registration.add_chunks([chunk])
        self._seen.add(chunk_id)
        self.newest = chunk
        return added > 0

    def rescan(self) -> int:
        """Scans the whole spool; gives how many chunks were new. Raises SpoolError, CatalogError.

        Every file is looked up in the catalog each time, so that the next rescan repairs what failed in the last one.
        """
        try:
            files = set(self._spool.chunks.finished())
        except SpoolError:
            self._seen = set()  # what is set aside because of that gets another chance, too
            raise
        self._register_streams()
        self.registered = self._catalog.registration.registered(files)
        added = self._catalog.registration.add_chunks(self._manifests(files - self.registered))
        returned = self.registered - self._seen
        if returned and (aside := returned & self._catalog.queue.aside().keys()):
            self._catalog.queue.requeue(aside)  # after a restart, or a missing disk, they get another chance
        self._seen = files
        return added

    def reconsider(self, chunk_ids: Iterable[str]) -> None:
        """What is set aside gets another chance at the next rescan: the disk failed, not the chunk."""
        self._seen.difference_update(chunk_ids)

    def _manifests(self, chunk_ids: set[str]) -> Iterator[Chunk]:
        for chunk_id in sorted(chunk_ids):
            if (chunk := self._manifest(chunk_id)) is not None:
                self.newest = chunk
                yield chunk

    def _register_streams(self) -> None:
        ids = self._spool.streams.ids()
        self._streams = {stream_id: self._streams[stream_id] for stream_id in ids if stream_id in self._streams}
        for stream_id in ids:
            try:
                stream = self._spool.streams.read(stream_id)
            except SpoolError as problem:
                self._warn(stream_id, problem)
                continue
            if self._streams.get(stream_id) != stream:
                if self._catalog.registration.put_stream(stream):
                    log.info("the times of stream %s were corrected after some of it was archived", stream_id)
                self._streams[stream_id] = stream

    def _manifest(self, chunk_id: str) -> Chunk | None:
        try:
            return self._spool.chunks.manifest(chunk_id)
        except SpoolError as problem:
            self._warn(chunk_id, problem)
            return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # it can be neither read nor archived
        return False
