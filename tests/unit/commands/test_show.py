"""What people see: the coverage bar, the screen of `up`, and a node's messages in words."""

from __future__ import annotations

import io
import itertools
import re
import shlex
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from commands.fetch import _print_report as tell_fetched
from commands.query import print_coverage
from commands.show import formats as show
from commands.show.answer_tables import print_listing
from commands.show.coverage_bar import cells, legend, rows, totals
from commands.show.node_view import NodeView, describe, size
from commands.up.display import NodeSnapshot
from commands.up.local_facts import LocalFacts
from commands.up.screen import draw, pasteable
from edge.core.instant import MICROSECONDS, Instant
from edge.core.values import ClockStamp, Where
from edge.messaging.events import (
    ArchiveChanged,
    ArchiverState,
    ChunkCompleted,
    Event,
    LevelMeasured,
    Progress,
    RecorderState,
    RecorderStatus,
    SoundHeard,
    ThresholdCrossed,
)
from query_service.api import FetchReport
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.levels import LevelsAnswer, LevelStep
from query_service.queries.sounds import Sound, SoundsAnswer
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

START = Instant.parse("2026-03-03T22:00:00Z")
STREAM = "20260303T220000Z-abcd"
ARCHIVE = f"{STREAM}-000000-0123abcd"
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
def test_a_bar_fills_its_width_and_shows_every_gap(intervals: list[Interval], width: int) -> None:
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


def test_a_bar_distinguishes_states() -> None:
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
    intervals = (
        Gap(from_=START, to=Instant(START + 95 * MICROSECONDS), cause="unknown"),
        interval("recorded", 95 * MICROSECONDS, 110 * MICROSECONDS),
    )
    answer = CoverageAnswer(
        id="x", node="porch", from_=START, to=Instant(START + 110 * MICROSECONDS), intervals=intervals, archives={},
        known_since=Instant(START + 95 * MICROSECONDS),
    )  # fmt: skip
    console = Console(width=80, record=True, file=io.StringIO(), highlight=False)
    print_coverage(answer, console, utc=True)
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
def test_a_share_is_never_rounded_to_all_or_nothing(hole: int, expected: str) -> None:
    day = 86_400 * MICROSECONDS
    intervals = [interval("recorded", 0, day - hole), interval("gap", day - hole, day)]
    (recorded, _), (gap, _) = legend(intervals, START, Instant(START + day))
    assert expected in recorded
    assert "(0 %)" not in gap


@pytest.mark.parametrize(
    ("hole", "expected"), [(1, "(< 0.01 %)"), (MICROSECONDS, "(< 0.01 %)"), (9 * MICROSECONDS, "(0.01042 %)")]
)
def test_a_tiny_share_is_shown_as_less_than(hole: int, expected: str) -> None:
    day = 86_400 * MICROSECONDS
    intervals = [interval("recorded", 0, day - hole), interval("gap", day - hole, day)]
    (recorded, _), (gap, _) = legend(intervals, START, Instant(START + day))
    assert expected in gap
    assert ("(> 99.99 %)" in recorded) == ("<" in expected)


def test_fetch_reports_the_bytes_read_from_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    """What was still in the spool is not in that number."""
    report = FetchReport(
        path=Path("a.wav"), from_=START, to=Instant(START + MICROSECONDS), rate=48_000, channels=1, frames=48_000,
        chunks=3, bytes_read=0, holes=(),
    )  # fmt: skip
    tell_fetched(report, "silence", True)
    assert capsys.readouterr().err == "a.wav: 1.0 s, 48000 Hz, mono, from 3 chunks (0 B from the store)\n"


@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_a_narrow_terminal_keeps_the_numbers_of_levels(width: int) -> None:
    step = LevelStep(
        from_=START, to=Instant(START + 60 * MICROSECONDS), seconds=60, unit="dBFS", laeq=-42.1, laeq_max=-30.0,
        lafmax=-20.2, l10=-40.3, l50=-42.5, l90=-50.6,
    )  # fmt: skip
    for end in (60, 2 * 86_400):
        console = Console(width=width, record=True, file=io.StringIO(), highlight=False)
        answer = LevelsAnswer(
            id="x", node="porch", from_=START, to=Instant(START + end * MICROSECONDS), step=60, levels=(step,)
        )  # fmt: skip
        print_listing(answer, console, utc=True)
        text = console.export_text()
        for number in ("22:00:00.000", "-42.1", "-20.2", "-40.3", "-42.5", "-50.6"):
            assert number in text
        assert "█" in text or width < 80
        if width == 80:
            assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [30, 80])
