"""What one question may cost, and that its pages make progress whatever they find."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from string import ascii_lowercase

import pytest
from msgspec.structs import replace

from edge.catalog import Catalog, CatalogReader
from edge.catalog.budget import Budget
from edge.catalog.values import SoundRange
from edge.core.errors import BudgetSpent
from edge.core.ids import sound_id
from edge.core.instant import Instant
from edge.core.values import Chunk, Hole, SoundSpan, SpoolState
from edge.spool.spool import Spool
from query_service.answer.facts import FactReader
from query_service.answer.node_answers import Responder
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.cursors import Cursors
from query_service.queries.levels import LevelsAnswer
from query_service.queries.protocol import Answer, Request, range_request
from query_service.queries.sounds import Sound, SoundsAnswer
from query_service.queries.values import ErrorAnswer, Gap
from tests.support.spool.chunks import BOOT, RATE, START, STREAM, at, make_chunk, make_stream

COUNT = 40  # chunks of ten seconds, each with a sound, every later one louder


def chunk_with_sound(seq: int) -> Chunk:
    first = seq * 10 * RATE
    span = SoundSpan(sound_id(STREAM, first), first, RATE, -80.0 + seq, -90.0)
    return make_chunk(seq, b"x", seconds=10, sounds=(span,))


class Node:
    """`cpu`: seconds that each look at the clock takes."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder / "spool", "porch")
        self.spool.create()
        self.spool.state.write(SpoolState(state="stopped", since=START, boot_id=BOOT, ordinal=1))
        self.catalog = Catalog(folder / "catalog.db")
        self.catalog.open()
        self.catalog.registration.put_stream(make_stream())
        self.catalog.registration.add_chunks([chunk_with_sound(seq) for seq in range(COUNT)])
        self.reader = CatalogReader(folder / "catalog.db")
        self.rows, self.cpu, self._now = 6_000, 0.0, 0.0

    def add_crowd(self, count: int) -> None:
        """So many chunks of ten seconds that all claim to begin at 5,000 s."""
        names = (f"20260304T220000Z-{a}{b}aa" for a in ascii_lowercase for b in ascii_lowercase)
        crowd = [make_chunk(0, b"x", stream_id=name, start=at(5_000), seconds=10) for name in islice(names, count)]
        self.catalog.registration.add_chunks(crowd)
        self.catalog.deletions.mark_gone([chunk.chunk_id for chunk in crowd], "dropped")

    def responder(self, key: str = "the key of the node") -> Responder:
        return Responder(
            "porch", FactReader(self.spool, self.reader), lambda _: None, clock=lambda: at(10_000),
            cursors=Cursors(key), make_budget=lambda: Budget(rows=self.rows, cpu_clock=self._clock),
        )  # fmt: skip

    def _clock(self) -> float:
        self._now += self.cpu
        return self._now


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    with contextlib.closing(made.catalog):
        # an upload that another test would make: their places do not matter here
        made.catalog.deletions.mark_gone([f"{STREAM}-{seq:06d}" for seq in range(COUNT)], "dropped")
        yield made


def sounds(**changes: object) -> Request:
    return Request(**{"id": "1", "type": "sounds", "from_": at(0), "to": at(1_000), **changes})  # type: ignore[arg-type]


def test_a_question_that_runs_out_of_time_ends_its_page_early_and_goes_on_with_the_next(node: Node) -> None:
    node.cpu = 0.2  # each look at the clock shows that the time is over
    responder, request = node.responder(), sounds()
    found: list[Sound] = []
    for _ in range(COUNT + 1):
        answer = responder.answer(request)
        assert isinstance(answer, SoundsAnswer), answer
        assert answer.sounds
        found += answer.sounds
        if answer.next is None:
            break
        request = replace(request, cursor=answer.next)
    assert [sound.lafmax for sound in found] == [-80.0 + seq for seq in reversed(range(COUNT))]


