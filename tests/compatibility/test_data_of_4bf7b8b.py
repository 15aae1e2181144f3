"""Work that commit 4bf7b8b left unfinished ends in the same bytes, rows and answers as with that commit itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.compatibility import fixture
from tests.compatibility.continuation import continue_restored

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """The results of 4bf7b8b."""
    found: dict[str, Any] = json.loads(fixture.EXPECTED.read_bytes())
    return found


@pytest.fixture(scope="module")
def actual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of the current code."""
    folder = tmp_path_factory.mktemp("old-node")
    return continue_restored(*fixture.restore(folder), folder)


def test_an_upload_resumes_with_the_part_that_the_store_already_has(
    actual: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert actual["upload"] == expected["upload"], "the upload was not prepared as the old archiver left it"
    assert actual["sent"] == expected["sent"] == {"begun": 0, "parts": [2], "completed": 1}


@pytest.mark.parametrize("what", ["objects", "catalog", "spool", "answers", "verify"])
@pytest.mark.parametrize("when", ["waiting", "archived"])
def test_a_node_continued_by_this_version_ends_up_the_same(
    actual: dict[str, Any], expected: dict[str, Any], when: str, what: str
) -> None:
    """`waiting`: with plans uploaded and erase orders executed; `archived`: with the waiting chunks archived too."""
    assert actual[when][what] == expected[when][what]


def test_open_erase_orders_have_the_same_outcome_and_holds_remain(
    actual: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert actual["orders"] == expected["orders"]
    assert [order["state"] for order in actual["orders"]].count("refused") == 1
    assert actual["holds"] == expected["holds"]


def test_a_paused_recorder_stays_paused_until_it_is_resumed(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    assert actual["recorder"] == expected["recorder"]


def test_a_node_keeps_its_instance_id(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    """What it publishes ends with a mark of the board since then."""
    published = {role: name.partition("-")[0] for role, name in actual["instance"].items()}
    assert published == expected["instance"]
