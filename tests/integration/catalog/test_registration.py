"""Chunks, streams, gaps and sounds that are registered are found again."""

from __future__ import annotations

import sqlite3
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.archiver.plan.plan import make_plan
from edge.catalog import Catalog, CatalogReader
from edge.catalog.values import SoundRange, pack, unpack
from edge.core.instant import Instant
from edge.core.values import Chunk, Hole, Levels, SoundSpan
from tests.support.catalog import TARGET, commit_plan, make_chunks
from tests.support.spool.chunks import START, STREAM, at, make_chunk, make_stream

PACKED = (
    "01add44b8ec3200c80e11351f9111ba7e7e8050c04cd6eaab9ff6208122d229b6a347b8288fecf5e732a30f083a80f40f0944be8c310df"
    "9d9fdf3ff9eb1afbfae5881f97faa23df2206053ffcff3cbd49f935b014aa8b5900366744b8e8e15584bcc079b1e6517d65dab4b64c64c"
    "9e37738344226f3f2444c8680457491a8043ffc53bc01de26b4dacc09683361dfc089d1ee7f3f62370d61a36972dec2ecd6dd1cc15ab55"
    "c4abca8e92e44f2cdbdccb4493cf8b269f04371846db3a80e1b4ad0c1856db3a91d5eb79edbf8bfd05"
)


def test_a_registered_chunk_is_read_back_unchanged(catalog: Catalog, reader: CatalogReader) -> None:
    chunk = make_chunk(
        0,
        b"x",
        before=(Hole("restart", at(-9), START),),
        sounds=(SoundSpan(f"{STREAM}-s100", 100, None, -20.5, -25.0),),
    )
    chunk = replace(chunk, levels=Levels("dBA", True, 40.1, 50.2, 60.3, 41, 39, 35, (40.123456, -0.0, 1e-9)))
    assert catalog.registration.add_chunks([chunk]) == 1
    assert [row.chunk for row in reader.chunks_between(START, at(1), 10)] == [chunk]


noise = st.floats(-120, 120, allow_nan=False)


@given(st.lists(noise, max_size=70), st.integers(1, 2**50), st.text(max_size=30), st.booleans())
def test_a_packed_manifest_unpacks_unchanged(levels: list[float], frames: int, boot: str, recovered: bool) -> None:
    chunk = make_chunk(3, b"x")
    assert chunk.levels is not None
    clock = replace(chunk.clock, boot_id=boot)
    values = replace(chunk.levels, per_second=tuple(levels))
    chunk = replace(chunk, levels=values, frames=frames, clock=clock, recovered=recovered)
    assert unpack(pack(chunk), Chunk) == chunk


def test_packed_rows_of_the_first_version_can_still_be_read() -> None:
    """The bytes below were made by the first version; a changed dictionary would lose every catalog there is."""
    packed = bytes.fromhex(PACKED)
    assert unpack(packed, Chunk) == make_chunk(7, b"seven")


def test_registering_a_chunk_again_changes_nothing(catalog: Catalog) -> None:
    assert catalog.registration.add_chunks(make_chunks(3)) == 3
    plan = make_plan(catalog.queue.waiting(9), {}, TARGET)
    catalog.plans.commit(plan.archive(Instant(1)), plan.members, plan.manifest)
    before = catalog.chunks_between(START, at(9), 9)
    assert catalog.registration.add_chunks(make_chunks(4)) == 1
    assert catalog.chunks_between(START, at(3), 9) == before
    assert [chunk.seq for chunk in catalog.queue.waiting(9)] == [3]


def test_a_range_includes_its_start_and_excludes_its_end(catalog: Catalog) -> None:
    catalog.registration.add_chunks(make_chunks(10))

    def found(start: float, end: float, limit: int = 99) -> list[int]:
        return [row.chunk.seq for row in catalog.chunks_between(at(start), at(end), limit)]

    assert found(2, 4) == [2, 3]
    assert found(2.5, 3.000001) == [2, 3]
    assert found(2.999999, 3) == [2]
    assert found(-5, 0) == []
    assert found(10, 20) == []
    assert found(0, 99, limit=4) == [0, 1, 2, 3]


spans = st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 4_000)), max_size=12)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(spans, st.integers(0, 12_000), st.integers(1, 3_000))
def test_a_range_query_finds_what_a_full_scan_finds(
    tmp_path_factory: pytest.TempPathFactory, all_spans: list[tuple[int, int]], start: int, length: int
) -> None:
    catalog = Catalog(tmp_path_factory.mktemp("catalog") / "catalog.db")
    chunks = [
        replace(chunk, started_at=at(began), ended_at=at(began + seconds))
        for chunk, (began, seconds) in zip(make_chunks(len(all_spans)), all_spans, strict=True)
    ]
    catalog.registration.add_chunks(chunks)
    catalog_found = [row.chunk for row in catalog.chunks_between(at(start), at(start + length), 99)]
    wanted = [c for c in chunks if c.started_at < at(start + length) and c.ended_at > at(start)]
    assert catalog_found == sorted(wanted, key=lambda c: (c.started_at, c.chunk_id))
    catalog.close()


