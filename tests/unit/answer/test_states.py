"""States are what coverage says, without the chunks, however their pages are cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.core import wire
from edge.core.instant import Instant
from edge.core.values import Hole
from query_service.answer.facts import FactReader
from query_service.answer.node_answers import Responder
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.cursors import Cursors
from query_service.queries.protocol import Request, read_answer
from query_service.queries.states import StatesAnswer
from query_service.queries.values import MAX_ANSWER
from tests.support.budgets import untimed
from tests.support.histories import NODE, FakeCatalog, FakeSpool, History, histories
from tests.unit.answer.test_coverage import EXAMPLES, long_history, ranges

Stretches = list[tuple[int, int, str, str | None]]


def responder(history: History) -> Responder:
    reader = FactReader(FakeSpool(history), FakeCatalog(history))
    return Responder(NODE, reader, lambda _: None, lambda: history.now, Cursors("key"), untimed)


def pages_of(node: Responder, request: Request) -> list[StatesAnswer]:
    found: list[StatesAnswer] = []
    while True:
        data = wire.encode(node.answer(request))
        assert len(data) <= MAX_ANSWER
        page = read_answer(data)
        assert isinstance(page, StatesAnswer), page
        found.append(page)
        if page.next is None:
            return found
        request = replace(request, cursor=page.next)


def stretches_of(pages: list[StatesAnswer]) -> Stretches:
    return joined([(each.from_, each.to, each.state, each.cause) for page in pages for each in page.states])


def joined(parts: Stretches) -> Stretches:
    """Neighbours of the same state and cause as one."""
    found: Stretches = []
    for start, end, state, cause in parts:
        goes_on = found and found[-1][1:] == (start, state, cause)
        found.append((found.pop()[0] if goes_on else start, end, state, cause))
    return found


def covered(node: Responder, request: Request) -> Stretches:
    answer = node.answer(replace(request, type="coverage", limit=100_000))
    assert isinstance(answer, CoverageAnswer)
    assert answer.next is None
    return joined([(i.from_, i.to, str(i.__struct_config__.tag), getattr(i, "cause", None)) for i in answer.intervals])


@given(histories(), ranges, st.integers(1, 4))
@settings(max_examples=max(300, EXAMPLES), deadline=None)
def test_states_are_those_of_coverage(history: History, span: tuple[int, int], limit: int) -> None:
    node = responder(history)
    request = Request(id="1", type="states", from_=Instant(span[0]), to=Instant(span[1]))
    [whole] = pages_of(node, request)
    assert [each.from_ for each in whole.states] == [span[0], *(each.to for each in whole.states[:-1])]
    assert whole.states[-1].to == span[1]
    assert stretches_of([whole]) == [(s.from_, s.to, s.state, s.cause) for s in whole.states]
    assert stretches_of([whole]) == covered(node, request)
    assert stretches_of(pages_of(node, replace(request, limit=limit))) == stretches_of([whole])


def test_a_day_of_minutes_is_one_page() -> None:
    history = long_history(1_440)
    request = Request(id="1", type="states", from_=Instant(0), to=Instant(14_400))
    [page] = pages_of(responder(history), request)
    assert [(each.from_, each.to, each.state) for each in page.states] == [(0, 14_400, "recorded")]


def test_more_chunks_than_a_page_may_read_take_several_pages() -> None:
    request = Request(id="1", type="states", from_=Instant(0), to=Instant(50_000))
    pages = pages_of(responder(long_history(5_000)), request)
    assert len(pages) == 3
    assert stretches_of(pages) == [(0, 50_000, "recorded", None)]


def test_thousands_of_gaps_take_several_pages() -> None:
    holes = tuple(Hole("restart", Instant(n * 10), Instant(n * 10 + 5)) for n in range(2_000))
    history = replace(long_history(0), holes=holes)
    request = Request(id="1", type="states", from_=Instant(0), to=Instant(20_000), limit=10**6)
    pages = pages_of(responder(history), request)
    assert len(pages) > 1
    assert len(stretches_of(pages)) == 4_000
