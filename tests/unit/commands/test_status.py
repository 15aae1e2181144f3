"""`imhearing status` as people read it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from commands.show.node_view import NodeView
from commands.status import print_report, reason_of
from edge.core.instant import Instant
from edge.messaging.events import RecorderState, RecorderStatus
from query_service.queries.status import Backlog, RecorderReport, StatusAnswer
from tests.unit.commands.samples import ESCAPES


def a_status(recorder: RecorderReport, version: str = "1") -> StatusAnswer:
    return StatusAnswer(
        id="x",
        node="porch",
        at=Instant(0),
        version=version,
        uptime=1.0,
        recorder=recorder,
        spool=Backlog(0, 0, 0),
        disk_free=1,
        last_chunk=None,
        clock=None,
        catalog="ready",
    )


NOON = Instant.parse("2026-03-03T12:00:00Z")
RECORDER_REPORT = RecorderReport(
    state="paused", since=NOON, alive=True, stream_id=None, device=None, rate=None, channels=None
)


@pytest.mark.parametrize(
    ("until", "words"),
    [
        (None, "paused since 2026-03-03 12:00:00"),
        (Instant(NOON + 1_800_000_000), "paused since 2026-03-03 12:00:00 until 12:30:00"),
        (Instant(NOON + 86_400_000_000), "paused since 2026-03-03 12:00:00 until 2026-03-04 12:00:00"),
    ],
)
def test_status_shows_when_a_pause_ends(until: Instant | None, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_report(a_status(replace(RECORDER_REPORT, until=until)), utc=True)
    assert capsys.readouterr().out.splitlines()[1] == f"recorder  {words}"


def test_status_shows_why_the_recorder_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    """Its process may run on: a file that was played to its end is not played again."""
    report = a_status(replace(RECORDER_REPORT, state="stopped", alive=False))
    print_report(report, utc=True, reason="the file has been\x1b[2J played")
    output = capsys.readouterr().out.splitlines()[1]
    assert output == r"recorder  stopped since 2026-03-03 12:00:00: the file has been\x1b[2J played"


def test_status_distinguishes_a_vanished_recorder_from_a_stopped_one(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(a_status(replace(RECORDER_REPORT, state="recording", alive=False)), utc=True)
    assert "not running (last: recording)" in capsys.readouterr().out


def view_from_broker(state: str, online: str = "online") -> NodeView:
    view = NodeView()
    view.apply(RecorderStatus(at=NOON, node="porch", state=online, instance="x", version="1"))  # type: ignore[arg-type]
    view.apply(
        RecorderState(at=NOON, node="porch", state=state, since=NOON, reason="it ended")  # type: ignore[arg-type]
    )
    return view


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (None, None),
        (view_from_broker("stopped"), "it ended"),
        (view_from_broker("recording"), None),
        (view_from_broker("stopped", "offline"), None),
    ],
)
def test_the_reason_is_shown_only_if_broker_and_spool_agree(view: NodeView | None, reason: str | None) -> None:
    assert reason_of(a_status(replace(RECORDER_REPORT, state="stopped", alive=False)), view) == reason


def test_control_characters_in_a_status_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    harmful = RecorderReport(
        state="recording", since=None, alive=True, stream_id=None, device=ESCAPES, rate=1, channels=1
    )
    print_report(a_status(harmful, f"1{ESCAPES}\n2"), utc=True)
    lines = capsys.readouterr().out.split("\n")
    assert all(line.isprintable() for line in lines)
    assert lines[0].startswith("node      porch 1\\x1b]0;owned")


def test_status_says_when_the_node_cannot_read_its_spool(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(replace(a_status(RECORDER_REPORT), spool=None, incomplete="spool"), utc=True)
    assert "waiting   unknown: the node cannot read its spool" in capsys.readouterr().out


@pytest.mark.parametrize(("listeners", "shown"), [(None, False), (0, False), (2, True)])
def test_status_shows_that_somebody_listens(
    listeners: int | None, shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    print_report(replace(a_status(RECORDER_REPORT), listeners=listeners), utc=True)
    assert ("live      2 listeners" in capsys.readouterr().out.splitlines()) == shown
