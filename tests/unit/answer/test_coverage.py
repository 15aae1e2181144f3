"""Coverage against a slow oracle: every instant has the one right state, and pages join to the whole.

Ten thousand histories each, in some minutes: HYPOTHESIS_PROFILE=campaign pytest tests/unit/answer/test_coverage.py
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.catalog import CatalogChunk
from edge.catalog.budget import Budget
from edge.catalog.values import ChunkRun
from edge.core import wire
from edge.core.errors import BudgetSpent, CatalogBusy
from edge.core.instant import Instant
from edge.core.values import Archive, Hole, SpoolState
from query_service.answer.coverage import first_frame_at
from query_service.answer.facts import FactReader
from query_service.answer.node_answers import Responder
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.cursors import Cursors
from query_service.queries.protocol import Request, read_answer
from query_service.queries.values import MAX_ANSWER, ErrorAnswer, Interval, Pending, Recorded
from tests.support.budgets import untimed
from tests.support.histories import (
    LENGTH,
    NODE,
    FakeCatalog,
    FakeSpool,
    History,
    Place,
    expected_state,
    histories,
    make_chunk,
    make_stream,
)

EXAMPLES = settings().max_examples


def presign(archive: Archive) -> str | None:
    return f"https://store.example/{archive.key}?X-Amz-Signature={'0' * 64}"


def responder(history: History) -> Responder:
    reader = FactReader(FakeSpool(history), FakeCatalog(history))
    cursors = Cursors("the key of the node")
    return Responder(NODE, reader, presign, lambda: history.now, cursors, untimed)


def ask(node: Responder, request: Request) -> CoverageAnswer:
    data = wire.encode(node.answer(request))
    assert len(data) <= MAX_ANSWER
    answer = read_answer(data)
    assert isinstance(answer, CoverageAnswer), answer
    return answer


def all_pages(node: Responder, request: Request) -> Iterator[CoverageAnswer]:
    while True:
        page = ask(node, request)
        yield page
        if page.next is None:
            return
        request = replace(request, cursor=page.next)


def request(start: int = 0, end: int = LENGTH, limit: int = 500) -> Request:
    return Request(id="question-1", from_=Instant(start), to=Instant(end), limit=limit)


def described(interval: Interval) -> tuple[str, ...]:
    parts = (str(interval.__struct_config__.tag), getattr(interval, "chunk_id", None), getattr(interval, "cause", None))
    return tuple(part for part in parts if part is not None)


def assert_tiles(intervals: list[Interval], start: int, end: int) -> None:
    assert [interval.from_ for interval in intervals] == [start, *(interval.to for interval in intervals[:-1])]
    assert intervals[-1].to == end
    assert all(interval.from_ < interval.to for interval in intervals)


ranges = st.tuples(st.integers(-5, LENGTH + 15), st.integers(1, LENGTH + 20)).map(lambda r: (r[0], r[0] + r[1]))


@given(histories(), ranges)
@settings(max_examples=max(400, EXAMPLES), deadline=None)
def test_every_instant_has_exactly_one_state(history: History, span: tuple[int, int]) -> None:
    start, end = span
    answer = ask(responder(history), request(start, end))
    intervals = list(answer.intervals)
    assert_tiles(intervals, start, end)
    for interval in intervals:
        for moment in range(interval.from_, interval.to):
            assert described(interval) == expected_state(history, moment), moment
    for before, after in pairwise(intervals):
        assert described(before) != described(after)


@given(histories(), ranges, st.integers(1, 4))
@settings(max_examples=max(200, EXAMPLES), deadline=None)
def test_coverage_pages_join_to_the_whole_answer(history: History, span: tuple[int, int], limit: int) -> None:
    whole = ask(responder(history), request(*span))
    node = responder(history)
    pages = list(all_pages(node, request(*span, limit=limit)))
    assert [i for page in pages for i in page.intervals] == list(whole.intervals)
    assert [o for page in pages for o in page.overlapped] == list(whole.overlapped)
    assert all(len(page.intervals) <= limit for page in pages)
    assert {name for page in pages for name in page.archives} == set(whole.archives)
    for page in pages:
        named = {i.where.archive for i in page.intervals if isinstance(i, Recorded)}
        named |= {o.where.archive for o in page.overlapped if o.where}
        assert named <= set(page.archives)


@given(histories(), ranges)
@settings(max_examples=max(200, EXAMPLES), deadline=None)
def test_chunks_that_lose_an_overlap_are_listed(history: History, span: tuple[int, int]) -> None:
    answer = ask(responder(history), request(*span))
    for moment in range(*span):
        owner = next(i for i in answer.intervals if i.from_ <= moment < i.to)
        there = {c.chunk_id for c, place in history.places if place != "aside" and c.started_at <= moment < c.ended_at}
        listed = {o.chunk_id for o in answer.overlapped if o.from_ <= moment < o.to}
        assert listed == there - {getattr(owner, "chunk_id", None)}


class Budgeted(FakeCatalog):
    """Reads no more than a question may."""

    @contextlib.contextmanager
    def within(self, budget: Budget) -> Iterator[None]:
        self._budget = budget
        yield

    def chunk_run(
        self, start: Instant, end: Instant, limit: int, *, duration: int | None = None, times_only: bool = False
    ) -> ChunkRun:
        if not self._budget.rows_left:
            raise BudgetSpent("spent")
        found = super().chunk_run(
            start, end, min(limit, self._budget.rows_left), duration=duration, times_only=times_only
        )
        self._count(len(found.chunks))
        return found

    def chunks(self, ids: Iterable[str], *, each_second: bool = False) -> Sequence[CatalogChunk]:
        found = super().chunks(ids, each_second=each_second)
        self._count(len(found))
        return found

    def _count(self, rows: int) -> None:
        for _ in range(rows):
            self._budget.count_row()


@given(histories(), ranges, st.integers(2, 5))
@settings(max_examples=max(400, EXAMPLES), deadline=None)
def test_more_claims_than_a_question_may_read_are_answered_as_if_it_might(
    history: History, span: tuple[int, int], rows: int
) -> None:
    reader = FactReader(FakeSpool(history), Budgeted(history))
    node = Responder(
        NODE, reader, presign, lambda: history.now, Cursors("a key"), lambda: Budget(rows, cpu_clock=lambda: 0.0)
    )
    wanted, intervals, busy = request(*span), list[Interval](), 0
    while True:
        page = node.answer(wanted)
        if isinstance(page, ErrorAnswer):
            assert page.error.code == "busy", page
            busy += 1
            assert busy < 1_000, "no progress"
            continue
        assert isinstance(page, CoverageAnswer)
        losers = [
            (chunk.chunk_id, interval.from_)
            for interval in page.intervals
            for chunk, place in history.places
            if place != "aside" and chunk.started_at < interval.to and chunk.ended_at > interval.from_
            and chunk.chunk_id != getattr(interval, "chunk_id", None)
        ]  # fmt: skip
        assert len(page.overlapped) + page.overlapped_left_out == len(losers)
        assert {each.chunk_id for each in page.overlapped} <= {name for name, _ in losers}
        intervals += page.intervals
        wanted = replace(wanted, cursor=page.next)
        if page.next is None:
            break
    assert_tiles(intervals, *span)
    for interval in intervals:
        for moment in range(interval.from_, interval.to):
            assert described(interval) == expected_state(history, moment), moment


@given(histories(), st.lists(st.integers(0, LENGTH), min_size=1, max_size=4))
@settings(max_examples=max(200, EXAMPLES), deadline=None)
def test_adjacent_ranges_neither_share_nor_lose_a_frame(history: History, cuts: list[int]) -> None:
    node = responder(history)
    edges = sorted({0, LENGTH, *cuts})
    taken: dict[str, list[range]] = {}
    for start, end in pairwise(edges):
        for interval in ask(node, request(start, end)).intervals:
            if isinstance(interval, Recorded | Pending):
                first = interval.cut.first
                taken.setdefault(interval.chunk_id, []).append(range(first, first + interval.cut.frames))
    whole: dict[str, list[range]] = {}
    for interval in ask(node, request()).intervals:
        if isinstance(interval, Recorded | Pending):
            first = interval.cut.first
            whole.setdefault(interval.chunk_id, []).append(range(first, first + interval.cut.frames))
    assert {name: [f for r in rs for f in r] for name, rs in taken.items()} == {
        name: [f for r in rs for f in r] for name, rs in whole.items()
    }


@given(st.integers(1, 1_000), st.integers(1, 5_000), st.integers(-10, 6_000))
def test_the_frame_at_a_time_is_the_first_one_at_or_after_it(frames: int, length: int, offset: int) -> None:
    chunk = replace(make_chunk(make_stream(0, False), 0, 100, 100 + length), frames=frames)
    moment = 100 + offset
    # frame i has the time 100 + i * length / frames
    expected = next((i for i in range(frames) if (moment - 100) * frames <= i * length), frames)
    assert first_frame_at(chunk, Instant(moment)) == expected


def long_history(count: int, place: Place = "stored") -> History:
    stream = make_stream(0, False)
    places = tuple((make_chunk(stream, seq, seq * 10, seq * 10 + 10), place) for seq in range(count))
    state = SpoolState(state="stopped", since=Instant(0), boot_id="boot", ordinal=0)
    return History((stream,), places, (), state, None, Instant(10**9))


@pytest.mark.parametrize("place", ["stored", "unregistered"])
def test_a_long_range_is_split_into_pages_that_fit_a_message(place: Place) -> None:
    history = long_history(1_000, place)
    pages = list(all_pages(responder(history), request(0, 10_000, limit=10**9)))
    intervals = [interval for page in pages for interval in page.intervals]
    assert_tiles(intervals, 0, 10_000)
    assert len(intervals) == 1_000
    assert len(pages) < 30  # and each archive is named


def test_a_range_of_ten_years_loads_a_bounded_number_of_chunks() -> None:
    history = long_history(5_000)

    class Counting(FakeCatalog):
        most = 0

        def chunk_run(
            self, start: Instant, end: Instant, limit: int, *, duration: int | None = None, times_only: bool = False
        ) -> ChunkRun:
            found = super().chunk_run(start, end, limit, duration=duration, times_only=times_only)
            Counting.most = max(Counting.most, len(found.chunks))
            return found

    node = Responder(
        NODE, FactReader(FakeSpool(history), Counting(history)), presign, lambda: history.now, make_budget=untimed
    )
    page = ask(node, request(0, 315_360_000_000_000))
    assert page.next is not None
    assert Counting.most < 200


def test_hundreds_of_overlapping_chunks_are_answered_with_a_bounded_list() -> None:
    streams = tuple(make_stream(number, True) for number in range(2))
    crowd = [(make_chunk(streams[0], seq, 0, 50), "stored") for seq in range(900)]
    places = (*crowd, (make_chunk(streams[1], 0, 0, 60), "stored"))
    state = SpoolState(state="stopped", since=Instant(0), boot_id="boot", ordinal=0)
    history = History(streams, places, (), state, None, Instant(60))  # type: ignore[arg-type]
    answer = ask(responder(history), request())
    assert [described(i) for i in answer.intervals] == [("recorded", places[-1][0].chunk_id)]
    assert answer.overlapped
    assert len(answer.overlapped) + answer.overlapped_left_out == 900


def test_a_chunk_longer_than_one_read_batch_is_not_split() -> None:
    synchronised, lost = make_stream(0, False), make_stream(1, True)
    crowd = [(make_chunk(lost, seq, seq, seq + 1), "stored") for seq in range(1, 400)]
    places = ((make_chunk(synchronised, 0, 0, 1_000), "stored"), *crowd)
    state = SpoolState(state="stopped", since=Instant(0), boot_id="boot", ordinal=0)
    history = History((synchronised, lost), places, (), state, None, Instant(2_000))  # type: ignore[arg-type]
    answer = ask(responder(history), request(0, 1_000))
    assert [described(i) for i in answer.intervals] == [("recorded", places[0][0].chunk_id)]


def test_a_cursor_is_valid_only_with_its_own_request() -> None:
    node = responder(long_history(10))
    page = ask(node, request(0, 100, limit=3))
    assert page.next is not None
    for other in (
        replace(request(0, 99), cursor=page.next),
        replace(request(1, 100), cursor=page.next),
        replace(request(0, 100), cursor="made-up"),
        replace(request(0, 100), cursor=""),
        replace(request(0, 100), cursor=page.next[:-2]),
        replace(request(0, 100), cursor="é" * 20),
        replace(request(0, 100), cursor="A" * 27),
    ):
        answer = node.answer(other)
        assert isinstance(answer, ErrorAnswer), other
        assert (answer.error.code, answer.error.field) == ("bad_request", "cursor")
    assert ask(node, replace(request(0, 100, limit=5), cursor=page.next)).intervals[0].from_ == 30


def test_new_chunks_do_not_disturb_the_remaining_pages() -> None:
    page = ask(responder(long_history(10)), request(0, 200, limit=10))
    rest = list(all_pages(responder(long_history(20)), replace(request(0, 200), cursor=page.next)))
    assert_tiles([*page.intervals, *(i for p in rest for i in p.intervals)], 0, 200)


def test_a_dead_recorders_sound_is_recording_until_its_last_flush() -> None:
    stream = make_stream(0, False)
    second = 1_000_000
    state = SpoolState(
        state="recording",
        since=Instant(0),
        boot_id="boot",
        ordinal=0,
        stream_id=stream.stream_id,
        knot=(0, Instant(0)),
    )
    history = History((stream,), (), (), state, Instant(7 * second), Instant(60 * second))
    answer = ask(responder(history), request(0, 70 * second))
    assert [(described(i), i.to) for i in answer.intervals] == [
        (("recording",), 7 * second),
        (("gap", "unknown"), 60 * second),
        (("future",), 70 * second),
    ]
    alive = replace(history, flushed_at=Instant(51 * second))
    answer = ask(responder(alive), request(0, 70 * second))
    assert [described(i) for i in answer.intervals] == [("recording",), ("future",)]


def test_a_clock_correction_moves_chunks_in_the_spool() -> None:
    stream = make_stream(0, True)
    chunk = make_chunk(stream, 0, 10, 20)
    corrected = replace(stream, uncertain=False, shift=25)
    state = SpoolState(state="stopped", since=Instant(0), boot_id="boot", ordinal=0)
    history = History((corrected,), ((chunk, "unregistered"),), (), state, None, Instant(60))
    answer = ask(responder(history), request())
    found = [i for i in answer.intervals if isinstance(i, Pending)]
    assert [(i.from_, i.to, i.uncertain) for i in found] == [(35, 45, False)]


def test_a_busy_catalog_is_answered_as_busy() -> None:
    class Locked(FakeCatalog):
        def chunk_run(
            self, start: Instant, end: Instant, limit: int, *, duration: int | None = None, times_only: bool = False
        ) -> NoReturn:
            raise CatalogBusy("the catalog is locked; try again soon")

    history = long_history(1)
    node = Responder(
        NODE, FactReader(FakeSpool(history), Locked(history)), presign, lambda: history.now, make_budget=untimed
    )
    answer = node.answer(request())
    assert isinstance(answer, ErrorAnswer)
    assert answer.error.code == "busy"


def test_the_later_of_two_overlapping_gaps_wins() -> None:
    history = replace(
        long_history(0),
        holes=(Hole("crash", Instant(0), Instant(50)), Hole("paused", Instant(10), Instant(20))),
    )
    answer = ask(responder(history), request(0, 60))
    assert [described(i) for i in answer.intervals] == [
        ("gap", "crash"),
        ("paused",),
        ("gap", "crash"),
        ("gap", "unknown"),
    ]
