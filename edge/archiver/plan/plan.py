"""Pure: which waiting chunks go into which archive, and everything about an archive that follows from that.

A plan is frozen: it fixes its archive's name, its key and every byte but the audio. It is committed to the catalog
before any byte is uploaded, so the same bytes can be produced again after any crash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from msgspec import Struct

from edge.archiver.plan.bundle import Bundle, BundleMember, offsets
from edge.core import wire
from edge.core.errors import WireError
from edge.core.ids import ArchiveId, NodeName
from edge.core.instant import Instant
from edge.core.values import Archive, Chunk, Count, DiscardedChunk, GoneCause, PlannedMember, Stream

MEGABYTE = 1_000_000
MAX_MANIFEST = 8_000_000  # bytes; a larger one is not read back, as one takes up to 22 times its size in memory
_MANIFEST_ROOM = MAX_MANIFEST // 2  # of one that is planned: rewritten, it still is no larger than that
_PENDING_ID = "00000000T000000Z-aaaa-000000-00000000"  # takes the ID's place while it is computed


class ArchiveLimits(Struct, frozen=True):
    """The most that one archive holds: bytes of audio, chunks, and bytes of their manifests. A single larger chunk
    still gets its own."""

    max_bytes: int
    max_chunks: int
    max_manifest: int = _MANIFEST_ROOM


class Destination(Struct, frozen=True):
    """Where archives go: the bucket, and what every key in it starts with."""

    bucket: str
    prefix: str
    node: str
    former_names: tuple[str, ...] = ()  # of the node: nothing more is uploaded under them

    @property
    def node_prefix(self) -> str:
        """What the keys of all new objects of this node start with."""
        return f"{self.prefix}{self.node}/"

    @property
    def clip_prefixes(self) -> tuple[str, ...]:
        """What the keys of all its clips start with."""
        return tuple(f"{self.prefix}{name}/clips/" for name in (self.node, *self.former_names))


class ArchivePlan(Struct, frozen=True):
    """One archive to be: its members in order and the bytes of its manifest, which is its last member."""

    archive_id: str
    destination: Destination
    key: str
    members: tuple[PlannedMember, ...]
    manifest: bytes
    discarded: tuple[DiscardedChunk, ...] = ()  # listed in the manifest, without a member
    replaces: str | None = None  # the archive that this one is rewritten from

    @property
    def bundle(self) -> Bundle:
        return Bundle(_bundle_members(member.chunk for member in self.members), self.manifest)

    def archive(self, planned_at: Instant) -> Archive:
        """The catalog's view of it, not uploaded yet."""
        return archive_record(self, self.destination, self.key, self.bundle.size, planned_at)


class Manifest(Struct, frozen=True):
    """The contents of `manifest.json`. `members` are the chunks with their offsets."""

    archive_id: str
    node: str
    streams: tuple[Stream, ...]
    members: tuple[PlannedMember, ...]
    discarded: tuple[DiscardedChunk, ...] = ()
    replaces: str | None = None


def all_chunks(archive: ArchivePlan | Manifest) -> list[Chunk]:
    """Every chunk that an archive's manifest lists."""
    return [member.chunk for member in archive.members] + [one.chunk for one in archive.discarded]


def archive_record(
    listed: ArchivePlan | Manifest, destination: Destination, key: str, size: int, planned_at: Instant
) -> Archive:
    """The catalog's view of an archive of `size` bytes; its SHA-256 is not known."""
    chunks = all_chunks(listed)
    return Archive(
        archive_id=listed.archive_id,
        node=destination.node,
        bucket=destination.bucket,
        key=key,
        bytes=size,
        sha256=None,
        chunks=len(listed.members),
        started_at=min(chunk.started_at for chunk in chunks),
        ended_at=max(chunk.ended_at for chunk in chunks),
        planned_at=planned_at,
        replaces=listed.replaces,
    )


def key_of(manifest: Manifest, prefix: str) -> str:
    """The one key under which the archive of this manifest belongs."""
    return _key(Destination("", prefix, manifest.node), all_chunks(manifest)[0], manifest.archive_id)


def batches(chunks: Sequence[Chunk], limits: ArchiveLimits) -> Iterator[list[Chunk]]:
    """`chunks` in order, cut into runs that keep the limits."""
    batch: list[Chunk] = []
    size = manifests = 0
    for chunk in chunks:
        described = manifest_bytes([chunk])
        is_full = size + chunk.bytes > limits.max_bytes or manifests + described > limits.max_manifest
        if batch and (is_full or len(batch) >= limits.max_chunks):
            yield batch
            batch, size, manifests = [], 0, 0
        batch.append(chunk)
        size, manifests = size + chunk.bytes, manifests + described
    if batch:
        yield batch


def manifest_bytes(chunks: Iterable[Chunk]) -> int:
    """About how much of an archive's manifest these chunks take."""
    return sum(len(wire.encode(chunk)) for chunk in chunks)


