"""What goes into which archive, and that everything about an archive follows from its plan."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.archiver.plan.plan import (
    ArchiveLimits,
    Destination,
    batches,
    fitting,
    make_plan,
    manifest_bytes,
    plan_of,
    read_manifest,
)
from edge.core import wire
from edge.core.errors import WireError
from edge.core.ids import ArchiveId
from edge.core.instant import Instant
from edge.core.values import Chunk, DiscardedChunk, GoneCause, SoundSpan, Stream
from tests.support.spool.chunks import STREAM, make_chunk, make_stream

TARGET = Destination("sounds", "imhearing/", "porch")
sizes = st.lists(st.integers(0, 100), max_size=40)


def _chunks(all_sizes: list[int]) -> list[Chunk]:
    return [replace(make_chunk(seq, b"x"), bytes=size) for seq, size in enumerate(all_sizes)]


@given(sizes, st.integers(1, 120), st.integers(1, 10))
def test_batches_keep_the_order_and_the_limits(all_sizes: list[int], max_bytes: int, max_chunks: int) -> None:
    chunks, limits = _chunks(all_sizes), ArchiveLimits(max_bytes, max_chunks)
    found = list(batches(chunks, limits))
    assert [chunk for batch in found for chunk in batch] == chunks
    for batch in found:
        assert 1 <= len(batch) <= max_chunks
        assert len(batch) == 1 or sum(chunk.bytes for chunk in batch) <= max_bytes
    for batch, following in pairwise(found):  # none is closed before it is full
        full = sum(chunk.bytes for chunk in batch) + following[0].bytes > max_bytes
        assert full or len(batch) == max_chunks


@given(st.lists(st.integers(0, 200), max_size=20), st.integers(1, 10_000))
def test_a_batch_keeps_its_manifest_within_what_a_rebuild_reads(seconds: list[int], room: int) -> None:
    chunks = [make_chunk(seq, b"x", seconds=some or 1) for seq, some in enumerate(seconds)]
    found = list(batches(chunks, ArchiveLimits(10**9, 10**6, room)))
    assert [chunk for batch in found for chunk in batch] == chunks
    for batch in found:
        assert len(batch) == 1 or manifest_bytes(batch) <= room


def test_discarded_chunks_are_listed_as_far_as_the_manifest_has_room() -> None:
    discarded = [DiscardedChunk(make_chunk(seq, b"x"), "quiet") for seq in range(10)]
    each = manifest_bytes([discarded[0].chunk])
    assert fitting(discarded, 3 * each + 20) == discarded[:3]
    assert fitting(discarded, 0) == []
    assert fitting(discarded, 10**6) == discarded


@given(sizes.filter(bool))
def test_a_plan_can_be_restored_from_its_manifest(all_sizes: list[int]) -> None:
    chunks = _chunks(all_sizes)
    plan = make_plan(chunks, {STREAM: make_stream()}, TARGET)
    assert plan_of(plan.manifest, "sounds", plan.key) == plan
    assert [member.chunk for member in plan.members] == chunks
    assert wire.convert(plan.archive_id, ArchiveId) == plan.archive_id


def test_equal_chunks_give_equal_plans_and_different_ones_different_ids() -> None:
    chunks, streams = _chunks([10, 20, 30]), {STREAM: make_stream()}
    plan = make_plan(chunks, streams, TARGET)
    assert make_plan(list(chunks), dict(streams), TARGET) == plan
    others = [
        make_plan(chunks[:2], streams, TARGET),
        make_plan([chunks[0], chunks[2], chunks[1]], streams, TARGET),
        make_plan([chunks[0], replace(chunks[1], crc32=1), chunks[2]], streams, TARGET),
        make_plan(chunks, {}, TARGET),
    ]
    assert len({plan.archive_id, *(other.archive_id for other in others)}) == 5
    assert all(other.archive_id.startswith(chunks[0].chunk_id) for other in others)


def test_an_archives_key_contains_the_node_and_its_first_day() -> None:
    chunk = make_chunk(0, b"x", start=Instant.parse("2026-03-03T23:59:59.999999Z"))
    plan = make_plan([chunk], {}, TARGET)
    assert plan.key == f"imhearing/porch/2026/03/03/{plan.archive_id}.zip"


def test_the_manifest_contains_streams_chunks_and_member_offsets() -> None:
    sound = SoundSpan(f"{STREAM}-s100", 100, None, -20.0, -25.0)
    chunk = make_chunk(0, b"abc", sounds=(sound,))
    plan = make_plan([chunk], {STREAM: make_stream()}, TARGET)
    manifest = wire.decode(plan.manifest, dict)
    assert (manifest["v"], manifest["archive_id"], manifest["node"]) == (1, plan.archive_id, "porch")
    assert [wire.convert(stream, Stream) for stream in manifest["streams"]] == [make_stream()]
    entry = manifest["chunks"][0]
    places = {name: entry.pop(name) for name in ("member", "offset", "length")}
    assert wire.encode(entry) == wire.encode(chunk)
    assert places == {"member": chunk.member, "offset": plan.members[0].offset, "length": 3}


def test_chunks_without_a_member_are_not_archive_members() -> None:
    plan = make_plan(_chunks([1, 2]), {}, TARGET)
    manifest = wire.decode(plan.manifest, dict)
    manifest["chunks"][1].update(member=None, offset=None, length=None)
    assert len(read_manifest(wire.encode(manifest)).members) == 1


@pytest.mark.parametrize("data", [b"", b"{}", b'{"v":2,"archive_id":"x"}', b"[1]", b"\xff\xfe"])
def test_an_invalid_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        read_manifest(data)


def test_an_archive_spans_the_time_of_its_chunks() -> None:
    chunks = _chunks([1, 1, 1])
    archive = make_plan(chunks, {}, TARGET).archive(Instant(5))
    assert (archive.started_at, archive.ended_at) == (chunks[0].started_at, chunks[-1].ended_at)
    assert (archive.chunks, archive.sha256, archive.uploaded_at) == (3, None, None)


@given(kept=st.integers(0, 4), discarded=st.integers(0, 4), cause=st.sampled_from(["quiet", "dropped", "erased"]))
def test_discarded_chunks_are_listed_and_take_no_space(kept: int, discarded: int, cause: GoneCause) -> None:
    assume(kept + discarded > 0)
    chunks = [make_chunk(seq) for seq in range(kept)]
    gone = [DiscardedChunk(make_chunk(kept + seq), cause) for seq in range(discarded)]
    plan = make_plan(chunks, {}, Destination("bucket", "p/", "porch"), gone, "20260303T220000Z-abcd-000000-01234567")
    again = plan_of(plan.manifest, "bucket", plan.key)
    assert again == plan
    assert [one.chunk for one in again.discarded] == [one.chunk for one in gone]
    assert [entry.name for entry in plan.bundle.members] == [chunk.member for chunk in chunks]
