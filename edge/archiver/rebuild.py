"""Bucket and spool -> catalog: rebuilt from the manifests inside the archives."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from edge.archiver.intake import Intake
from edge.archiver.jobs import FoundArchive
from edge.archiver.plan.plan import Destination, Manifest, all_chunks, archive_record, key_of, read_manifest
from edge.catalog import Catalog
from edge.catalog.file import take_lock
from edge.core import wire
from edge.core.errors import CatalogError, WireError
from edge.core.files import sync_folder
from edge.core.ids import stream_of
from edge.core.instant import Instant
from edge.core.values import Stream
from edge.spool.spool import Spool
from edge.store.interface import BucketReader

log = logging.getLogger(__name__)

_TAIL = 1_000_000  # bytes fetched at an archive's end: directory and manifest of most
_MAX_MANIFEST = 64_000_000
_MAX_CORRECTION = 1_000_000
_CORRECTIONS = "corrections/"
# what zipfile raises for foreign bytes: RuntimeError where they claim to be encrypted
_ZIP_ERRORS = (zipfile.BadZipFile, KeyError, EOFError, RuntimeError, ValueError, OverflowError, struct.error)


class Rebuilt(Struct, frozen=True):
    """What was found; `faults` are foreign objects and damaged archives."""

    archives: int
    chunks: int  # in archives
    waiting: int  # in the spool alone
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
    faults: list[str] = []
    for node, (key, size) in ((name, each) for name in spool.names for each in bucket.keys(f"{prefix}{name}/")):
        try:
            if key.endswith(".zip"):
                found = read_archive(bucket, prefix, node, key, size)
                take_archive(catalog, found, bucket.bucket, now)
                archives, chunks = archives + 1, chunks + len(found.manifest.members)
                progress(archives)
            elif key.startswith(f"{prefix}{node}/{_CORRECTIONS}"):
                _take_stream(catalog, _fetch_stream(bucket, key, size), corrects=True)
        except WireError as problem:
            log.warning("%s: %s", key, problem)
            faults.append(f"{key}: {problem}")
    waiting = Intake(spool, catalog).rescan()
    return Rebuilt(archives, chunks, waiting, tuple(faults))


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


def fetch_manifest(bucket: BucketReader, key: str, size: int) -> Manifest:
    """The manifest in an archive of `size` bytes, by range reads from its end. Raises WireError, StoreError."""
    try:
        with zipfile.ZipFile(RangeFile(bucket, key, size)) as archive:
            info = archive.getinfo("manifest.json")
            if info.compress_type != zipfile.ZIP_STORED:  # ours are; decompressors have bugs of their own
                raise WireError("is not an Im Hearing archive (it is compressed)")
            if info.file_size > _MAX_MANIFEST:
                raise WireError("its manifest is too large")
            return read_manifest(archive.read(info))
    except _ZIP_ERRORS as problem:
        raise WireError(f"is not an Im Hearing archive ({problem})") from None


def read_archive(bucket: BucketReader, prefix: str, node: str, key: str, size: int) -> FoundArchive:
    """An archive that the archiver of `node` put there. Raises WireError, StoreError."""
    manifest = fetch_manifest(bucket, key, size)
    _check_belongs(manifest, prefix, node, key)
    return FoundArchive(key, size, manifest)


def with_corrections(bucket: BucketReader, prefix: str, node: str, found: FoundArchive) -> FoundArchive:
    """`found`, with the corrections of its times that the store has. Raises StoreError."""
    wanted = {f"{prefix}{node}/{_CORRECTIONS}{one.stream_id}.json" for one in found.manifest.streams if one.uncertain}
    streams = []
    for key, size in (each for name in sorted(wanted) for each in bucket.keys(name)):
        with contextlib.suppress(WireError):
            streams.append(_fetch_stream(bucket, key, size))
    return replace(found, corrections=tuple(streams))


def _fetch_stream(bucket: BucketReader, key: str, size: int) -> Stream:
    """A stored correction. Raises WireError, StoreError."""
    if not 0 < size <= _MAX_CORRECTION:
        raise WireError(f"is not a correction (it has {size} bytes)")
    stream = wire.decode(b"".join(bucket.read(key, 0, size)), Stream)
    if not key.endswith(f"/{stream.stream_id}.json"):
        raise WireError(f"is the correction of {stream.stream_id} under a wrong name")
    return stream


class RangeFile(io.RawIOBase):
    """An object as a seekable file; its end is fetched once, the rest on demand."""

    def __init__(self, bucket: BucketReader, key: str, size: int) -> None:
        self._bucket, self._key, self._size = bucket, key, size
        self._at = 0
        self._tail_at = max(0, size - _TAIL)
        self._tail = b"".join(bucket.read(key, self._tail_at, size - self._tail_at)) if size else b""

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        at = offset + (0, self._at, self._size)[whence]
        if at < 0:
            raise ValueError("negative position")
        self._at = at
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        if self._at >= end:
            return b""
        if self._at >= self._tail_at:
            data = self._tail[self._at - self._tail_at : end - self._tail_at]
        else:
            data = b"".join(self._bucket.read(self._key, self._at, end - self._at))
        self._at = end
        return data


def _check_belongs(manifest: Manifest, prefix: str, node: str, key: str) -> None:
    """WireError unless the archiver of `node` put it there: others may write below the node's prefix too.

    Its chunks may have been recorded under another name that the node once had.
    """
    chunks = all_chunks(manifest)
    if not chunks:
        raise WireError("chunks: none has an offset or a cause", "chunks")
    if key != key_of(manifest, prefix):
        raise WireError(f"holds the archive {manifest.archive_id}, which does not belong there")
    if manifest.node != node:
        raise WireError(f"names another node: {manifest.node}", "node")
    for chunk in chunks:
        if chunk.stream_id != stream_of(chunk.chunk_id) or chunk.ended_at < chunk.started_at:
            raise WireError(f"chunks: {chunk.chunk_id} contradicts itself", "chunks")


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
    """`corrects`: it was stored to correct the times in archives, so it wins against an equally certain one."""
    known = catalog.stream(stream.stream_id)
    if known is None or _rank(stream) > _rank(known) or (corrects and _rank(stream) == _rank(known)):
        catalog.registration.put_stream(stream)
        catalog.registration.mark_correction_stored(stream.stream_id)  # it comes from the store


def _rank(stream: Stream) -> tuple[bool, int]:
    """Archives hold a stream's record as it was when they were planned: corrected and ended records rank highest."""
    return not stream.uncertain, len(stream.knots)
