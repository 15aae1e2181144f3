"""A client whose cursor is refused, because the node has another key now, goes on behind the last page that it got."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.catalog import Catalog, CatalogReader
from edge.core.errors import QueryRefused
from edge.core.ids import sound_id
from edge.core.values import SoundSpan, SpoolState
from edge.spool.spool import Spool
from query_service.answer.facts import FactReader
from query_service.answer.node_answers import Responder
from query_service.client.paging import pages, query_node, query_page
from query_service.queries.cursors import Cursors
from query_service.queries.protocol import Answer, PagedAnswer, Request
from query_service.queries.values import ErrorAnswer, refusal
from tests.support.budgets import untimed
from tests.support.spool.chunks import BOOT, RATE, START, STREAM, at, make_chunk, make_stream

COUNT = 24


class ForgetfulNode:
    """Has another key after every `lasts` answers, or only once; 0: keeps its key."""

    node = "porch"

    def __init__(self, reader: FactReader, lasts: int, once: bool = False) -> None:
        self._reader = reader
        self._once = once
        self._lasts = lasts
        self._answers = 0
        self.refused = 0

    async def query(self, request: Request, timeout: float) -> Answer:
        changes = self._answers // self._lasts if self._lasts else 0
        key = str(min(changes, 1) if self._once else changes)
        self._answers += 1
        node = Responder("porch", self._reader, lambda _: None, lambda: at(10_000), Cursors(key), untimed)
        answer = node.answer(request)
        self.refused += isinstance(answer, ErrorAnswer)
        return answer

    async def close(self) -> None: ...


@pytest.fixture
def reader(tmp_path: Path) -> FactReader:
    spool = Spool(tmp_path / "spool", "porch")
    spool.create()
    spool.state.write(SpoolState(state="stopped", since=START, boot_id=BOOT, ordinal=1))
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.open()
        catalog.registration.put_stream(make_stream())
        for seq in range(COUNT):
            first = seq * 10 * RATE
            # in pairs at the same time, and four equally loud ones
            spans = tuple(SoundSpan(sound_id(STREAM, first + n), first, RATE, -30.0 - seq % 4, -50.0) for n in range(2))
            catalog.registration.add_chunks([make_chunk(seq, b"x", seconds=10, sounds=spans)])
        catalog.deletions.mark_gone([f"{STREAM}-{seq:06d}" for seq in range(COUNT)], "dropped")
    return FactReader(spool, CatalogReader(tmp_path / "catalog.db"))


ASKED = [
    Request(id="1", from_=at(-5), to=at(1_000), limit=2),
    Request(id="1", type="levels", from_=at(-5), to=at(1_000), step=7, limit=2),
    Request(id="1", type="sounds", order="time", from_=at(-5), to=at(1_000), limit=3),
    Request(id="1", type="sounds", order="loudest", from_=at(-5), to=at(1_000), limit=3),
]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: f"{asked.type}-{asked.order}")
@pytest.mark.parametrize("lasts", [40, 20, 5])
def test_a_refused_cursor_loses_and_repeats_nothing(reader: FactReader, asked: Request, lasts: int) -> None:
    loudest = asked.type == "sounds" and asked.order == "loudest"  # starts again from the first one
    node = ForgetfulNode(reader, lasts, once=loudest)
    # the whole in one page; each page says of which range it is
    expected = asyncio.run(query_node(ForgetfulNode(reader, 0), replace(asked, limit=500)))
    assert asyncio.run(query_node(node, asked)) == expected
    assert node.refused or lasts > 5


def test_states_go_on_behind_the_last_stretch_when_a_cursor_is_refused(reader: FactReader) -> None:
    asked = Request(id="1", type="states", from_=at(-5), to=at(1_000), limit=1)
    node = ForgetfulNode(reader, 1)
    expected = asyncio.run(query_node(ForgetfulNode(reader, 0), replace(asked, limit=500)))
    assert asyncio.run(query_node(node, asked)) == expected
    assert node.refused


def test_a_cursor_that_the_caller_brings_is_refused_to_the_caller(reader: FactReader) -> None:
    async def run() -> list[PagedAnswer]:
        return [page async for page in pages(ForgetfulNode(reader, 1), replace(ASKED[0], cursor="made-up"))]

    with pytest.raises(QueryRefused) as refused:
        asyncio.run(run())
    assert refused.value.field == "cursor"


def test_a_node_that_refuses_each_of_its_own_cursors_is_given_up(reader: FactReader) -> None:
    async def run() -> list[PagedAnswer]:
        return [page async for page in pages(ForgetfulNode(reader, 1), ASKED[3])]

    with pytest.raises(QueryRefused):
        asyncio.run(run())


def test_a_busy_node_is_asked_again_when_it_says() -> None:
    class Busy:
        node = "porch"

        def __init__(self) -> None:
            self.asked: list[float] = []

        async def query(self, request: Request, timeout: float) -> Answer:
            self.asked.append(asyncio.get_running_loop().time())
            return refusal(request.id, "porch", "busy", "soon", retry_after=0.6)

        async def close(self) -> None: ...

    async def run() -> list[float]:
        busy = Busy()
        with pytest.raises(QueryRefused):
            await query_page(busy, Request(id="1", type="status"), 2.0)
        return busy.asked

    times = asyncio.run(run())
    assert len(times) > 1
    assert all(later - earlier >= 0.59 for earlier, later in pairwise(times))