@pytest.mark.parametrize("order", ["loudest", "time"])
def test_a_page_of_sounds_ends_where_a_question_may_look_up_no_more_chunks(node: Node, order: str) -> None:
    node.rows = 3
    responder, request = node.responder(), sounds(order=order)
    found: list[Sound] = []
    while True:
        answer = responder.answer(request)
        assert isinstance(answer, SoundsAnswer), answer
        assert len(answer.sounds) <= 3
        found += answer.sounds
        if answer.next is None:
            break
        request = replace(request, cursor=answer.next)
    assert sorted(sound.lafmax for sound in found) == [-80.0 + seq for seq in range(COUNT)]


def repeated_until_answered(responder: Responder, request: Request) -> Answer:
    """The answer to a question that is `busy` more than once."""
    busy, answer = 0, responder.answer(request)
    while isinstance(answer, ErrorAnswer):
        assert (answer.error.code, answer.error.retry_after) == ("busy", 0.1)
        busy += 1
        assert busy < COUNT
        answer = responder.answer(request)
    assert busy > 1
    return answer


def all_pages(responder: Responder, request: Request) -> Iterator[Answer]:
    """Every page; a busy node is asked again."""
    for _ in range(100 * COUNT):
        answer = responder.answer(request)
        if isinstance(answer, ErrorAnswer):
            assert (answer.error.code, answer.error.retry_after) == ("busy", 0.1), answer
            continue
        yield answer
        assert isinstance(answer, CoverageAnswer | LevelsAnswer)
        if answer.next is None:
            return
        request = replace(request, cursor=answer.next)
    pytest.fail("no progress")


