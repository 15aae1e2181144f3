"""Chunks and gaps of a range, read in batches and pages: none is skipped or repeated, in two archives either."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.archiver.plan.plan import make_plan
from edge.catalog import Catalog, CatalogReader
from edge.catalog.values import CatalogChunk, ChunkRun, HoleRun
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import Chunk, Hole, Levels
from tests.support.catalog import TARGET
from tests.support.spool.chunks import at, make_chunk, make_stream

EXAMPLES = settings().max_examples
DAY = 86_400
Spans = list[tuple[int, int]]  # start and duration, in seconds

spans = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9)), min_size=1, max_size=14)


def stream_name(number: int) -> str:
    return f"20260303T220000Z-{chr(ord('a') + number) * 4}"


def chunks_of(wanted: Spans) -> list[Chunk]:
    return [
        make_chunk(0, b"x", stream_id=stream_name(number), start=at(start), seconds=seconds)
        for number, (start, seconds) in enumerate(wanted)
    ]


def that_counts(holes: Iterable[Hole], moment: Instant) -> tuple[Instant, Instant] | None:
    """The gap that began last, of those the shortest."""
    there = [hole for hole in holes if hole.from_ <= moment < hole.to]
    best = min(there, key=lambda hole: (-hole.from_, hole.to), default=None)
    return None if best is None else (best.from_, best.to)


@contextlib.contextmanager
def catalog_of(chunks: list[Chunk], in_archives: list[int]) -> Iterator[CatalogReader]:
    """`in_archives`: of each chunk, in which it is: 0: none, 1: the first, 2: the second, 3: both."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(Catalog(Path(folder) / "catalog.db")) as catalog,
        mock.patch("edge.catalog.queries._FIRST_BATCH", 2),
        mock.patch("edge.catalog.queries._BATCH", 3),
    ):
        catalog.open()
        catalog.registration.add_chunks(chunks)
        for archive in (1, 2):
            members = [chunk for chunk, where in zip(chunks, in_archives, strict=False) if where & archive]
            if members:
                plan = make_plan(members, {}, TARGET)
                catalog.registration.restore_archive(plan.archive(Instant(1)), plan.members, plan.discarded)
        yield CatalogReader(Path(folder) / "catalog.db")


def check_run(run: ChunkRun, every: list[Chunk], start: Instant, end: Instant, limit: int) -> None:
    found = [entry.chunk.chunk_id for entry in run.chunks]
    until = end if run.until is None else run.until
    wanted = sorted(every, key=lambda chunk: (chunk.started_at, chunk.chunk_id))
    inside = [chunk.chunk_id for chunk in wanted if chunk.started_at < end and chunk.ended_at > start]
    assert found == inside[: len(found)]
    known = [chunk.chunk_id for chunk in wanted if chunk.started_at < until and chunk.ended_at > start]
    assert set(known) <= set(found)
    assert len(found) == min(limit, len(inside))


def decides(row: CatalogChunk) -> tuple[object, ...]:
    """What a state is made of."""
    chunk = row.chunk
    times = (chunk.chunk_id, chunk.stream_id, chunk.seq, chunk.started_at, chunk.ended_at, chunk.uncertain)
    return *times, row.where is None, row.gone, row.aside


def levels_of(chunk: Chunk) -> tuple[object, ...]:
    levels = chunk.levels
    return chunk.frames, chunk.rate, levels and (levels.unit, levels.lafmax, levels.per_second)


@given(spans, st.lists(st.integers(0, 3), min_size=14, max_size=14), st.integers(-2, 20), st.integers(1, 25))
@settings(max_examples=max(40, EXAMPLES // 2), deadline=None)
def test_batches_and_pages_of_chunks_join_to_the_whole(
    wanted: Spans, in_archives: list[int], start: int, length: int
) -> None:
    chunks, first, last = chunks_of(wanted), at(start), at(start + length)
    with catalog_of(chunks, in_archives) as catalog:
        assert [row.chunk.chunk_id for row in catalog.chunks_between(FIRST, LAST, 99)] == [
            chunk.chunk_id for chunk in sorted(chunks, key=lambda chunk: (chunk.started_at, chunk.chunk_id))
        ]
        for limit in range(1, len(chunks) + 2):
            check_run(catalog.chunk_run(first, last, limit), chunks, first, last, limit)
            with_levels = catalog.chunk_run(first, last, limit, duration=10**9)
            check_run(with_levels, chunks, first, last, limit)


@given(spans, st.lists(st.integers(0, 3), min_size=14, max_size=14))
@settings(max_examples=max(40, EXAMPLES // 2), deadline=None)
def test_a_lean_chunk_has_the_times_and_the_levels_of_the_whole_one(wanted: Spans, in_archives: list[int]) -> None:
    levels = Levels("dBA", True, 40.5, 50.25, 60.0, 45.0, 41.0, 35.5, (40.5, 41.25))
    chunks = [
        replace(chunk, format="wav", uncertain=number % 2 == 0, levels=levels if number % 3 else None)
        for number, chunk in enumerate(chunks_of(wanted))
    ]
    with catalog_of(chunks, in_archives) as catalog:
        whole = [(decides(row), levels_of(row.chunk)) for row in catalog.chunks_between(FIRST, LAST, 99)]
        with_levels = catalog.chunk_run(FIRST, LAST, 99, duration=10**9).chunks
        assert [(decides(row), levels_of(row.chunk)) for row in with_levels] == whole
        times = catalog.chunk_run(FIRST, LAST, 99, times_only=True).chunks
        assert [decides(row) for row in times] == [times_of_it for times_of_it, _ in whole]
        # what only the node has is looked for under this name
        assert all(row.chunk.member.endswith(".wav") for row in times if row.where is None)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from([1, 2, 3 * DAY, 5 * DAY])), min_size=1, max_size=14),
    st.integers(-2, 20),
    st.integers(1, 25),
)
@settings(max_examples=max(40, EXAMPLES // 2), deadline=None)
def test_the_gaps_of_a_page_decide_as_all_of_them_do_as_far_as_it_says(wanted: Spans, start: int, length: int) -> None:
    holes = [Hole("crash", at(began * DAY), at(began * DAY + seconds)) for began, seconds in wanted]
    first, last = at(start * DAY), at((start + length) * DAY)
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Catalog(Path(folder) / "catalog.db")) as catalog:
        catalog.open()
        for number, hole in enumerate(holes):
            catalog.registration.put_stream(make_stream(stream_name(number), before=(hole,)))
        reader = CatalogReader(Path(folder) / "catalog.db")
        for limit in range(1, len(holes) + 2):
            run: HoleRun = reader.hole_run(first, last, limit)
            until = last if run.until is None else run.until
            assert until > first
            changes = {first, *(hole.from_ for hole in holes), *(hole.to for hole in holes)}
            for moment in (change for change in changes if first <= change < until):
                assert that_counts(run.holes, moment) == that_counts(holes, moment)
            assert len(run.holes) <= 2 * limit
