"""Days and the extent are what coverage, sounds and the chunks themselves add up to, whatever budget ends a page."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.catalog.budget import Budget
from edge.core import wire
from edge.core.errors import QueryRefused
from edge.core.ids import chunk_id
from edge.core.instant import FIRST, LAST, Instant
from query_service.answer.days import local_days
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.days import Day, DaysAnswer
from query_service.queries.extent import ExtentAnswer
from query_service.queries.protocol import Request
from query_service.queries.sounds import SoundsAnswer
from query_service.queries.values import MAX_ANSWER, Expired, Gap
from tests.support.budgets import untimed
from tests.support.long_stories import (
    HOUR,
    OVERLAPPING_IN_SPOOL,
    STREAMS,
    TWO_STREAMS,
    Node,
    PlacedChunk,
    Story,
    moments,
    node,
    pages,
    stories,
)
from tests.support.spool.chunks import SECOND

EXAMPLES = settings().max_examples


def assert_sums(sums: Day | ExtentAnswer, one: Node, start: Instant, end: Instant) -> None:
    """Against coverage and sounds of the same time, and the chunks that own it."""
    times: dict[str, int] = defaultdict(int)
    levels: dict[str, list[float]] = defaultdict(list)
    gaps = 0
    whole = one.make(untimed)
    for page in pages(whole, Request(id="1", from_=start, to=end)):
        assert isinstance(page, CoverageAnswer)
        for interval in page.intervals:
            cause = interval.cause if isinstance(interval, Gap | Expired) else ""
            times[f"{interval.__struct_config__.tag}:{cause}"] += interval.to - interval.from_
            gaps += isinstance(interval, Gap)
            chunk = one.chunks.get(getattr(interval, "chunk_id", ""))
            if chunk is not None and chunk.levels is not None and cause != "erased":
                for second, level in enumerate(chunk.levels.per_second):
                    at = chunk.started_at + second * SECOND
                    if interval.from_ <= at < interval.to:
                        levels[chunk.levels.unit].append(level)
    seconds = sums.seconds
    found = {f"{name}:": getattr(seconds, name) for name in ("recorded", "pending", "recording", "paused", "future")}
    found |= {f"gap:{cause}": value for cause, value in seconds.gap.items()}
    found |= {f"expired:{cause}": value for cause, value in seconds.expired.items()}
    assert {state: round(value * SECOND) for state, value in found.items() if value} == dict(times)
    assert sums.gaps == gaps
    request = Request(id="1", type="sounds", from_=start, to=end)
    assert sums.sounds == sum(len(page.sounds) for page in pages(whole, request) if isinstance(page, SoundsAnswer))
    assert {each.unit: (each.seconds, each.laeq_max) for each in sums.levels} == {
        unit: (len(values), max(values)) for unit, values in levels.items()
    }
    for each in sums.levels:
        mean = sum(10 ** (level / 10) for level in levels[each.unit]) / each.seconds
        assert math.isclose(each.laeq, 10 * math.log10(mean), abs_tol=0.006)


@given(stories, moments, st.integers(1, 5 * 86_400))
@example(TWO_STREAMS, 0, 86_400)
@example(OVERLAPPING_IN_SPOOL, 10_000, 86_400)
@settings(max_examples=max(60, EXAMPLES // 4), deadline=None)
def test_days_add_up_to_what_coverage_and_sounds_say(story: Story, start: int, length: int) -> None:
    request = Request(
        id="1", type="days", from_=story.at(start), to=story.at(start + length), zone=story.zone, limit=story.limit
    )
    with node(story) as one:
        responder = one.make(lambda: Budget(rows=story.rows, cpu_clock=one.clock))
        found = list(pages(responder, request))
        assert all(isinstance(page, DaysAnswer) and 1 <= len(page.days) <= story.limit for page in found)
        days = [day for page in found for day in page.days]
        assert days[0].from_ <= request.from_ < days[0].to
        assert days[-1].from_ < request.to <= days[-1].to
        assert [day.from_ for day in days[1:]] == [day.to for day in days[:-1]]
        for day in days:
            local = day.from_.datetime().astimezone(ZoneInfo(story.zone))
            assert (local.date().isoformat(), local.hour, local.minute, local.second) == (day.date, 0, 0, 0)
            assert math.isclose(day.hours * HOUR * SECOND, day.to - day.from_)
            assert_sums(day, one, day.from_, day.to)


@given(stories)
@settings(max_examples=max(40, EXAMPLES // 4), deadline=None)
def test_the_extent_is_from_the_first_sound_to_the_last(story: Story) -> None:
    with node(story) as one:
        responder = one.make(lambda: Budget(rows=story.rows, cpu_clock=one.clock))
        (answer,) = pages(responder, Request(id="1", type="extent"))
        assert isinstance(answer, ExtentAnswer)
        given_up = {
            chunk_id(STREAMS[number], seq)
            for number, stream in enumerate(story.streams)
            for seq, one_of_it in enumerate(stream)
            if one_of_it.place in ("quiet", "erased")
        }
        kept = [(c.started_at, c.ended_at) for name, c in one.chunks.items() if name not in given_up]
        if one.running is not None:
            kept.append(one.running)
        if not kept:
            assert (answer.from_, answer.to) == (None, None)
            return
        first, last = min(start for start, _ in kept), max(end for _, end in kept)
        assert (answer.from_, answer.to) == (first, last)
        assert answer.archives == sum(chunk.place == "stored" for stream in story.streams for chunk in stream)
        assert_sums(answer, one, first, last)


def days_of(zone: str | None, start: str, end: str) -> list[tuple[str, float]]:
    """Each day's date and hours."""
    days = local_days(Instant.parse(start), Instant.parse(end), ZoneInfo(zone) if zone else None)
    return [(day.date.isoformat(), (day.end - day.start) / SECOND / HOUR) for day in days]


