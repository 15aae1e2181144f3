"""Manifests and clock corrections in the bucket, where others may write too: read within bounds, and checked.

What memory it takes is bounded by MAX_MANIFEST, however large an object is.
"""

from __future__ import annotations

import contextlib

from msgspec.structs import replace

from edge.archiver.jobs import FoundArchive
from edge.archiver.plan.archive_end import END_BYTES, manifest_place
from edge.archiver.plan.keys import correction_key
from edge.archiver.plan.plan import MAX_MANIFEST, Manifest, all_chunks, key_of, read_manifest
from edge.core import wire
from edge.core.errors import SpoolError, StoreError, WireError
from edge.core.ids import seq_of, stream_of
from edge.core.instant import MICROSECONDS
from edge.core.values import Chunk, PlannedMember, Stream
from edge.spool.spool import Spool
from edge.store.interface import BucketReader, RangeReader

_TAIL = 1_000_000  # bytes fetched at an archive's end: directory and manifest of most
_MAX_CORRECTION = 1_000_000
_SLOWEST = 2  # a chunk's duration is at most so many times what its rate says


def fetch_manifest(bucket: RangeReader, key: str, size: int) -> Manifest:
    """The manifest in an archive of `size` bytes, by range reads from its end. Raises WireError, StoreError."""
    tail_at = max(0, size - _TAIL)
    tail = _read(bucket, key, tail_at, size - tail_at)
    place = manifest_place(tail[-END_BYTES:], size)
    if place.length > MAX_MANIFEST:
        raise WireError("its manifest is too large")
    if place.offset >= tail_at:
        start = place.offset - tail_at
        data = tail[start : start + place.length]
    else:
        del tail
        data = _read(bucket, key, place.offset, place.length)
    manifest = read_manifest(place.checked(data))
    for member in manifest.members:
        _check_place(member, place.offset)
    return manifest


def read_archive(bucket: RangeReader, prefix: str, node: str, key: str, size: int) -> FoundArchive:
    """An archive that the archiver of `node` put there. Raises WireError, StoreError."""
    manifest = fetch_manifest(bucket, key, size)
    check_manifest(manifest, prefix, node, key)
    return FoundArchive(key, size, manifest)


def with_corrections(bucket: BucketReader, prefix: str, node: str, found: FoundArchive) -> FoundArchive:
    """`found`, with the corrections of its times that the store has. Raises StoreError."""
    wanted = {correction_key(f"{prefix}{node}/", one.stream_id) for one in found.manifest.streams if one.uncertain}
    streams = []
    for key, size in (each for name in sorted(wanted) for each in bucket.keys(name)):
        with contextlib.suppress(WireError):
            streams.append(fetch_correction(bucket, key, size))
    return replace(found, corrections=tuple(streams))


def check_manifest(manifest: Manifest, prefix: str, node: str, key: str) -> None:
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
        _check_chunk(chunk)
    strangers = {stream.stream_id for stream in manifest.streams} - {chunk.stream_id for chunk in chunks}
    if strangers:
        raise WireError(f"streams: {min(strangers)} is not that of any chunk", "streams")


def check_against_spool(manifest: Manifest, spool: Spool) -> None:
    """WireError where it claims what the node has not recorded yet, or another stream than the spool has."""
    for claimed in manifest.streams:
        mine = _stream(spool, claimed.stream_id)
        if mine is not None and _identity(claimed) != _identity(mine):
            raise WireError(f"streams: {claimed.stream_id} is another one in the spool", "streams")
    with contextlib.suppress(SpoolError):
        state = spool.state.read()
        recorded = _stream(spool, state.stream_id) if state is not None and state.stream_id is not None else None
        if state is None or state.knot is None or recorded is None:
            return
        # where the newest chunk begins, and one chunk more: a power cut may have cost the last state
        newest = state.knot[0] + recorded.chunk_frames
        for chunk in all_chunks(manifest):
            if chunk.stream_id == recorded.stream_id and chunk.first_frame > newest:
                raise WireError(f"chunks: {chunk.chunk_id} is not recorded yet", "chunks")


def _stream(spool: Spool, stream_id: str) -> Stream | None:
    """A stream's record in the spool; None where it is not there or cannot be read."""
    with contextlib.suppress(SpoolError):
        return spool.streams.read(stream_id)
    return None


def _identity(stream: Stream) -> tuple[int | str, ...]:
    """What never changes in a stream's record."""
    return stream.ordinal, stream.boot_id, stream.rate, stream.channels, stream.bits, stream.format


def fetch_correction(bucket: RangeReader, key: str, size: int) -> Stream:
    """A stored correction. Raises WireError, StoreError."""
    if not 0 < size <= _MAX_CORRECTION:
        raise WireError(f"is not a correction (it has {size} bytes)")
    stream = wire.decode(_read(bucket, key, 0, size), Stream)
    if not key.endswith(f"/{stream.stream_id}.json"):
        raise WireError(f"is the correction of {stream.stream_id} under a wrong name")
    return stream


def _read(bucket: RangeReader, key: str, offset: int, length: int) -> bytes:
    """Exactly these bytes. Raises StoreError."""
    data = b"".join(bucket.read(key, offset, length)) if length > 0 else b""
    if len(data) != max(0, length):
        raise StoreError(f"{key}: the store sent {len(data)} bytes instead of {length}")
    return data


def _check_place(member: PlannedMember, end: int) -> None:
    chunk = member.chunk
    if (member.member, member.length) != (chunk.member, chunk.bytes) or member.offset + member.length > end:
        raise WireError(f"chunks: {chunk.chunk_id} is not a member of this archive", "chunks")


def _check_chunk(chunk: Chunk) -> None:
    longest = _SLOWEST * chunk.frames * MICROSECONDS // chunk.rate + MICROSECONDS
    sounds = f"{chunk.stream_id}-s"
    if (
        chunk.stream_id != stream_of(chunk.chunk_id)
        or chunk.seq != seq_of(chunk.chunk_id)
        or not 0 <= chunk.ended_at - chunk.started_at <= longest
        or (chunk.levels is not None and len(chunk.levels.per_second) > chunk.frames // chunk.rate + 1)
        or not all(span.sound_id.startswith(sounds) for span in chunk.sounds)
    ):
        raise WireError(f"chunks: {chunk.chunk_id} contradicts itself", "chunks")
