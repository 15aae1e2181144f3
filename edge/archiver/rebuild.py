"""Bucket and spool -> catalog: rebuilt from the manifests inside the archives."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from edge.archiver.intake import Intake
from edge.archiver.jobs import FoundArchive
from edge.archiver.plan.keys import is_archive_key, is_correction_key, is_misplaced_archive
from edge.archiver.plan.plan import Destination, archive_record
from edge.archiver.stored_manifests import check_against_spool, fetch_correction, read_archive
from edge.catalog import Catalog
from edge.catalog.file import take_lock
from edge.core.errors import CatalogError, WireError
from edge.core.files import sync_folder
from edge.core.instant import Instant
from edge.core.values import Stream
from edge.spool.spool import Spool
from edge.store.interface import BucketReader

log = logging.getLogger(__name__)

_MOST_FAULTS = 100  # of those listed one by one


class Rebuilt(Struct, frozen=True):
    """What was found; `faults` are foreign objects and damaged archives."""

    archives: int
    chunks: int  # in archives
    waiting: int  # in the spool: they wait until it is verified that the store has them
    faults: tuple[str, ...]


def rebuild(
    bucket: BucketReader,
    prefix: str,
    spool: Spool,
    catalog: Catalog,
    now: Instant,
    progress: Callable[[int], None] = lambda _: None,
) -> Rebuilt:
    """Fills `catalog`, preferably an empty one, from all archives of the spool's node, under each of its names, and
    from the spool.

    The times of planning and uploading are lost: `now` takes their place. Raises StoreError.
    """
    archives = chunks = 0
    faults = _Faults()
    for node, (key, size) in ((name, found) for name in spool.names for found in bucket.keys(f"{prefix}{name}/")):
        mine = f"{prefix}{node}/"
        try:
            if is_archive_key(key, mine):
                archive = read_archive(bucket, prefix, node, key, size)
                check_against_spool(archive.manifest, spool)
                take_archive(catalog, archive, bucket.bucket, now)
                archives, chunks = archives + 1, chunks + len(archive.manifest.members)
                progress(archives)
            elif is_correction_key(key, mine):
                _take_stream(catalog, fetch_correction(bucket, key, size), corrects=True)
            elif is_misplaced_archive(key, mine):
                faults.add(f"{key}: is not named like an archive of this node; it was not read")
        except WireError as problem:
            faults.add(f"{key}: {problem}")
    for left in catalog.archive_records.erased_copies():
        faults.add(copy_left(*left))
    waiting = Intake(spool, catalog).rescan()  # last: what is in the spool wins over what archives claim
    return Rebuilt(archives, chunks, waiting, faults.lines())


def copy_left(chunk_id: str, archive_id: str, claimed_by: str | None) -> str:
    """A line about an erased chunk of which an archive in the store still has a copy; see `erased_copies`."""
    says = f", as {claimed_by} says" if claimed_by else ""
    other = f" (if you did not erase it, delete {claimed_by}.zip and rebuild the catalog again)" if claimed_by else ""
    remedy = f"run `imhearing forget` for its range again{other}"
    return f"{chunk_id}: was erased{says}, and {archive_id} still has a copy; {remedy}"


class _Faults:
    """A line for each of the first ones, and how many more there were."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._more = 0

    def add(self, line: str) -> None:
        if len(self._lines) < _MOST_FAULTS:
            log.warning("%s", line)
            self._lines.append(line)
        else:
            self._more += 1

    def lines(self) -> tuple[str, ...]:
        return (*self._lines, *([f"{self._more} more objects that are not listed here"] if self._more else []))


def rebuild_in_place(
    bucket: BucketReader,
    prefix: str,
    spool: Spool,
    path: Path,
    now: Instant,
    progress: Callable[[int], None] = lambda _: None,
) -> Rebuilt:
    """`rebuild` into a new file, which then replaces the catalog at `path`; the old one stays as `<path>.old`.

    Raises CatalogError while an archiver runs. The old catalog is untouched until the last moment.
    """
    with take_lock(path):
        fresh = path.with_name(path.name + ".rebuilding")
        _remove(fresh)
        with contextlib.closing(Catalog(fresh)) as catalog:
            found = rebuild(bucket, prefix, spool, catalog, now, progress)
        _swap(fresh, path)
        _remove(fresh)
    return found


def _swap(fresh: Path, path: Path) -> None:
    """A journal of the old file would be rolled back into the new one: it goes first."""
    old, journal = path.with_name(path.name + ".old"), path.with_name(path.name + "-journal")
    try:
        _remove(old)
        if path.exists():
            os.link(path, old)
        if journal.exists():
            journal.replace(old.with_name(old.name + "-journal"))
        fresh.replace(path)
        sync_folder(path.parent)
    except OSError as problem:
        raise CatalogError(
            f"{path}: the catalog cannot be replaced ({problem.strerror}); fix the folder's permissions"
        ) from None


def _remove(catalog: Path) -> None:
    for ending in ("", "-journal", ".lock", ".reserve"):
        catalog.with_name(catalog.name + ending).unlink(missing_ok=True)


def take_archive(catalog: Catalog, found: FoundArchive, bucket: str, now: Instant) -> None:
    """Adds an archive to the catalog; `now` takes the place of the times of planning and uploading."""
    manifest = found.manifest
    for stream in found.corrections:  # first, so that a crash cannot leave chunks with older times
        _take_stream(catalog, stream, corrects=True)
    for stream in manifest.streams:
        _take_stream(catalog, stream)
    archive = archive_record(manifest, Destination(bucket, "", manifest.node), found.key, found.size, now)
    catalog.registration.restore_archive(replace(archive, uploaded_at=now), manifest.members, manifest.discarded)


def _take_stream(catalog: Catalog, stream: Stream, *, corrects: bool = False) -> None:
    """`corrects`: it was stored to correct the times in archives, so it wins against an equally certain one.

    No other times for what this node has recorded itself come from the store, where others may write too.
    """
    known = catalog.stream(stream.stream_id)
    if known is not None and _times(known) != _times(stream) and catalog.registration.is_own_stream(stream.stream_id):
        return
    if known is None or _rank(stream) > _rank(known) or (corrects and _rank(stream) == _rank(known)):
        catalog.registration.put_stream(stream)
        catalog.registration.mark_correction_stored(stream.stream_id)  # it comes from the store


def _times(stream: Stream) -> tuple[object, ...]:
    """What places a stream's chunks and the gaps before it; the same in all its records until a correction."""
    return stream.uncertain, stream.shift, stream.knots[:1], stream.before


def _rank(stream: Stream) -> tuple[bool, int]:
    """Archives hold a stream's record as it was when they were planned: corrected and ended records rank highest."""
    return not stream.uncertain, len(stream.knots)