def test_a_range_query_takes_no_more_steps_in_a_large_catalog(catalog: Catalog) -> None:
    def steps(newest: int) -> int:
        """Virtual machine steps of SQLite for one hour out of all: time would depend on the machine."""
        catalog.chunks_between(START, at(1), 1)
        with catalog.file.session() as tables:
            connection: sqlite3.Connection = tables.db.get_connection()
        counted = 0

        def count() -> int:
            nonlocal counted
            counted += 1
            return 0

        connection.set_progress_handler(count, 10)
        assert len(catalog.chunks_between(at(newest - 30), at(newest), 99)) == 30
        connection.set_progress_handler(None, 0)
        assert counted
        return counted

    catalog.registration.add_chunks(make_chunks(100))
    few = steps(100)
    catalog.registration.add_chunks(make_chunks(3_000, first=100))
    assert steps(3_100) <= few * 1.2


def test_gaps_are_stored_with_the_stream_that_ends_them(catalog: Catalog, reader: CatalogReader) -> None:
    hole, pause = Hole("crash", at(-60), at(-20)), Hole("paused", at(-20), START)
    catalog.registration.add_chunks([make_chunk(0, b"x", before=(hole, pause))])
    assert reader.hole_run(at(-99), at(99), 99).holes == [hole, pause]
    assert reader.hole_run(at(-20), at(0), 99).holes == [pause]
    moved = Hole("crash", at(-50), START)  # a correction rewrites them in the stream's record
    catalog.registration.put_stream(make_stream(before=(moved,)))
    catalog.registration.add_chunks([make_chunk(0, b"x", before=(hole, pause))])
    assert reader.hole_run(at(-99), at(99), 99).holes == [moved]


def test_a_sound_across_chunks_is_one_sound(catalog: Catalog) -> None:
    first = SoundSpan(f"{STREAM}-s6000", 6_000, None, -20.0, -25.0)
    last = SoundSpan(f"{STREAM}-s6000", 6_000, 4_000, -10.0, -22.0)
    catalog.registration.add_chunks([make_chunk(0, b"x", sounds=(first,))])
    assert catalog.sound_run(SoundRange(START, at(9)), None, 9).sounds[0].ended_at is None
    other = SoundSpan(f"{STREAM}-s15000", 15_000, 100, -40.0, -42.0)
    catalog.registration.add_chunks([make_chunk(1, b"x", sounds=(last, other))])
    sound, quiet = catalog.sound_run(SoundRange(START, at(9)), None, 9).sounds
    assert (sound.chunk_id, sound.started_at, sound.ended_at) == (
        f"{STREAM}-000000",
        at(0.75),
        at(1.25),
    )
    assert (sound.lafmax, sound.laeq) == (-10.0, -22.0)
    assert catalog.sound_run(SoundRange(START, at(9), loudest_first=True), None, 1).sounds == [sound]
    assert catalog.sound_run(SoundRange(at(1), at(9)), None, 9).sounds == [quiet]


def test_plans_and_streams_survive_closing_the_catalog(path: Path) -> None:
    with_stream = make_stream()
    catalog = Catalog(path)
    plan = commit_plan(catalog, make_chunks(2))
    catalog.registration.put_stream(with_stream)
    catalog.close()
    again = Catalog(path)
    assert again.archive_records.open_plans()[0].archive_id == plan.archive_id
    assert again.streams([STREAM, "unknown"]) == {STREAM: with_stream}
    again.close()


def test_queries_for_growing_numbers_of_ids_leak_no_memory(catalog: Catalog) -> None:
    """A backlog that grows by a chunk a minute is asked for with one id more each time; each number of ids would leave
    its own SQL behind, 400 kB for 400 ids."""
    chunks = make_chunks(440)
    catalog.registration.add_chunks(chunks)
    ids = [chunk.chunk_id for chunk in chunks]
    ask = (catalog.known, catalog.plans.uploaded_chunks, catalog.deletions.given_up, catalog.archives, catalog.streams)
    for question in ask:
        question(ids)
    tracemalloc.start()
    try:
        for count in range(400, 440):
            assert catalog.known(ids[:count]) == set(ids[:count])
            for question in ask[1:]:
                question(ids[:count])
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 5_000_000