def test_a_narrow_terminal_keeps_the_numbers_of_sounds(width: int) -> None:
    sound = Sound(
        sound_id=f"{STREAM}-s5", from_=START, to=None, lafmax=-20.0, laeq=-30.0, unit="dBFS", state="pending",
        uncertain=True, chunk_id=f"{STREAM}-000000", where=None,
    )  # fmt: skip
    console = Console(width=width, record=True, file=io.StringIO(), highlight=False)
    answer = SoundsAnswer(id="x", node="porch", from_=START, to=Instant(START + 1), sounds=(sound,), archives={})
    print_listing(answer, console, utc=True)
    text = console.export_text()
    assert all(words in text for words in ("~22:00:00.000", "lasts", "-20.0 dBFS", "-30.0 dBFS", "pending"))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2026-03-28T12:00:00Z", "2026-03-28T13:00:00Z", "local, UTC+01:00"),
        ("2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z", "local, UTC+01:00, then UTC+02:00"),
        ("2026-10-24T22:00:00Z", "2026-10-25T12:00:00Z", "local, UTC+02:00, then UTC+01:00"),
    ],
)
def test_both_utc_offsets_are_shown_across_a_clock_change(
    start: str, end: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        first, last = Instant.parse(start), Instant.parse(end)
        assert show.zone(first, last) == expected
        assert show.zone(first, last, utc=True) == "UTC"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_table_names_archives_and_causes() -> None:
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


def test_tables_of_sounds_and_levels_fit_the_width() -> None:
    head: dict[str, Any] = {"id": "x", "node": "porch", "from_": START, "to": Instant(START + 60 * MICROSECONDS)}
    sound = Sound(
        sound_id=f"{STREAM}-s5", from_=START, to=None, lafmax=-20.0, laeq=-30.0, unit="dBFS", state="pending",
        uncertain=True, chunk_id=f"{STREAM}-000000", where=None,
    )  # fmt: skip
    step = LevelStep(
        from_=START, to=Instant(START + 60 * MICROSECONDS), seconds=60, unit="dBFS", laeq=-42.0, laeq_max=-30.0,
        lafmax=None, l10=-40.0, l50=-42.5, l90=-50.0,
    )  # fmt: skip
    console = Console(width=80, record=True, file=io.StringIO(), highlight=False)
    print_listing(SoundsAnswer(**head, sounds=(sound,), archives={}), console, utc=True)
    print_listing(SoundsAnswer(**head, sounds=(), archives={}), console, utc=True)
    print_listing(LevelsAnswer(**head, step=60, levels=(step,)), console, utc=True)
    print_listing(LevelsAnswer(**head, step=60, levels=()), console, utc=True)
    text = console.export_text()
    assert "~22:00:00.000   lasts  -20.0 dBFS  -30.0 dBFS  pending" in text
    assert "no sounds: none was as loud as [thresholds] sound_level" in text
    assert "1 sound " in text
    assert re.search(r"22:00:00\.000  -42\.0 +-  -40\.0  -42\.5  -50\.0", text)
    assert "no levels" in text
    assert all(len(line) <= 80 for line in text.splitlines())


# the screen


def snapshot(width: int = 80, problems: int = 0, folder: str = "/tmp/try") -> NodeSnapshot:
    return NodeSnapshot(
        version="0.1.0",
        node="porch",
        started=START,
        notes=[f"data      {folder}", "broker    Mosquitto on 127.0.0.1:1883", "archives  x", "realtime  y"],
        commands=[
            ["mosquitto_sub", "-h", "127.0.0.1", "-p", "1883", "-v", "-t", "imhearing/#"],
            ["imhearing", "query", "--data", folder, "--last", "10m"],
            ["imhearing", "fetch", "--data", folder, "--last", "1m", "-o", "last.flac"],
        ],
        problems=[f"10:00:00 problem {number} " + "x" * 100 for number in range(problems)],
        facts=LocalFacts(last_until=START, waiting=3, waiting_bytes=1_234_567, archived=2, archives=1),
        broker=None,
        running=["broker"],
        expected=["broker", "store", "realtime-server", "recorder", "archiver", "query-service"],
        free_bytes=80_900_000_000,
        ends_in=None,
    )


def filled_view() -> NodeView:
    view = NodeView()
    for event in every_event():
        view.apply(event)
    return view


def every_event() -> list[Event]:
    head: dict[str, Any] = {"at": START, "node": "porch"}
    return [
        RecorderStatus(**head, state="online", instance="x", version="0.1.0"),
        RecorderState(**head, state="recording", since=START, device="synthetic scene"),
        LevelMeasured(**head, laeq=-42.0, lafmax=-38.5, lcpeak=-20.0, unit="dBFS", calibrated=False),
        ChunkCompleted(
            **head, chunk_id=f"{STREAM}-000000", stream_id=STREAM, seq=0, first_frame=0, frames=96_000, rate=48_000,
            channels=1, format="flac", bytes=90_000, sha256="0" * 64, crc32=1, started_at=START, ended_at=START,
            uncertain=False, clock=ClockStamp("x", 48_000.0),
        ),
        SoundHeard(
            **head, event="started", sound_id=f"{STREAM}-s5", lafmax=-20.0, laeq=-30.0, unit="dBFS", started_at=START
        ),
        ArchiverState(
            **head, state="uploading", backlog_chunks=3, backlog_bytes=1_234_567, disk_hours_left=100.0,
            reason="the link\nis down", progress=Progress(ARCHIVE, 5, 10, 1.0),
        ),
        ArchiveChanged(
            **head, event="uploaded", archive_id=ARCHIVE, bucket="b", key="k", bytes=5, sha256=None, chunks=2,
            started_at=START, ended_at=START,
        ),
    ]  # fmt: skip


@given(
    st.integers(80, 200),
    st.integers(24, 60),
    st.integers(0, 9),
    st.sampled_from(["/tmp/try", "/a/" + "long-" * 12 + "folder"]),
)
def test_the_screen_fits_and_shows_what_matters(width: int, height: int, problems: int, folder: str) -> None:
    lines = draw(filled_view(), snapshot(problems=problems, folder=folder), Instant(START + 61_000_000), width, height)
    assert len(lines) <= height
    assert all(line.cell_len <= width for line in lines)
    text = "\n".join(line.plain for line in lines)
    for fragment in (
        "porch",
        "up 0:01:01",
        "synthetic",
        "NOT A MICROPHONE",
        "5 finished, last until",
        "3 waiting (1.2 MB)",
        "1 uploaded",
    ):
        assert fragment in text
    assert ("! 10:00:00 problem" in text) == (problems > 0)


def test_commands_on_the_screen_can_be_pasted() -> None:
    node = snapshot(folder="/a folder/" + "x" * 60)
    lines = draw(NodeView(), node, START, 80, 24)
    at = next(index for index, line in enumerate(lines) if "second terminal" in line.plain)
    pasted = "\n".join(line.plain for line in lines[at + 1 :]).replace("\\\n", " ")
    assert [shlex.split(line) for line in pasted.splitlines()] == [list(command) for command in node.commands]


@given(st.lists(st.text(st.characters(codec="ascii", min_codepoint=32), min_size=1, max_size=70), min_size=1))
def test_a_wrapped_command_is_the_same_command(words: list[str]) -> None:
    assert shlex.split("\n".join(pasteable(words, 40)).replace(" \\\n", " ")) == words


def test_an_outdated_level_is_not_shown() -> None:
    now = Instant(START + 60 * MICROSECONDS)
    assert not any("-42.0" in line.plain for line in draw(filled_view(), snapshot(), now, 80, 24))


@given(st.floats(-300, 300), st.sampled_from(["dBFS", "dBA"]), st.integers(0, 100))
def test_a_level_bar_never_exceeds_its_width(level: float, unit: str, width: int) -> None:
    assert len(show.level_bar(level, unit, width)) <= width


# events


@pytest.mark.parametrize("event", every_event())
def test_events_are_described_in_at_most_one_line(event: Event) -> None:
    text = describe(event)
    assert text is None or (text.isprintable() and text)


def test_an_input_hint_is_shown() -> None:
    well = RecorderState(at=START, node="porch", state="recording", since=START, device="USB Audio")
    faulty = msgspec.structs.replace(well, input_fault="silence", hint="is it muted?")
    view = NodeView()
    view.apply(every_event()[0])
    view.apply(well)
    assert "recording from USB Audio (is it muted?)" in (view.apply(faulty) or "")
    assert "input     is it muted?" in [line.plain for line in draw(view, snapshot(), START, 80, 24)]
    assert "is it muted?" not in (view.apply(well) or "is it muted?")


def test_control_characters_in_events_are_escaped() -> None:
    state = RecorderState(at=START, node="porch", state="no_device", since=START, reason="\x1b[2J\nforged")
    text = describe(state)
    assert text is not None
    assert text.isprintable()
    view = NodeView()
    view.apply(every_event()[0])
    view.apply(state)
    assert all(line.plain.isprintable() for line in draw(view, snapshot(), START, 80, 24))


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (1_234_567, "1.2 MB"), (8e10, "80.0 GB")]
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [(-33.9738, -35.0, "-34 dBFS (limit -35)"), (2_000_502.73, 500.0, "2000502.7 dBFS (limit 500)")],
)
def test_thresholds_are_shown_in_readable_numbers(value: float, limit: float, text: str) -> None:
    event = ThresholdCrossed(
        at=START, node="porch", event="exceeded", metric="sound_level", limit=limit, value=value, unit="dBFS"
    )
    assert describe(event) == f"sound_level exceeded: {text}"


@pytest.mark.parametrize(("number", "text"), [(0, "0 chunks"), (1, "1 chunk"), (2, "2 chunks")])
def test_counts(number: int, text: str) -> None:
    assert show.count(number, "chunk") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.250 s"), (12.34, "12.3 s"), (59.99, "1 min 00 s"), (303, "5 min 03 s"), (3_599.9, "1 h 00 min"),
     (7_500, "2 h 05 min"), (86_400 * 3 + 4 * 3_600, "3 d 4 h")],
)  # fmt: skip
def test_lengths(seconds: float, text: str) -> None:
    assert show.length(round(seconds * MICROSECONDS)) == text


def test_the_first_and_last_times_can_be_formatted() -> None:
    for moment in (Instant.parse("0001-01-01T00:00:00Z"), Instant.parse("9999-12-31T23:59:59Z")):
        assert show.full(moment)
        assert show.zone(moment, moment)