def test_a_question_without_a_result_so_far_is_busy_and_goes_on_when_it_is_repeated(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.catalog.sound_order._SLICE", 5)
    monkeypatch.setattr("edge.catalog.sound_order._FEW", 1)
    node.cpu = 0.06
    responder, request = node.responder(), sounds(to=at(100))  # the quietest ten of forty
    answer = repeated_until_answered(responder, request)
    assert isinstance(answer, SoundsAnswer)
    assert answer.sounds[0].lafmax == -80.0 + 9


def test_a_statement_is_interrupted_once_the_question_is_out_of_time(node: Node) -> None:
    class Spent(Budget):
        is_out_of_time = True

    with node.reader.within(Spent()), pytest.raises(BudgetSpent), node.reader.file.session(Spent()) as tables:
        tables.rows(
            "SELECT count(*), 1 FROM chunks AS a, chunks AS b, chunks AS c, chunks AS d WHERE a.length = $length",
            {"length": 1},
        )
    assert node.reader.sound_run(SoundRange(at(0), at(1_000)), None, 1).sounds  # the connection still works


def test_a_step_of_more_chunks_than_a_question_may_read_is_answered_when_the_question_is_repeated(node: Node) -> None:
    request = Request(id="1", type="levels", from_=at(0), to=at(400), step=300)
    whole = node.responder().answer(request)
    node.rows = 10
    answer = repeated_until_answered(node.responder(), request)
    assert isinstance(answer, LevelsAnswer)
    assert isinstance(whole, LevelsAnswer)
    assert answer.levels == whole.levels[:1]
    assert answer.levels[0].seconds == 300


def test_a_moment_that_many_recordings_claim_is_read_at_once_rather_than_bit_by_bit(node: Node) -> None:
    node.rows = 700
    node.add_crowd(300)
    request = Request(id="1", type="levels", from_=at(5_000), to=at(5_020), step=1, limit=5)
    answer = node.responder().answer(request)
    assert isinstance(answer, LevelsAnswer), answer
    assert [step.seconds for step in answer.levels] == [1] * 5


def test_the_whole_budget_is_there_for_the_recordings_that_claim_one_moment(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("query_service.answer.coverage._FIRST_CHUNKS", 4)
    node.rows = 150
    node.add_crowd(120)
    answer = node.responder().answer(Request(id="1", from_=at(5_000), to=at(5_020)))
    assert isinstance(answer, CoverageAnswer), answer
    assert len(answer.overlapped) + answer.overlapped_left_out == 119
    assert [interval.to for interval in answer.intervals] == [at(5_010), at(5_020)]


def test_a_moment_that_more_recordings_claim_than_a_question_may_read_is_answered_when_it_is_repeated(
    node: Node,
) -> None:
    node.add_crowd(300)
    coverage = Request(id="1", from_=at(5_000), to=at(5_020))
    levels = Request(id="1", type="levels", from_=at(5_000), to=at(5_020), step=3)
    whole = [node.responder().answer(request) for request in (coverage, levels)]
    node.rows = 50
    crowd, tail = all_pages(node.responder(), coverage)
    assert isinstance(whole[0], CoverageAnswer)
    assert isinstance(crowd, CoverageAnswer)
    assert isinstance(tail, CoverageAnswer)
    assert (*crowd.intervals, *tail.intervals) == whole[0].intervals
    assert crowd.overlapped
    assert crowd.overlapped == whole[0].overlapped[: len(crowd.overlapped)]
    assert len(crowd.overlapped) + crowd.overlapped_left_out == 299
    steps = [answer.levels for answer in all_pages(node.responder(), levels) if isinstance(answer, LevelsAnswer)]
    assert isinstance(whole[1], LevelsAnswer)
    assert sum(steps, ()) == whole[1].levels


def test_a_gap_of_more_parts_than_a_question_may_read_is_cut_rather_than_refused(node: Node) -> None:
    node.rows = 10
    gap_start = 10_000 - 3_000
    before = tuple(Hole("crash", at(gap_start + n), at(gap_start + n + 1)) for n in range(3_000))
    node.catalog.registration.put_stream(make_stream("20260304T220000Z-bbbb", before=before))
    responder, moment = node.responder(), at(gap_start)
    request = Request(id="1", from_=moment, to=at(10_000))
    while True:
        answer = responder.answer(request)
        assert isinstance(answer, CoverageAnswer), answer
        (gap,) = answer.intervals
        assert isinstance(gap, Gap)
        assert (gap.from_, gap.cause) == (moment, "crash")
        moment = gap.to
        if answer.next is None:
            break
        request = replace(request, cursor=answer.next)
    assert moment == at(10_000)


@pytest.mark.parametrize("place", [10**400, -(2**80), [1e308, 10**30, "x"], ["-", None], 0, {"a": 1}])
def test_absurd_numbers_in_a_forged_cursor_are_a_bad_request_and_log_nothing(
    node: Node, place: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    responder = node.responder()
    for kind in ("coverage", "sounds", "levels"):
        request = sounds(type=kind)
        forged = Cursors("another key").make(
            range_request(request, "porch"), str(place) if isinstance(place, int) and abs(place) > 2**63 else place
        )
        answer = responder.answer(replace(request, cursor=forged))
        assert isinstance(answer, ErrorAnswer)
        assert (answer.error.code, answer.error.field) == ("bad_request", "cursor")
    assert caplog.messages == []


def test_a_cursor_outlives_a_restart_with_the_same_key_alone(node: Node) -> None:
    request = sounds(limit=3)
    first = node.responder().answer(request)
    assert isinstance(first, SoundsAnswer)
    again = replace(request, cursor=first.next)
    assert isinstance(node.responder().answer(again), SoundsAnswer)
    refused = node.responder("another key").answer(again)
    assert isinstance(refused, ErrorAnswer)
    assert refused.error.field == "cursor"


def test_a_range_of_instants_is_answered_to_its_last_microsecond(node: Node) -> None:
    edge = Instant(at(0) + 1)
    answer = node.responder().answer(sounds(from_=edge, to=at(1_000), order="time"))
    assert isinstance(answer, SoundsAnswer)
    assert answer.sounds[0].from_ == at(10)
