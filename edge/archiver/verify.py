"""Checks the catalog against the store and the spool."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from edge.archiver.plan.keys import is_archive_key, is_misplaced_archive
from edge.archiver.rebuild import copy_left
from edge.catalog import CatalogChunk, CatalogReader
from edge.core.errors import StoreError
from edge.core.instant import LAST, MICROSECONDS, Instant
from edge.core.values import Archive, Chunk
from edge.spool.spool import Spool
from edge.store.interface import BucketReader

_AHEAD = 86_400 * MICROSECONDS
EARLIEST = Instant.parse("2020-01-01T00:00:00Z")  # before there was Im Hearing


def verify(
    bucket: BucketReader,
    prefix: str,
    spool: Spool,
    catalog: CatalogReader,
    *,
    deep: bool = False,
    now: Instant = LAST,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[str]:
    """One line for each difference from the catalog; nothing when all is well.

    `deep` reads every archive back and compares hashes; no sound may be from the future of `now`.
    Raises StoreError, SpoolError, CatalogError.
    """
    objects: dict[str, int] = {}
    listed: set[str] = set()

    def list_archives(node: str) -> Iterator[str]:
        if node in listed:
            return
        listed.add(node)
        mine = f"{prefix}{node}/"
        for key, size in bucket.keys(mine):
            if is_archive_key(key, mine):
                objects[key] = size
            elif is_misplaced_archive(key, mine):
                yield f"s3://{bucket.bucket}/{key}: is no archive of this node; move it elsewhere"

    for name in spool.names:
        yield from list_archives(name)
    for archive_id in catalog.archive_records.uploaded_ids():
        archive = catalog.archives([archive_id])[archive_id]
        yield from list_archives(archive.node)  # a name that the node once had
        progress(archive_id)
        if archive.bucket != bucket.bucket:
            continue  # a bucket that is no longer configured
        size = objects.pop(archive.key, None)
        if size != archive.bytes:
            found = "is missing in the store" if size is None else f"has {size} bytes, not {archive.bytes}"
            yield f"s3://{archive.bucket}/{archive.key}: {found}"
        elif deep:
            yield from _read_back(bucket, archive, catalog.archive_records.members(archive_id))
    for key in sorted(objects.keys() - _keys_in_progress(catalog)):
        yield f"s3://{bucket.bucket}/{key}: is not in the catalog; `imhearing catalog rebuild` adds it"
    yield from _copies_left(catalog)
    yield from _compare_spool(spool, catalog, now)


def _copies_left(catalog: CatalogReader) -> Iterator[str]:
    for left in catalog.archive_records.erased_copies():
        yield copy_left(*left)


def _keys_in_progress(catalog: CatalogReader) -> set[str]:
    """Of archives that may be in the store, or may not."""
    records = catalog.archive_records
    return {one.key for one in (*records.open_plans(), *records.open_rewrites(), *records.pending_deletion())}


def _read_back(bucket: BucketReader, archive: Archive, members: list[CatalogChunk]) -> Iterator[str]:
    """Hashes the archive and each member in one pass."""
    whole, at = hashlib.sha256(), 0
    spans = [(row.where.offset, row.where.length, row.chunk, hashlib.sha256()) for row in members if row.where]
    try:
        for piece in bucket.read(archive.key, 0, archive.bytes):
            whole.update(piece)
            for offset, length, _, digest in spans:
                digest.update(piece[max(0, offset - at) : max(0, offset + length - at)])
            at += len(piece)
    except StoreError as problem:
        yield str(problem)
        return
    if archive.sha256 not in (None, whole.hexdigest()):
        yield f"s3://{archive.bucket}/{archive.key}: has different bytes from what was uploaded"
    for _, _, chunk, digest in spans:
        if digest.hexdigest() != chunk.sha256:
            yield f"s3://{archive.bucket}/{archive.key}: {chunk.member} differs from its manifest"


def _compare_spool(spool: Spool, catalog: CatalogReader, now: Instant) -> Iterator[str]:
    files = spool.chunks.finished()
    known = catalog.known(files)
    for chunk_id in sorted(files.keys() - known):
        yield f"{files[chunk_id].path}: is not in the catalog; the archiver adds it"
    for row in catalog.every_chunk():
        if row.where is None and row.gone is None and row.chunk.chunk_id not in files:
            yield f"{row.chunk.chunk_id}: is neither in the store nor in the spool"
        if not is_plausible(row.chunk, now):
            yield f"{row.chunk.chunk_id}: its time, {row.chunk.started_at}, cannot be right"


def is_plausible(chunk: Chunk, now: Instant) -> bool:
    """Whether it can have been recorded then. A clock without a battery starts decades ago: that is only uncertain."""
    return chunk.ended_at <= now + _AHEAD and (chunk.uncertain or chunk.started_at >= EARLIEST)
