"""The one place through which sound is deleted, from the spool and from the store.

Nothing is deleted before the catalog has committed why: that it is in the store, or that it was given up on purpose.
A hold wins, for the whole of every chunk that it touches.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from edge.archiver.jobs import FoundArchive
from edge.archiver.plan.keys import is_archive_key
from edge.archiver.plan.stored_members import clip_touches
from edge.archiver.retention.age_check import AgeCheck, HeldBack
from edge.archiver.stored_manifests import check_against_spool, read_archive, with_corrections
from edge.catalog import Catalog, CatalogChunk
from edge.catalog.file import earlier_catalogs
from edge.catalog.holds import explanation, read_holds
from edge.core.errors import SpoolError, StoreBlocked, WireError
from edge.core.files import sync_folder
from edge.core.instant import Instant
from edge.core.values import Archive, GoneCause
from edge.spool.spool import Spool
from edge.store.interface import ObjectStore

log = logging.getLogger(__name__)

LISTED_AT_ONCE = 1_000


class Deletions:
    """Raises SpoolError, CatalogError, StoreError, HeldBack, HoldsUnreadable. What failed may be repeated."""

    def __init__(self, spool: Spool, catalog: Catalog, store: ObjectStore, age: AgeCheck) -> None:
        self._spool, self._catalog, self._store, self._age = spool, catalog, store, age

    # committed to the catalog, then removed from the spool; in the archiver's thread

    def give_up(self, chunk_ids: Sequence[str], cause: GoneCause) -> None:
        """Deletes chunks that the store does not have."""
        self.check_holds(chunk_ids)
        self._catalog.deletions.mark_gone(chunk_ids, cause)
        self.remove_chunks(chunk_ids)

    def check_holds(self, chunk_ids: Iterable[str]) -> None:
        """Raises HeldBack if any of these chunks is on hold, except for those that are erased."""
        self._check_each((row.chunk.started_at, row.chunk.ended_at) for row in self._not_erased(chunk_ids))

    def _not_erased(self, chunk_ids: Iterable[str]) -> list[CatalogChunk]:
        return [row for row in self._catalog.chunks(chunk_ids) if row.gone != "erased"]

    def _check_each(self, ranges: Iterable[tuple[Instant, Instant]]) -> None:
        holds = read_holds(self._catalog.path)
        for start, end in ranges:
            if (hold := holds.first_touching(start, end)) is not None:
                raise HeldBack(f"sound from {start} to {end} is kept: it is {explanation(hold, start, end)}")

    def take_back_plan(self, archive_id: str) -> None:
        """Its chunks wait again. What the store may have of it is deleted later."""
        self._catalog.plans.take_back(archive_id)

    def expire_archive(self, archive_id: str) -> None:
        """Its chunks are gone from now on; the store deletes it later."""
        self._catalog.deletions.expire_archive(archive_id)

    def keep_archive(self, archive_id: str, stored_at: Instant | None) -> None:
        """It has not expired after all; it counts as uploaded at `stored_at`, if that is given."""
        self._catalog.deletions.keep_archive(archive_id, stored_at)

    # files that the catalog no longer needs in the spool; in the archiver's thread

    def remove_chunks(self, chunk_ids: Iterable[str]) -> None:
        """Removes files of chunks that the store has, or that were given up, after trying every one of them."""
        self._remove_each(self._spool.chunks.remove, chunk_ids)

    def remove_given_up(self) -> None:
        """Removes the files of chunks that this node gave up and are still here; nothing while one is on hold."""
        present = self._spool.chunks.finished().keys() | self._spool.chunks.manifest_ids()
        given_up = self._catalog.deletions.given_up(present)
        if leftovers := [chunk_id for chunk_id, sha256 in given_up.items() if not self._is_another(chunk_id, sha256)]:
            rows = self._catalog.chunks(leftovers)
            self._check_each((row.chunk.started_at, row.chunk.ended_at) for row in rows)
            self.remove_chunks(leftovers)

    def remove_streams(self, stream_ids: Iterable[str]) -> None:
        """Removes records of streams, after trying every one of them."""
        self._remove_each(self._spool.streams.remove, stream_ids)

    # copies of the catalog: levels and sounds of what was erased since are in them

    def remove_earlier_catalogs(self) -> None:
        """Removes what lies beside the catalog of earlier ones."""
        self._remove_beside()

    def remove_unfinished_rebuild(self) -> None:
        """Removes what a killed `imhearing catalog rebuild` left; none runs while the archiver does."""
        self._remove_beside("rebuilding")

    def _remove_beside(self, *endings: str) -> None:
        path = self._catalog.path
        try:
            files = earlier_catalogs(path, *endings)
            for file in files:
                path = file
                file.unlink(missing_ok=True)
                log.info("removed %s", file)
            if files:
                sync_folder(self._catalog.path.parent)
        except OSError as problem:
            raise SpoolError(f"{path}: cannot be removed ({problem.strerror}); remove it by hand") from None

    def _is_another(self, chunk_id: str, sha256: str) -> bool:
        """Anyone who may write archives can claim that any chunk was given up; the audio here may be another."""
        try:
            return self._spool.chunks.manifest(chunk_id).sha256 != sha256
        except SpoolError:
            return False

    def _remove_each(self, remove: Callable[[str], None], names: Iterable[str]) -> None:
        trouble: OSError | SpoolError | None = None
        for name in names:
            try:
                remove(name)
            except (OSError, SpoolError) as problem:
                trouble = problem
        try:
            sync_folder(self._spool.path)
        except OSError as problem:
            trouble = problem
        if trouble is not None:
            raise SpoolError(
                f"{self._spool.path}: files that are no longer needed cannot be removed"
                f" ({os.strerror(trouble.errno) if trouble.errno else trouble}); fix the folder's permissions",
                trouble.errno,
            )

    def delete_again(self, archive_id: str) -> None:
        """The store still has it although it counted as deleted."""
        self._catalog.deletions.delete_again(archive_id)

    # objects in the store; in the worker's thread

    def list_archives(self, prefix: str, after: str) -> tuple[tuple[str, int], ...]:
        """Keys of archives below `prefix`, and their bytes, from the one after `after` on; at most LISTED_AT_ONCE."""
        found = ((key, size) for key, size in self._store.keys(prefix, after) if is_archive_key(key, prefix))
        return tuple(islice(found, LISTED_AT_ONCE))

    def read_archive(self, key: str, size: int, prefix: str, node: str) -> FoundArchive | None:
        """An archive as the store has it; None where it cannot be read as one of `node`."""
        try:
            found = read_archive(self._store, prefix, node, key, size)
            check_against_spool(found.manifest, self._spool)
            return with_corrections(self._store, prefix, node, found)
        except WireError as problem:
            log.warning("%s: %s", key, problem)
            return None

    def delete_archive(self, archive: Archive, erased: Sequence[tuple[Instant, Instant]] = ()) -> None:
        """Raises HeldBack where it was to go for its age, and something speaks against that now; or where some of
        `erased`, the sound that it alone has, is on hold."""
        if archive.gone == "lifecycle":
            self._check_age(archive)
        self._check_each(erased)
        self._store.delete(archive.key)

    def _check_age(self, archive: Archive) -> None:
        found = None
        try:
            found = self._store.head(archive.key)
        except StoreBlocked as problem:
            if problem.reason != "denied":  # a key that may delete and not read: only our own record is left
                raise
        self._age.check(archive, found, self._store.clock_ahead)
        if read_holds(self._catalog.path).touch(archive.started_at, archive.ended_at):
            raise HeldBack("it is on hold")

    def delete_clips(self, prefix: str, start: Instant, end: Instant) -> None:
        """Deletes the clips below `prefix` with sound in [start, end)."""
        for key, _ in self._store.keys(prefix):  # page by page: who fills the bucket does not fill the memory
            if clip_touches(key, start, end):
                self._store.delete(key)
