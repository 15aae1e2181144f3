"""The one place through which sound is deleted, from the spool and from the store.

Nothing is deleted before the catalog has committed why: that it is in the store, or that it was given up on purpose.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from edge.archiver.jobs import FoundArchive
from edge.archiver.plan.stored_members import clip_touches
from edge.archiver.rebuild import read_archive, with_corrections
from edge.archiver.retention.age_check import AgeCheck, HeldBack
from edge.catalog import Catalog
from edge.catalog.file import earlier_catalogs
from edge.catalog.holds import read_holds
from edge.core.errors import SpoolError, StoreBlocked, WireError
from edge.core.files import sync_folder
from edge.core.instant import Instant
from edge.core.values import Archive, GoneCause
from edge.spool.spool import Spool
from edge.store.interface import ObjectStore

log = logging.getLogger(__name__)

LISTED_AT_ONCE = 1_000
_ARCHIVE = re.compile(r"\d{4}/\d\d/\d\d/[^/]+\.zip$", re.ASCII)  # below the node's prefix


class Deletions:
    """Raises SpoolError, CatalogError, StoreError. What failed may be repeated."""

    def __init__(self, spool: Spool, catalog: Catalog, store: ObjectStore, age: AgeCheck) -> None:
        self._spool, self._catalog, self._store, self._age = spool, catalog, store, age

    # committed to the catalog, then removed from the spool; in the archiver's thread

    def give_up(self, chunk_ids: Sequence[str], cause: GoneCause) -> None:
        """Deletes chunks that the store does not have."""
        self._catalog.deletions.mark_gone(chunk_ids, cause)
        self.remove_chunks(chunk_ids)

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
        """Removes the files of chunks that were given up and are still here."""
        present = self._spool.chunks.finished().keys() | self._spool.chunks.manifest_ids()
        given_up = self._catalog.deletions.given_up(present)
        if leftovers := [chunk_id for chunk_id, sha256 in given_up.items() if not self._is_another(chunk_id, sha256)]:
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
        found = ((key, size) for key, size in self._store.keys(prefix, after) if _ARCHIVE.match(key, len(prefix)))
        return tuple(islice(found, LISTED_AT_ONCE))

    def read_archive(self, key: str, size: int, prefix: str, node: str) -> FoundArchive | None:
        """An archive as the store has it; None where it cannot be read as one of `node`."""
        try:
            return with_corrections(self._store, prefix, node, read_archive(self._store, prefix, node, key, size))
        except WireError as problem:
            log.warning("%s: %s", key, problem)
            return None

    def delete_archive(self, archive: Archive) -> None:
        """Raises HeldBack where it was to go for its age, and something speaks against that now."""
        if archive.gone == "lifecycle":
            self._check_age(archive)
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
        for key, _ in list(self._store.keys(prefix)):
            if clip_touches(key, start, end):
                self._store.delete(key)
