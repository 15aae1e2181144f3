"""`pause` and `resume` on the node itself: the last line says what the recorder did, or will do."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from commands import control
from commands.cli.parser import build_parser
from edge.configuration.schedule import parse
from edge.core.errors import ImHearingError
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import RecorderMode, SpoolState
from edge.embedded import ports
from edge.recorder.pause import ScheduleWatch
from edge.spool.spool import Spool
from tests.support.spool.chunks import BOOT, START
from tests.support.wait import wait_until


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Of a node that was ended."""
    spool = Spool(tmp_path / "spool", "porch")
    spool.create()
    spool.state.write(SpoolState(state="stopped", since=START, boot_id=BOOT, ordinal=1))
    return spool


def order(spool: Spool, *words: str, broker: bool = True) -> None:
    sets = ["node.name=porch"]
    if broker:  # one that is not there
        sets += ["mqtt.host=127.0.0.1", f"mqtt.port={ports.choose(None)}"]
    options = [word for one in sets for word in ("--set", one)]
    args = build_parser().parse_args([*words, "--data", str(spool.path.parent), *options])
    assert {"pause": control.pause, "resume": control.resume}[words[0]](args) == 0


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("broker", [True, False])
def test_resume_reports_that_a_stopped_recorder_is_not_running(
    spool: Spool, capsys: pytest.CaptureFixture[str], broker: bool
) -> None:
    spool.pause.order(None, KernelClock())
    order(spool, "resume", broker=broker)
    assert last_line(capsys) == "the recorder does not run; when it starts again, it records"
    assert spool.pause.read() is None


def test_pause_reports_that_a_stopped_recorder_is_not_running(spool: Spool, capsys: pytest.CaptureFixture[str]) -> None:
    order(spool, "pause", "5m", broker=False)
    pattern = (
        r"the recorder does not run; if it starts before (\d{4}-\d\d-\d\d )?(\d\d:){2}\d\d, it is paused until then"
    )
    assert re.fullmatch(pattern, last_line(capsys))
    order(spool, "pause", broker=False)
    assert last_line(capsys) == "the recorder does not run; when it starts again, it is paused until `imhearing resume`"
    assert spool.pause.read() is not None


@contextlib.contextmanager
def recorder(spool: Spool, otherwise: RecorderMode = "recording", schedule: Instant | None = None) -> Iterator[None]:
    """Notes what a recorder does: it is paused by order, then until `schedule`, and `otherwise` in that mode."""
    ended = threading.Event()

    def run() -> None:
        state = SpoolState(state="stopped", since=START, boot_id=BOOT, ordinal=1)
        with spool.recorder_lock.hold():
            while not ended.wait(0.01):
                order = spool.pause.read()
                until = schedule if order is None else order.until
                mode: RecorderMode = otherwise if order is None and schedule is None else "paused"
                if (mode, until) != (state.state, state.until):
                    state = replace(state, state=mode, until=until)
                    spool.state.write(state)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(spool.recorder_lock.is_held, "it runs")
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("broker", [True, False])
def test_a_running_recorder_obeys_pause_and_resume_without_a_broker(
    spool: Spool, capsys: pytest.CaptureFixture[str], broker: bool
) -> None:
    with recorder(spool):
        order(spool, "pause", "5m", broker=broker)
        assert last_line(capsys).startswith("paused until ")
        order(spool, "resume", broker=broker)
        assert last_line(capsys) == "recording goes on"
    order(spool, "resume", broker=broker)  # it was killed and could not say so
    assert last_line(capsys).startswith("the recorder does not run")


@pytest.mark.parametrize("words", [("pause", "5m"), ("resume",)])
def test_a_recorder_that_does_not_react_is_not_said_to_have_obeyed(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(control, "_REACTION_SECONDS", 0.1)
    before = spool.state.read()
    assert before is not None
    spool.state.write(replace(before, state="recording" if words[0] == "pause" else "paused"))
    with spool.recorder_lock.hold(), pytest.raises(ImHearingError, match="has not reacted"):
        order(spool, *words)


def test_a_pause_without_a_microphone_is_not_said_to_end_a_recording(
    spool: Spool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits up to half a minute for the microphone before it looks for an order."""
    monkeypatch.setattr(control, "_REACTION_SECONDS", 0.1)
    spool.state.write(SpoolState(state="no_device", since=START, boot_id=BOOT, ordinal=1))
    with spool.recorder_lock.hold():
        order(spool, "pause", "5m")
    assert re.fullmatch(r"not recording: no microphone; paused until .* as well", last_line(capsys))


def test_a_recorder_without_a_readable_state_is_reported_as_not_running(
    spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    (spool.path / "state.json").write_text("{")
    order(spool, "resume", broker=False)
    assert last_line(capsys).startswith("the recorder does not run")
    (spool.path / "state.json").unlink()
    order(spool, "resume", broker=False)
    assert last_line(capsys).startswith("the recorder does not run")


WORDS = r"paused until (\d{4}-\d\d-\d\d )?\d\d:00:00 \(the schedule says so\)"


def not_now() -> tuple[str, str]:
    """A schedule that records for a minute in about twelve hours."""
    hour = (time.localtime().tm_hour + 12) % 24
    return ("--set", f"recorder.schedule={hour:02}:00-{hour:02}:01")


@pytest.mark.parametrize("broker", [True, False])
def test_a_resumed_node_that_its_schedule_pauses_is_not_said_to_record(
    spool: Spool, capsys: pytest.CaptureFixture[str], broker: bool
) -> None:
    order(spool, "resume", *not_now(), broker=broker)
    assert re.fullmatch(f"the recorder does not run; when it starts again, it is {WORDS}", last_line(capsys))
    scheduled = ScheduleWatch(parse(not_now()[1].partition("=")[2]), KernelClock()).active()
    assert scheduled is not None
    with recorder(spool, schedule=scheduled.until):
        order(spool, "resume", *not_now(), broker=broker)
        assert re.fullmatch(f"not recording: {WORDS}", last_line(capsys))
        order(spool, "resume", "--json", *not_now(), broker=broker)
        assert json.loads(capsys.readouterr().out)["state"] == "paused"


def test_a_resumed_node_without_a_microphone_is_not_said_to_record(
    spool: Spool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_REACTION_SECONDS", 0.5)
    with recorder(spool, "no_device"):
        order(spool, "resume", broker=False)
        assert last_line(capsys) == "not recording: no microphone"
    order(spool, "resume", broker=False)
    assert last_line(capsys) == "the recorder does not run; when it starts again, it records"


def test_a_pause_that_ends_on_another_day_is_shown_with_its_date(
    spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    with recorder(spool):
        order(spool, "pause", "30h", broker=False)
        assert re.fullmatch(r"paused until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", last_line(capsys))


def test_json_output_of_pause_and_resume_does_not_depend_on_the_recorder(
    spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    order(spool, "resume", "--json", broker=False)
    assert capsys.readouterr().out == "{}\n"
    order(spool, "pause", "5m", "--json", broker=False)
    assert Instant.parse(json.loads(capsys.readouterr().out)["until"])