@pytest.mark.parametrize(
    ("zone", "start", "end", "expected"),
    [
        ("Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-29T12:00:01Z", [("2026-03-29", 23)]),
        ("Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-25T12:00:01Z", [("2026-10-25", 25)]),
        ("Australia/Lord_Howe", "2026-04-04T13:00:00Z", "2026-04-04T13:00:01Z", [("2026-04-05", 24.5)]),
        # without a midnight: clocks go from 0:00 to 1:00
        ("America/Santiago", "2026-09-06T12:00:00Z", "2026-09-06T12:00:01Z", [("2026-09-06", 23)]),
        # with two midnights: from 1:00 back to 0:00
        ("America/Havana", "2026-11-01T12:00:00Z", "2026-11-01T12:00:01Z", [("2026-11-01", 25)]),
        # 30 December 2011 did not take place
        ("Pacific/Apia", "2011-12-30T09:00:00Z", "2011-12-30T11:00:00Z", [("2011-12-29", 24), ("2011-12-31", 24)]),
        ("UTC", "2026-03-03T00:00:00Z", "2026-03-04T00:00:00Z", [("2026-03-03", 24)]),
    ],
)
def test_a_day_has_the_hours_between_its_midnights(
    zone: str, start: str, end: str, expected: list[tuple[str, float]]
) -> None:
    assert days_of(zone, start, end) == expected


def test_days_are_the_nodes_own_without_a_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")  # a rule: no IANA zone
    time.tzset()
    try:
        assert days_of(None, "2026-03-29T12:00:00Z", "2026-03-30T12:00:00Z") == [("2026-03-29", 23), ("2026-03-30", 24)]
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("hours", [400 * 24, 400 * 24 - 12])
def test_a_range_of_400_days_may_begin_within_a_day(hours: int) -> None:
    start = Instant.parse("2025-01-01T12:00:00Z")
    assert len(local_days(start, Instant(start + hours * HOUR * SECOND), UTC)) == (401 if hours == 9_600 else 400)
    with pytest.raises(QueryRefused, match="more than 400 days"):
        local_days(start, Instant(start + 401 * 24 * HOUR * SECOND), UTC)


@pytest.mark.parametrize(("start", "end"), [(FIRST, FIRST + 1), (LAST - 1, LAST), (FIRST, LAST)])
def test_days_beyond_the_calendar_are_refused(start: int, end: int) -> None:
    for zone in ("Pacific/Apia", "America/Los_Angeles"):
        with pytest.raises(QueryRefused):
            local_days(Instant(start), Instant(end), ZoneInfo(zone))


def test_one_page_has_no_more_bytes_than_a_message_carries() -> None:
    story = Story(
        "2026-03-28T20:00:00Z", "Europe/Berlin", [[PlacedChunk(0, 60, "stored", "dBA", [-30], [])]], [], True, None, 0,
        0, 500, 0.0, 6_000,
    )  # fmt: skip
    with node(story) as one:
        request = Request(id="1", type="days", from_=story.at(-400 * 86_400), to=story.at(0), zone=story.zone)
        found = list(pages(one.make(untimed), request))
        assert len(found) > 1
        assert sum(len(page.days) for page in found) == 401
        assert all(len(wire.encode(page)) <= MAX_ANSWER for page in found)
