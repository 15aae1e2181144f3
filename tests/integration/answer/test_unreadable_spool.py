"""While the spool cannot be read, answers come from the catalog, and say that something is missing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import UNSET

from edge.core.instant import Instant
from query_service.answer.node_answers import NodeAnswers
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.levels import LevelsAnswer
from query_service.queries.protocol import Answer, QueryName, Request
from query_service.queries.sounds import SoundsAnswer
from query_service.queries.status import StatusAnswer
from tests.support.nodes.query_node import QueryNode, archive_first
from tests.support.privileges import folder_of_an_ordinary_user, without_root_privileges
from tests.support.spool.chunks import START

SECOND = 1_000_000


@pytest.fixture
def node() -> Iterator[QueryNode]:
    """Chunk 0 is in the store, 1 and 2 wait, 3 and 4 are in the spool alone."""
    with folder_of_an_ordinary_user() as folder, without_root_privileges():
        node = QueryNode(folder)
        archive_first(node)
        yield node


@contextlib.contextmanager
def unreadable(spool: Path) -> Iterator[None]:
    mode = spool.stat().st_mode
    spool.chmod(0)
    try:
        yield
    finally:
        spool.chmod(mode)


def ask(node: QueryNode, *names: QueryName) -> list[Answer]:
    async def answers() -> list[Answer]:
        door = NodeAnswers(node.settings)
        end = Instant(START + 5 * SECOND)
        try:
            return [
                await door.query(Request(id=name, type="status"))
                if name == "status"
                else await door.query(Request(id=name, type=name, from_=START, to=end, urls=False))
                for name in names
            ]
        finally:
            await door.close()

    return asyncio.run(answers())


def states(answer: Answer) -> list[str]:
    assert isinstance(answer, CoverageAnswer), answer
    return [str(interval.__struct_config__.tag) for interval in answer.intervals]


def test_coverage_still_tells_what_the_catalog_knows(node: QueryNode) -> None:
    with unreadable(node.spool.path):
        [answer] = ask(node, "coverage")
    assert states(answer) == ["recorded", "pending", "pending", "gap"]
    assert isinstance(answer, CoverageAnswer)
    assert answer.incomplete == "spool"


def test_every_other_answer_comes_too_and_says_that_it_is_incomplete(node: QueryNode) -> None:
    with unreadable(node.spool.path):
        sounds, levels, status = ask(node, "sounds", "levels", "status")
    assert isinstance(sounds, SoundsAnswer)
    assert isinstance(levels, LevelsAnswer)
    assert isinstance(status, StatusAnswer)
    assert sounds.incomplete == levels.incomplete == status.incomplete == "spool"
    assert status.spool is None
    assert status.recorder.state == "unknown"


def test_a_service_that_saw_the_spool_before_sees_it_again_later(
    node: QueryNode, caplog: pytest.LogCaptureFixture
) -> None:
    async def answers() -> list[Answer]:
        door, found = NodeAnswers(node.settings), list[Answer]()
        request = Request(id="coverage", from_=START, to=Instant(START + 5 * SECOND), urls=False)
        try:
            found.append(await door.query(request))
            with unreadable(node.spool.path):
                found.extend([await door.query(request), await door.query(request)])
            found.append(await door.query(request))
        finally:
            await door.close()
        return found

    before, during, again, after = asyncio.run(answers())
    for answer in (before, after):
        assert states(answer) == ["recorded", *["pending"] * 4]
        assert isinstance(answer, CoverageAnswer)
        assert answer.incomplete is UNSET
    for answer in (during, again):
        assert states(answer)[:3] == ["recorded", "pending", "pending"]
        assert isinstance(answer, CoverageAnswer)
        assert answer.incomplete == "spool"
    assert sum("answers lack what is in the spool alone" in message for message in caplog.messages) == 1
