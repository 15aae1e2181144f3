"""Pages of sounds and levels, whatever budget ends them, join to what an unlimited oracle finds in the chunks."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from edge.catalog import Catalog, CatalogReader
from edge.catalog.budget import Budget
from edge.core.ids import sound_id
from edge.core.instant import Instant
from edge.core.values import Chunk, Levels, SoundSpan, SpoolState
from edge.spool.spool import Spool
from query_service.answer import levels as levels_module
from query_service.answer import sounds as sounds_module
from query_service.answer.facts import FactReader
from query_service.answer.node_answers import Responder
from query_service.queries.levels import LevelsAnswer, LevelStep
from query_service.queries.protocol import Request
from query_service.queries.sounds import Sound, SoundsAnswer
from query_service.queries.values import ErrorAnswer, Order
from tests.support.spool.chunks import BOOT, RATE, SECOND, START, STREAM, at, make_chunk, make_stream, put_chunk

EXAMPLES = settings().max_examples
CHUNK = 4  # seconds


class Story(Struct, frozen=True):
    """Chunks in a row: the sounds of each (at which of ten moments, how loud), and its levels; the first ones are in
    the catalog. And what each question may cost."""

    sounds: list[list[tuple[int, int]]]
    levels: list[list[int]]
    in_catalog: int
    limit: int
    slice: int
    few: int
    cpu: float  # seconds that a look at the clock takes
    rows: int


@st.composite
def stories(draw: st.DrawFn) -> Story:
    count = draw(st.integers(1, 8))
    sound = st.tuples(st.integers(0, 9), st.integers(-4, 0))  # often equally loud
    return Story(
        sounds=[draw(st.lists(sound, max_size=5, unique_by=lambda s: s[0])) for _ in range(count)],
        levels=[draw(st.lists(st.integers(-70, -20), min_size=CHUNK, max_size=CHUNK)) for _ in range(count)],
        in_catalog=draw(st.integers(0, count)),
        limit=draw(st.integers(1, 7)),
        slice=draw(st.integers(1, 9)),
        few=draw(st.integers(0, 6)),
        cpu=draw(st.sampled_from([0.0, 0.04, 0.2])),
        rows=draw(st.sampled_from([3, 4, 6_000])),  # with two, those that end and begin at a moment leave no third
    )


def chunks_of(story: Story) -> list[Chunk]:
    chunks = []
    for seq, (sounds, levels) in enumerate(zip(story.sounds, story.levels, strict=True)):
        first = seq * CHUNK * RATE
        spans = [
            SoundSpan(sound_id(STREAM, first + tenth * 400), first + tenth * 400, 300, 10.0 * loud, 10.0 * loud - 5)
            for tenth, loud in sorted(sounds)
        ]
        each = tuple(float(level) for level in levels)
        chunk = make_chunk(seq, b"x", seconds=CHUNK, sounds=tuple(spans))
        chunks.append(replace(chunk, levels=Levels("dBFS", False, -40.0, -30.0, -10.0, -30.0, -40.0, -50.0, each)))
    return chunks


@contextlib.contextmanager
def node(story: Story, chunks: list[Chunk]) -> Iterator[Responder]:
    now = [0.0]

    def clock() -> float:
        now[0] += story.cpu
        return now[0]

    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("edge.catalog.sound_order._SLICE", story.slice),
        mock.patch("edge.catalog.sound_order._FEW", story.few),
        mock.patch.object(sounds_module, "AT_ONCE", story.limit),
        mock.patch.object(levels_module, "MOST_STEPS", story.limit),
        contextlib.closing(Catalog(Path(folder) / "catalog.db")) as catalog,
    ):
        spool = Spool(Path(folder) / "spool", "porch")
        spool.create()
        spool.streams.write(make_stream())
        spool.state.write(SpoolState(state="stopped", since=START, boot_id=BOOT, ordinal=1))
        for chunk in chunks:
            put_chunk(spool, chunk, b"x")
        catalog.open()
        catalog.registration.put_stream(make_stream())
        catalog.registration.add_chunks(chunks[: story.in_catalog])
        reader = FactReader(spool, CatalogReader(Path(folder) / "catalog.db"))
        yield Responder(
            "porch",
            reader,
            lambda _: None,
            clock=lambda: at(10_000),
            make_budget=lambda: Budget(rows=story.rows, cpu_clock=clock),
        )


def pages(responder: Responder, request: Request) -> Iterator[SoundsAnswer | LevelsAnswer]:
    """Every page has an item, but for the last; a busy node goes on when the question is repeated."""
    busy = 0
    while True:
        answer = responder.answer(request)
        if isinstance(answer, ErrorAnswer):
            assert answer.error.code == "busy", answer
            busy += 1
            assert busy < 1_000, "no progress"
            continue
        assert isinstance(answer, SoundsAnswer | LevelsAnswer)
        yield answer
        if answer.next is None:
            return
        assert answer.sounds if isinstance(answer, SoundsAnswer) else answer.levels
        request = replace(request, cursor=answer.next)


@given(
    stories(),
    st.sampled_from(["loudest", "time"]),
    st.sampled_from([None, -20.0, 5.0]),
    st.integers(-2, 30),
    st.integers(1, 40),
    st.integers(1, 9),
)
@settings(max_examples=max(40, EXAMPLES // 4), deadline=None)
def test_pages_of_sounds_join_to_the_whole(
    story: Story, order: Order, min_level: float | None, start: int, length: int, limit: int
) -> None:
    chunks = chunks_of(story)
    asked = Request(
        id="1", type="sounds", from_=at(start), to=at(start + length), order=order, min_level=min_level, limit=limit
    )
    with node(story, chunks) as responder:
        found: list[Sound] = [
            sound for page in pages(responder, asked) if isinstance(page, SoundsAnswer) for sound in page.sounds
        ]
    every = [(START + s.first_frame * SECOND // RATE, s.sound_id, s.lafmax) for c in chunks for s in c.sounds]
    wanted = [
        each
        for each in every
        if at(start) <= each[0] < at(start + length) and (min_level is None or each[2] >= min_level)
    ]
    wanted.sort(key=lambda each: (-each[2] if order == "loudest" else 0, *each[:2]))
    assert [(sound.from_, sound.sound_id, sound.lafmax) for sound in found] == wanted


@given(stories(), st.integers(-2, 30), st.integers(1, 40), st.integers(1, 50), st.integers(1, 9))
@settings(max_examples=max(40, EXAMPLES // 4), deadline=None)
def test_pages_of_levels_join_to_the_whole(story: Story, start: int, length: int, step: int, limit: int) -> None:
    asked = Request(id="1", type="levels", from_=at(start), to=at(start + length), step=step, limit=limit)
    with node(story, chunks_of(story)) as responder:
        found: list[LevelStep] = [
            one for page in pages(responder, asked) if isinstance(page, LevelsAnswer) for one in page.levels
        ]
    every = [level for levels in story.levels for level in levels]
    expected = []
    for number in range(math.ceil(length / step)):
        first, last = start + number * step, min(start + (number + 1) * step, start + length)
        inside = every[max(0, first) : max(0, last)]
        if inside:
            expected.append((at(first), at(last), len(inside), float(max(inside))))
    assert [(Instant(one.from_), one.to, one.seconds, one.laeq_max) for one in found] == expected
