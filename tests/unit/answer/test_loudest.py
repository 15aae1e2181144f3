"""The loudest steps are those that all steps in order of time, sorted, begin with."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.catalog.budget import Budget
from query_service.queries.levels import LevelsAnswer, LevelStep
from query_service.queries.protocol import Request
from query_service.queries.values import ErrorAnswer
from tests.support.budgets import untimed
from tests.support.long_stories import TWO_STREAMS, PlacedChunk, Story, moments, node, pages, stories

EXAMPLES = settings().max_examples


def order(step: LevelStep) -> tuple[int, float, int]:
    return [*("dBA", "dBFS"), None].index(step.unit), -(step.laeq or 0.0), step.from_


@given(stories, moments, st.integers(1, 2 * 86_400), st.sampled_from([1, 2, 60, 700, 5_000]), st.integers(1, 9))
@example(TWO_STREAMS, 0, 900, 1, 9)
@settings(max_examples=max(60, EXAMPLES // 4), deadline=None)
def test_the_loudest_steps_are_the_first_of_all_when_sorted(
    story: Story, start: int, length: int, step: int, limit: int
) -> None:
    request = Request(id="1", type="levels", from_=story.at(start), to=story.at(start + length), step=step)
    with node(story) as one:
        every = [each for page in pages(one.make(untimed), request) for each in page.levels]
        responder = one.make(lambda: Budget(rows=story.rows, cpu_clock=one.clock))
        (answer,) = pages(responder, replace(request, order="loudest", limit=limit))
    assert isinstance(answer, LevelsAnswer)
    assert list(answer.levels) == sorted(every, key=order)[:limit]


def test_only_what_can_be_loudest_is_read() -> None:
    """A day of hours, one of them loud: a budget of few chunks is enough."""
    quiet = [PlacedChunk(hour * 3_600, 3_600, "stored", "dBFS", [-60] * 3_600, []) for hour in range(24)]
    loud = PlacedChunk(30 * 3_600, 3_600, "stored", "dBFS", [-60] * 1_000 + [-20] + [-60] * 2_599, [])
    story = Story(
        "2026-03-28T20:00:00Z", "UTC", [[*quiet, loud]], [], True, None, 0, 200_000, 1, 0.0, 6_000,
    )  # fmt: skip
    request = Request(
        id="1", type="levels", from_=story.at(0), to=story.at(40 * 3_600), step=60, order="loudest", limit=1
    )
    with node(story) as one:
        answer = one.make(lambda: Budget(rows=3, cpu_clock=lambda: 0.0)).answer(request)
    assert isinstance(answer, LevelsAnswer), answer
    assert [step.laeq_max for step in answer.levels] == [-20.0]


@pytest.mark.parametrize(("field", "changes"), [("cursor", {"cursor": "made-up"}), ("to", {"days": 401})])
def test_the_loudest_steps_have_no_further_page_and_no_endless_range(field: str, changes: dict[str, object]) -> None:
    story = Story("2026-03-28T20:00:00Z", "UTC", [], [], True, None, 0, 0, 1, 0.0, 6_000)
    request = Request(
        id="1",
        type="levels",
        from_=story.at(0),
        to=story.at(86_400 * int(str(changes.pop("days", 1)))),
        order="loudest",
    )
    with node(story) as one:
        answer = one.make(untimed).answer(replace(request, **changes))
    assert isinstance(answer, ErrorAnswer)
    assert (answer.error.code, answer.error.field) == ("bad_request", field)


def test_a_loud_second_does_not_hide_a_louder_minute() -> None:
    """The quarter-hour with the loudest second is read first, and the next one nevertheless."""
    slam = PlacedChunk(0, 60, "stored", "dBFS", [-20] + [-60] * 59, [])
    steady = PlacedChunk(3_600, 60, "stored", "dBFS", [-30] * 60, [])
    story = Story("2026-03-28T20:00:00Z", "UTC", [[slam, steady]], [], True, None, 0, 200_000, 1, 0.0, 6_000)
    request = Request(id="1", type="levels", from_=story.at(0), to=story.at(7_200), step=60, order="loudest", limit=1)
    with node(story) as one:
        answer = one.make(untimed).answer(request)
    assert isinstance(answer, LevelsAnswer)
    assert [(step.from_, step.laeq) for step in answer.levels] == [(story.at(3_600), -30.0)]
