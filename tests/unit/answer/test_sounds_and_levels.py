"""Queries for sounds and levels, on a real catalog and spool without audio."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.catalog import Catalog, CatalogReader
from edge.core import wire
from edge.core.ids import chunk_id, sound_id
from edge.core.instant import Instant
from edge.core.values import Chunk, EndedSound, Levels, SoundSpan, SpoolState
from edge.spool.spool import Spool
from query_service.answer import levels as levels_module
from query_service.answer import sounds as sounds_module
from query_service.answer.facts import FactReader
from query_service.answer.node_answers import Responder
from query_service.queries.levels import LevelsAnswer, LevelStep
from query_service.queries.protocol import Request, read_request
from query_service.queries.sounds import Sound, SoundOrder, SoundsAnswer
from query_service.queries.values import MAX_ANSWER, ErrorAnswer
from tests.support.budgets import untimed
from tests.support.spool.chunks import BOOT, RATE, SECOND, START, STREAM, at, make_chunk, make_stream, put_chunk

CHUNK = 10  # seconds
COUNT = 60


def noisy_chunk(seq: int, generator: random.Random) -> Chunk:
    seconds = tuple(round(generator.uniform(-70, -20), 1) for _ in range(CHUNK))
    first = seq * CHUNK * RATE
    sounds = tuple(
        SoundSpan(sound_id(STREAM, start), start, RATE, round(generator.uniform(-60, -20), 1), -50.0)
        for start in sorted(first + generator.randrange(CHUNK * RATE) for _ in range(generator.randrange(12)))
    )
    chunk = make_chunk(seq, b"x", seconds=CHUNK, sounds=sounds)
    return replace(chunk, levels=Levels("dBFS", False, -40.0, max(seconds) + 3, -10.0, -30.0, -40.0, -50.0, seconds))


class Node:
    """Sixty chunks of ten seconds: the first half in the catalog, the others in the spool alone."""

    def __init__(self, folder: Path) -> None:
        generator = random.Random(3)
        self.chunks = [noisy_chunk(seq, generator) for seq in range(COUNT)]
        spool = Spool(folder / "spool", "porch")
        spool.create()
        spool.streams.write(make_stream())
        spool.state.write(SpoolState(state="stopped", since=START, boot_id=BOOT, ordinal=1))
        for chunk in self.chunks:
            put_chunk(spool, chunk, b"x")
        self.catalog = Catalog(folder / "catalog.db")
        self.catalog.open()
        self.catalog.registration.put_stream(make_stream())
        self.catalog.registration.add_chunks(self.chunks[: COUNT // 2])
        reader = FactReader(spool, CatalogReader(folder / "catalog.db"))
        self.responder = Responder("porch", reader, lambda _: None, clock=lambda: at(10_000), make_budget=untimed)

    @property
    def sounds(self) -> list[tuple[Instant, SoundSpan]]:
        return [
            (Instant(START + span.first_frame * SECOND // RATE), span) for chunk in self.chunks for span in chunk.sounds
        ]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    # so that what is found at once is less than there is
    monkeypatch.setattr(sounds_module, "AT_ONCE", 15)
    monkeypatch.setattr(levels_module, "MOST_STEPS", 7)
    made = Node(tmp_path)
    with contextlib.closing(made.catalog):
        yield made


def sound_pages(node: Node, request: Request) -> Iterator[SoundsAnswer]:
    while True:
        answer = node.responder.answer(request)
        assert isinstance(answer, SoundsAnswer), answer
        assert len(wire.encode(answer)) <= MAX_ANSWER
        yield answer
        if answer.next is None:
            return
        request = replace(request, cursor=answer.next)


def sounds(node: Node, **changes: object) -> list[Sound]:
    values = {"id": "sounds-1", "type": "sounds", "from_": at(0), "to": at(1_000), **changes}
    return [sound for page in sound_pages(node, Request(**values)) for sound in page.sounds]  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [1, 7, 500])
@pytest.mark.parametrize("order", ["loudest", "time"])
@pytest.mark.parametrize("min_level", [None, -35.0])
def test_every_sound_is_listed_once_in_order(
    node: Node, order: SoundOrder, min_level: float | None, limit: int
) -> None:
    expected = [(start, span) for start, span in node.sounds if min_level is None or span.lafmax >= min_level]
    if order == "loudest":
        expected.sort(key=lambda item: (-item[1].lafmax, item[0], item[1].sound_id))
    found = sounds(node, order=order, min_level=min_level, limit=limit)
    assert [sound.sound_id for sound in found] == [span.sound_id for _, span in expected]
    assert [sound.from_ for sound in found] == [start for start, _ in expected]
    assert len(found) > 90


def test_a_sound_contains_the_place_of_its_audio(node: Node) -> None:
    first = sounds(node, order="time")[0]
    assert (first.state, first.unit, first.where) == ("pending", "dBFS", None)
    assert first.to == first.from_ + SECOND
    assert first.chunk_id == node.chunks[0].chunk_id


def test_sounds_are_limited_to_the_requested_range(node: Node) -> None:
    found = sounds(node, order="time", from_=at(100), to=at(400))
    assert [s.sound_id for s in found] == [span.sound_id for start, span in node.sounds if at(100) <= start < at(400)]


def test_a_sound_across_two_chunks_is_joined_from_catalog_and_spool(node: Node, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", "porch")
    start = COUNT * CHUNK * RATE
    name = sound_id(STREAM, start)
    lasting = SoundSpan(name, start, None, -30.0, -40.0)
    ended = SoundSpan(name, start, 15 * RATE, -25.0, -41.0)
    first = make_chunk(COUNT, b"x", seconds=CHUNK, sounds=(lasting,))
    last = make_chunk(COUNT + 1, b"x", seconds=CHUNK, sounds=(ended,))
    put_chunk(spool, first, b"x")
    node.catalog.registration.add_chunks([first])
    (found,) = [s for s in sounds(node) if s.sound_id == name]
    assert (found.to, found.lafmax) == (None, -30.0)
    put_chunk(spool, last, b"x")
    (found,) = [s for s in sounds(node) if s.sound_id == name]
    assert (found.from_, found.to, found.lafmax) == (at(600), at(615), -25.0)
    assert found.chunk_id == first.chunk_id


def record_on(spool: Spool, *ended: EndedSound) -> None:
    """The stream is being recorded; these sounds ended in the chunk being written."""
    state = SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM, knot=(0, START))
    spool.state.write(state)
    spool.ended_sounds.write(ended)


def ended_sound(first_frame: int, seconds: int, chunk: int = COUNT, stream_id: str = STREAM) -> EndedSound:
    start = first_frame // RATE
    return EndedSound(
        sound_id=sound_id(stream_id, first_frame), chunk_id=chunk_id(stream_id, chunk), started_at=at(start),
        ended_at=at(start + seconds), lafmax=-20.0, laeq=-33.0, unit="dBA",
    )  # fmt: skip


def test_a_sound_that_ended_in_the_chunk_being_written_is_listed(node: Node, tmp_path: Path) -> None:
    ended = ended_sound(COUNT * CHUNK * RATE, 3)
    record_on(Spool(tmp_path / "spool", "porch"), ended)
    listed = {sound.sound_id: sound for sound in sounds(node, order="time")}
    found = listed[ended.sound_id]
    assert (found.from_, found.to, found.lafmax, found.laeq, found.unit) == (at(600), at(603), -20.0, -33.0, "dBA")
    assert (found.state, found.chunk_id, found.where, found.uncertain) == ("recording", ended.chunk_id, None, False)
    assert len(listed) == len(node.sounds) + 1
    assert ended.sound_id in {sound.sound_id for sound in sounds(node, min_level=-20.0)}
    assert ended.sound_id not in {sound.sound_id for sound in sounds(node, min_level=-19.0)}
    assert ended.sound_id not in {sound.sound_id for sound in sounds(node, to=at(600))}


@pytest.mark.parametrize("is_registered", [True, False])
def test_a_sound_that_began_in_a_finished_chunk_has_its_end_from_the_chunk_being_written(
    node: Node, tmp_path: Path, is_registered: bool
) -> None:
    spool, start = Spool(tmp_path / "spool", "porch"), COUNT * CHUNK * RATE
    lasting = SoundSpan(sound_id(STREAM, start), start, None, -30.0, -40.0)
    first = make_chunk(COUNT, b"x", seconds=CHUNK, sounds=(lasting,))
    put_chunk(spool, first, b"x")
    if is_registered:
        node.catalog.registration.add_chunks([first])
    record_on(spool, ended_sound(start, 15))
    [found] = [sound for sound in sounds(node) if sound.sound_id == lasting.sound_id]
    assert (found.from_, found.to, found.lafmax, found.laeq) == (at(600), at(615), -20.0, -33.0)
    assert (found.state, found.chunk_id) == ("pending", first.chunk_id)


@pytest.mark.parametrize("is_registered", [True, False])
def test_a_finished_chunk_knows_its_sounds_better_than_the_note_about_them(
    node: Node, tmp_path: Path, is_registered: bool
) -> None:
    spool, start = Spool(tmp_path / "spool", "porch"), COUNT * CHUNK * RATE
    whole = SoundSpan(sound_id(STREAM, start), start, 2 * RATE, -30.0, -40.0)
    chunk = make_chunk(COUNT, b"x", seconds=CHUNK, sounds=(whole,))
    put_chunk(spool, chunk, b"x")
    if is_registered:
        node.catalog.registration.add_chunks([chunk])
    record_on(spool, ended_sound(start, 3))
    [found] = [sound for sound in sounds(node) if sound.sound_id == whole.sound_id]
    assert (found.to, found.lafmax, found.state) == (at(602), -30.0, "pending")
    node.catalog.registration.add_chunks([chunk])
    node.catalog.deletions.mark_gone([chunk.chunk_id], "erased")
    assert whole.sound_id not in {sound.sound_id for sound in sounds(node)}


def test_notes_about_another_stream_are_not_listed(node: Node, tmp_path: Path) -> None:
    other = ended_sound(COUNT * CHUNK * RATE, 3, stream_id="20260303T215959Z-zzzz")
    record_on(Spool(tmp_path / "spool", "porch"), other)
    assert other.sound_id not in {sound.sound_id for sound in sounds(node)}


@pytest.mark.parametrize("content", [b"[{", b'{"sounds": 1}', b""])
def test_damaged_notes_are_logged_once_and_left_out(
    node: Node, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    spool = Spool(tmp_path / "spool", "porch")
    record_on(spool, ended_sound(COUNT * CHUNK * RATE, 3))
    (spool.path / "sounds.json").write_bytes(content)
    for _ in range(2):
        assert len(sounds(node)) == len(node.sounds)
    assert [text for text in caplog.messages if "sounds.json" in text] == caplog.messages[:1]


def test_erased_sounds_are_not_listed(node: Node) -> None:
    node.catalog.deletions.mark_gone([node.chunks[0].chunk_id], "erased")
    node.catalog.deletions.mark_gone([node.chunks[1].chunk_id], "quiet")
    found = sounds(node, order="time")
    assert not {s.chunk_id for s in found} & {node.chunks[0].chunk_id}
    assert {s.state for s in found if s.chunk_id == node.chunks[1].chunk_id} <= {"expired"}


def level_pages(node: Node, request: Request) -> Iterator[LevelsAnswer]:
    while True:
        answer = node.responder.answer(request)
        assert isinstance(answer, LevelsAnswer), answer
        assert len(wire.encode(answer)) <= MAX_ANSWER
        yield answer
        if answer.next is None:
            return
        request = replace(request, cursor=answer.next)


def levels(node: Node, **changes: object) -> list[LevelStep]:
    values = {"id": "levels-1", "type": "levels", "from_": at(0), "to": at(1_000), **changes}
    return [step for page in level_pages(node, Request(**values)) for step in page.levels]  # type: ignore[arg-type]


@pytest.mark.parametrize(("start", "end", "step"), [(0, 600, 60), (3.5, 333, 7), (-100, 1_000, 1), (0, 600, 3_600)])
@pytest.mark.parametrize("limit", [3, 500])
def test_levels_of_each_step_are_computed_from_its_seconds(
    node: Node, start: float, end: float, step: int, limit: int
) -> None:
    every = [laeq for chunk in node.chunks for laeq in (chunk.levels.per_second if chunk.levels else ())]
    found = {one.from_: one for one in levels(node, from_=at(start), to=at(end), step=step, limit=limit)}
    for number in range(math.ceil((end - start) / step)):
        first, last = start + number * step, min(start + (number + 1) * step, end)
        inside = sorted(laeq for second, laeq in enumerate(every) if first <= second < last)
        if not inside:
            assert at(first) not in found
            continue
        one = found[at(first)]
        assert (one.to, one.seconds, one.laeq_max) == (at(last), len(inside), inside[-1])
        assert one.laeq == pytest.approx(10 * math.log10(sum(10 ** (x / 10) for x in inside) / len(inside)), abs=0.01)
        assert one.l10 is not None
        assert sum(x > one.l10 for x in inside) <= len(inside) / 10
        assert one.l90 is not None
        assert one.l90 <= (one.l50 or 0) <= one.l10


def test_lafmax_is_given_only_for_steps_of_whole_chunks(node: Node) -> None:
    whole = levels(node, from_=at(0), to=at(20), step=10)
    assert [one.lafmax for one in whole] == [c.levels.lafmax for c in node.chunks[:2] if c.levels]
    assert [one.lafmax for one in levels(node, from_=at(0), to=at(20), step=5)] == [None] * 4


def test_levels_of_different_references_are_not_mixed(node: Node, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", "porch")
    calibrated = replace(
        make_chunk(COUNT, b"x", seconds=CHUNK),
        levels=Levels("dBA", True, 50.0, 60.0, 70.0, 55.0, 50.0, 45.0, (50.0,) * CHUNK),
    )
    put_chunk(spool, calibrated, b"x")
    apart = levels(node, from_=at(590), to=at(610), step=10)
    assert [one.unit for one in apart] == ["dBFS", "dBA"]
    (mixed,) = levels(node, from_=at(590), to=at(610), step=20)
    assert (mixed.unit, mixed.laeq, mixed.seconds) == (None, None, 20)


def test_erased_chunks_have_no_levels(node: Node) -> None:
    node.catalog.deletions.mark_gone([node.chunks[0].chunk_id], "erased")
    assert [one.from_ for one in levels(node, to=at(30), step=10)] == [at(10), at(20)]


@pytest.mark.parametrize("changes", [{"step": 0}, {"step": 86_401}, {"order": "quietest"}, {"min_level": "loud"}])
def test_invalid_fields_of_sound_and_level_queries_are_named(changes: dict[str, object]) -> None:
    request = {"id": "x", "type": "levels", "from": str(at(0)), "to": str(at(1)), **changes}
    answer = read_request(wire.encode(request), "porch")
    assert isinstance(answer, ErrorAnswer)
    assert (answer.error.code, answer.error.field) == ("bad_request", next(iter(changes)))


def test_a_cursor_of_another_query_type_is_refused(node: Node) -> None:
    request = Request(id="x", type="sounds", from_=at(0), to=at(1_000), limit=1)
    page = next(sound_pages(node, request))
    for other in (replace(request, type="levels"), replace(request, order="time"), replace(request, min_level=1.0)):
        answer = node.responder.answer(replace(other, cursor=page.next))
        assert isinstance(answer, ErrorAnswer)
        assert answer.error.field == "cursor"
