"""Sounds that reach across chunks, of which archives in the store know a part, and the spool the rest."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.archiver.plan.plan import make_plan
from edge.catalog import Catalog, CatalogSound
from edge.catalog.values import SoundRange
from edge.core.instant import Instant
from edge.core.values import Chunk, DiscardedChunk, SoundSpan
from tests.support.catalog import TARGET
from tests.support.spool.chunks import START, STREAM, at, make_chunk

_COUNT = 6
_FRAMES = make_chunk(0, b"x").frames

Span = tuple[int, int]  # its first frame, and the one after its last
_spans = st.lists(
    st.tuples(st.integers(0, (_COUNT - 1) * _FRAMES), st.integers(1, 3 * _FRAMES)), max_size=4, unique_by=lambda s: s[0]
).map(lambda found: [(first, min(first + length, _COUNT * _FRAMES)) for first, length in found])


@given(_spans, st.permutations(range(_COUNT)), st.lists(st.integers(0, _COUNT), min_size=1, max_size=3))
def test_sounds_across_chunks_are_what_the_spool_says_whatever_was_found_in_the_store_before(
    spans: list[Span], order: list[int], cuts: list[int]
) -> None:
    chunks = _chunks(spans)
    with _catalog() as expected, _catalog() as catalog:
        expected.registration.add_chunks(chunks)
        for first, last in pairwise(sorted({0, *cuts})):
            _restore(catalog, [_louder(chunks[seq]) for seq in sorted(order[first:last])])
        catalog.registration.add_chunks(chunks)
        assert _sounds(catalog) == _sounds(expected)


@given(
    _spans,
    st.permutations(range(_COUNT)),
    st.lists(st.integers(0, _COUNT), min_size=1, max_size=3),
    st.sets(st.integers(0, _COUNT - 1)),
)
def test_archives_that_claim_to_have_erased_a_part_of_a_sound_are_restored(
    spans: list[Span], order: list[int], cuts: list[int], erased: set[int]
) -> None:
    """As an archive of before the sound's end says, and as forged; what is erased has no sounds."""
    chunks = _chunks(spans)
    with _catalog() as catalog:
        for first, last in pairwise(sorted({0, *cuts})):
            _restore(catalog, [chunks[seq] for seq in sorted(order[first:last])], erased)
        answered = {chunk.chunk.chunk_id: chunk.gone for chunk in catalog.chunks_between(START, at(99), 99)}
        assert all(answered[sound.chunk_id] is None for sound in _sounds(catalog))


def _louder(chunk: Chunk) -> Chunk:
    """What an archive claims of the chunk: sounds louder than they are."""
    return replace(chunk, sounds=tuple(replace(span, lafmax=-1.0) for span in chunk.sounds))


def _chunks(spans: list[Span]) -> list[Chunk]:
    """Chunks of a second; each sound is in the manifests of all chunks that it touches, its end only in the last."""
    chunks = []
    for seq in range(_COUNT):
        chunk = make_chunk(seq, b"x")
        here = (span for span in spans if span[0] < chunk.end_frame and span[1] > chunk.first_frame)
        chunks.append(replace(chunk, sounds=tuple(_span(span, chunk) for span in here)))
    return chunks


def _span(span: Span, chunk: Chunk) -> SoundSpan:
    first, last = span
    frames = last - first if last <= chunk.end_frame else None
    return SoundSpan(f"{STREAM}-s{first}", first, frames, -30.0, -35.0)


@contextmanager
def _catalog() -> Iterator[Catalog]:
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog(Path(folder) / "catalog.db")
        catalog.open()
        try:
            yield catalog
        finally:
            catalog.close()


def _restore(catalog: Catalog, chunks: list[Chunk], erased: Collection[int] = ()) -> None:
    """Takes an archive of `chunks` that is found in the store; those of the numbers `erased` are said to be erased."""
    discarded = [DiscardedChunk(chunk, "erased") for chunk in chunks if int(chunk.chunk_id[-6:]) in erased]
    if len(chunks) > len(discarded):
        members = [chunk for chunk in chunks if int(chunk.chunk_id[-6:]) not in erased]
        plan = make_plan(members, {}, TARGET, discarded)
        archive = replace(plan.archive(Instant(1)), uploaded_at=Instant(1))
        catalog.registration.restore_archive(archive, plan.members, plan.discarded)


def _sounds(catalog: Catalog) -> list[CatalogSound]:
    return list(catalog.sound_run(SoundRange(START, at(99)), None, 99).sounds)