def fitting(discarded: Sequence[DiscardedChunk], room: int) -> list[DiscardedChunk]:
    """The first of them that take no more than `room` bytes of a manifest."""
    sizes = accumulate(manifest_bytes([one.chunk]) for one in discarded)
    return [one for one, size in zip(discarded, sizes, strict=True) if size <= room]


def make_plan(
    chunks: Sequence[Chunk],
    streams: Mapping[str, Stream],
    destination: Destination,
    discarded: Sequence[DiscardedChunk] = (),
    replaces: str | None = None,
) -> ArchivePlan:
    """The plan for `chunks`, in that order; `streams` holds the known records of their streams.

    `discarded` ones are only listed in the manifest. There must be at least one of either.
    """
    places = offsets(_bundle_members(chunks))
    members = tuple(
        PlannedMember(chunk, chunk.member, place, chunk.bytes) for chunk, place in zip(chunks, places, strict=True)
    )
    every = [*chunks, *(one.chunk for one in discarded)]
    used = dict.fromkeys(chunk.stream_id for chunk in every)
    records = tuple(streams[name] for name in used if name in streams)
    placed = b",".join([*map(_placed, members), *map(_placed, discarded)])
    draft = _manifest_bytes(_PENDING_ID, destination.node, records, placed, replaces)
    # the ID cannot be part of what it hashes: the manifest is hashed with a placeholder
    archive_id = f"{every[0].chunk_id}-{hashlib.sha256(draft).hexdigest()[:8]}"
    manifest = _manifest_bytes(archive_id, destination.node, records, placed, replaces)
    key = _key(destination, every[0], archive_id)
    return ArchivePlan(archive_id, destination, key, members, manifest, tuple(discarded), replaces)


def plan_of(manifest: bytes, bucket: str, key: str) -> ArchivePlan:
    """The plan that a manifest made here belongs to. Raises WireError."""
    read = read_manifest(manifest)
    prefix = key.removesuffix(key_of(read, ""))
    destination = Destination(bucket, prefix, read.node)
    return ArchivePlan(read.archive_id, destination, key, read.members, manifest, read.discarded, read.replaces)


def read_manifest(data: bytes) -> Manifest:
    """`manifest.json` as a value. Raises WireError."""
    head = wire.decode(data, _Head)
    if head.v != 1:
        raise WireError(f"v: expected 1, got {head.v}", "v")
    places = wire.decode(data, _Places).chunks
    chunks = wire.decode(data, _Chunks).chunks
    members = tuple(
        PlannedMember(chunk, place.member, place.offset, place.length)
        for chunk, place in zip(chunks, places, strict=True)
        if place.member is not None and place.offset is not None and place.length is not None
    )
    discarded = tuple(
        DiscardedChunk(chunk, place.gone)
        for chunk, place in zip(chunks, places, strict=True)
        if place.member is None and place.gone is not None
    )
    if not chunks:
        raise WireError("chunks: is empty", "chunks")
    return Manifest(head.archive_id, head.node, head.streams, members, discarded, head.replaces)


class _Head(Struct, frozen=True):
    v: int
    archive_id: ArchiveId
    node: NodeName
    streams: tuple[Stream, ...]
    replaces: ArchiveId | None = None


class _Place(Struct, frozen=True):
    member: str | None
    offset: Count | None
    length: Count | None
    gone: GoneCause | None = None


class _Places(Struct, frozen=True):
    chunks: tuple[_Place, ...]


class _Chunks(Struct, frozen=True):
    chunks: tuple[Chunk, ...]


def _manifest_bytes(
    archive_id: str, node: str, streams: Sequence[Stream], chunks: bytes, replaces: str | None
) -> bytes:
    rewritten = {"replaces": replaces} if replaces else {}
    head = wire.encode({"v": 1, "archive_id": archive_id, "node": node, **rewritten, "streams": streams})
    return head[:-1] + b',"chunks":[' + chunks + b"]}"


def _placed(one: PlannedMember | DiscardedChunk) -> bytes:
    """A chunk's manifest with its place: one JSON object, joined as text, because a thousand dicts take much memory."""
    if isinstance(one, PlannedMember):
        place = wire.encode({"member": one.member, "offset": one.offset, "length": one.length})
    else:
        place = wire.encode({"member": None, "offset": None, "length": None, "gone": one.cause})
    return wire.encode(one.chunk)[:-1] + b"," + place[1:]


def _bundle_members(chunks: Iterable[Chunk]) -> list[BundleMember]:
    return [BundleMember(chunk.member, chunk.bytes, chunk.crc32) for chunk in chunks]


def _key(destination: Destination, first: Chunk, archive_id: str) -> str:
    day = first.started_at.datetime()
    return f"{destination.node_prefix}{day:%Y/%m/%d}/{archive_id}.zip"
