"""The coverage bar, its legend, and the table of intervals."""

from __future__ import annotations

import io
import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from commands.query import print_coverage
from commands.show.coverage_bar import Before, cells, legend, rows, totals
from edge.core.instant import MICROSECONDS, Instant
from edge.core.values import Where
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.values import (
    ArchivePlace,
    Cut,
    Expired,
    Future,
    Gap,
    Interval,
    Paused,
    Pending,
    Recorded,
    Recording,
)
from tests.support.spool.chunks import START, STREAM
from tests.unit.commands.samples import ARCHIVE

KINDS = ("recorded", "pending", "recording", "paused", "gap", "expired", "future")


def interval(kind: str, start: int, end: int, archive: str = ARCHIVE) -> Interval:  # noqa: PLR0911 -- a table
    """One interval of `kind` from `start` to `end`, in microseconds after START."""
    span: dict[str, Any] = {"from_": Instant(START + start), "to": Instant(START + end)}
    where = Where(archive, f"{STREAM}-000000.flac", 90, 1_000, "0" * 64)
    chunk: dict[str, Any] = {"chunk_id": f"{STREAM}-000000", "uncertain": False}
    sound: dict[str, Any] = {
        "rate": 48_000, "channels": 1, "format": "flac", "first_frame": 0, "frames": 1, "laeq": -40.0,
        "lafmax": -30.0, "unit": "dBFS", "cut": Cut(0, 1),
    }  # fmt: skip
    match kind:
        case "recorded":
            return Recorded(**span, **chunk, **sound, where=where)
        case "pending":
            return Pending(**span, **chunk, **sound)
        case "recording":
            return Recording(**span, uncertain=False, stream_id=STREAM)
        case "paused":
            return Paused(**span)
        case "gap":
            return Gap(**span, cause="device_lost")
        case "expired":
            return Expired(**span, **chunk, cause="quiet", where=where)
        case _:
            return Future(**span)


@st.composite
def tilings(draw_: st.DrawFn) -> list[Interval]:
    lengths = draw_(st.lists(st.integers(1, 100 * MICROSECONDS), min_size=1, max_size=12))
    found, at = [], 0
    for length in lengths:
        found.append(interval(draw_(st.sampled_from(KINDS)), at, at + length))
        at += length
    return found


@given(tilings(), st.integers(1, 120))
def test_a_coverage_bar_fills_its_width_and_shows_every_gap(intervals: list[Interval], width: int) -> None:
    start, end = intervals[0].from_, intervals[-1].to
    bar = cells(intervals, start, end, width)
    assert len(bar) == width
    length = end - start
    for hole in intervals:
        if not isinstance(hole, Gap | Paused | Expired):
            continue
        touched = {
            state
            for index, state in enumerate(bar)
            if start + length * index // width < hole.to and hole.from_ < start + length * (index + 1) // width
        }
        assert touched <= {"mixed", "gap", "paused", "expired"}


def test_a_coverage_bar_distinguishes_states() -> None:
    second = MICROSECONDS
    kinds = ["recorded", "gap", "recorded", "pending", "future"]
    intervals = [interval(kind, n * second, (n + 1) * second) for n, kind in enumerate(kinds)]
    assert cells(intervals, START, Instant(START + 5 * second), 5) == kinds
    assert cells(intervals, START, Instant(START + 5 * second), 1) == ["mixed"]


def test_what_was_discarded_on_purpose_is_not_shown_as_missing() -> None:
    intervals = [interval("recorded", 0, 10), interval("expired", 10, 12), interval("recorded", 12, 20)]
    assert cells(intervals, START, Instant(START + 20), 2) == ["recorded", "expired"]
    paused = [interval("recorded", 0, 10), interval("paused", 10, 12), interval("recorded", 12, 20)]
    assert cells(paused, START, Instant(START + 20), 1) == ["paused"]
    dropped = [msgspec.structs.replace(intervals[1], cause="dropped"), *intervals[2:]]
    assert cells(dropped, Instant(START + 10), Instant(START + 20), 1) == ["mixed"]


def test_the_time_before_the_first_recording_is_not_shown_as_a_gap() -> None:
    began = Instant(START + 95 * MICROSECONDS)
    answer = CoverageAnswer(
        id="x",
        node="porch",
        from_=START,
        to=Instant(START + 110 * MICROSECONDS),
        intervals=(
            Gap(from_=START, to=began, cause="unknown"),
            interval("recorded", 95 * MICROSECONDS, 110 * MICROSECONDS),
        ),
        archives={},
    )
    console = Console(width=80, record=True, file=io.StringIO(), highlight=False)
    print_coverage(answer, console, utc=True, before=Before(from_=START, to=began))
    text = console.export_text()
    assert "- before 1 min 35 s (86.36 %) the node's first recording" in text
    assert "missing" not in text
    assert "gap" not in text


@given(tilings())
def test_totals_and_rows_keep_every_microsecond(intervals: list[Interval]) -> None:
    length = intervals[-1].to - intervals[0].from_
    assert sum(totals(intervals).values()) == length
    found = rows(intervals)
    assert sum(row.end - row.start for row in found) == length
    assert all(before.end == after.start for before, after in itertools.pairwise(found))


def test_chunks_of_one_archive_are_one_row() -> None:
    other = f"{STREAM}-000007-89abcdef"
    found = rows([interval("recorded", 0, 1), interval("recorded", 1, 2), interval("recorded", 2, 3, other)])
    assert [(row.chunks, row.archive) for row in found] == [(2, ARCHIVE), (1, other)]


@pytest.mark.parametrize(("hole", "expected"), [(1, "99.99 %"), (60 * MICROSECONDS, "99.93 %")])
def test_a_percentage_is_never_rounded_to_0_or_100(hole: int, expected: str) -> None:
    day = 86_400 * MICROSECONDS
    intervals = [interval("recorded", 0, day - hole), interval("gap", day - hole, day)]
    (recorded, _), (gap, _) = legend(intervals, START, Instant(START + day))
    assert expected in recorded
    assert "(0 %)" not in gap


@pytest.mark.parametrize(
    ("hole", "expected"), [(1, "(< 0.01 %)"), (MICROSECONDS, "(< 0.01 %)"), (9 * MICROSECONDS, "(0.01042 %)")]
)
def test_a_tiny_percentage_is_shown_as_less_than(hole: int, expected: str) -> None:
    day = 86_400 * MICROSECONDS
    intervals = [interval("recorded", 0, day - hole), interval("gap", day - hole, day)]
    (recorded, _), (gap, _) = legend(intervals, START, Instant(START + day))
    assert expected in gap
    assert ("(> 99.99 %)" in recorded) == ("<" in expected)


def test_the_coverage_table_names_archives_and_causes() -> None:
    answer = CoverageAnswer(
        id="x",
        node="porch",
        from_=START,
        to=Instant(START + 3 * MICROSECONDS),
        intervals=(interval("recorded", 0, MICROSECONDS), interval("gap", MICROSECONDS, 3 * MICROSECONDS)),
        archives={ARCHIVE: ArchivePlace(s3=f"s3://bucket/imhearing/porch/{ARCHIVE}.zip", bucket="bucket", key="k")},
    )
    console = Console(width=80, record=True, file=io.StringIO(), highlight=False)
    print_coverage(answer, console, utc=True)
    text = console.export_text()
    assert "porch  2026-03-03 22:00:00 to 22:00:03" in text
    assert "22:00:01.000" in text
    assert "device lost" in text
    assert f"[1] s3://bucket/imhearing/porch/{ARCHIVE}.zip" in text
    assert "1 chunk [1]" in text
