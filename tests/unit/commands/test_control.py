"""`pause` and `resume` without a reachable recorder: the last line says what will really happen."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from commands import control
from commands.cli.parser import build_parser
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import SpoolState
from edge.embedded import ports
from edge.spool.spool import Spool
from tests.support.spool.chunks import BOOT, START


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


@pytest.mark.parametrize("state", ["recording", "paused"])
def test_a_running_recorder_obeys_pause_and_resume_without_a_broker(
    spool: Spool, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    before = spool.state.read()
    assert before is not None
    spool.state.write(replace(before, state=state))
    with spool.recorder_lock.hold():
        order(spool, "pause", "5m", broker=False)
        assert last_line(capsys).startswith("paused until ")
        order(spool, "resume", broker=False)
        assert last_line(capsys) == "recording goes on"
    order(spool, "resume", broker=False)  # it was killed and could not say so
    assert last_line(capsys).startswith("the recorder does not run")


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
    with spool.recorder_lock.hold():
        order(spool, "resume", *not_now(), broker=broker)
        assert re.fullmatch(f"not recording: {WORDS}", last_line(capsys))
        order(spool, "resume", "--json", *not_now(), broker=broker)
        assert json.loads(capsys.readouterr().out)["state"] == "paused"


def test_a_resumed_node_without_a_microphone_is_not_said_to_record(
    spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    spool.state.write(SpoolState(state="no_device", since=START, boot_id=BOOT, ordinal=1))
    with spool.recorder_lock.hold():
        order(spool, "resume", broker=False)
        assert last_line(capsys) == "not recording: no microphone"
    order(spool, "resume", broker=False)
    assert last_line(capsys) == "the recorder does not run; when it starts again, it records"


def test_a_pause_that_ends_on_another_day_is_shown_with_its_date(
    spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    with spool.recorder_lock.hold():
        order(spool, "pause", "30h", broker=False)
        assert re.fullmatch(r"paused until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", last_line(capsys))


def test_json_output_of_pause_and_resume_does_not_depend_on_the_recorder(
    spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    order(spool, "resume", "--json", broker=False)
    assert capsys.readouterr().out == "{}\n"
    order(spool, "pause", "5m", "--json", broker=False)
    assert Instant.parse(json.loads(capsys.readouterr().out)["until"])
