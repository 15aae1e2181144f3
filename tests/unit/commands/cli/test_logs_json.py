"""JSON logging: one object per line for any text, and `up` still finds the problems in them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.cli import logs
from commands.up.log_watch import LogWatch
from edge.configuration.settings import Log, Secret


def record(text: str, *arguments: object, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("edge.x", level, "x.py", 1, text, arguments, None)


@given(st.text())
def test_any_text_survives_as_one_json_line(text: str) -> None:
    line = logs.JsonFormatter("recorder").format(record("%s", text))
    assert line.isascii()
    assert line.isprintable()
    entry = json.loads(line)
    assert (entry["message"], entry["level"], entry["service"], entry["logger"]) == (text, "INFO", "recorder", "edge.x")


def test_a_traceback_is_logged_as_a_field(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    logs.set_up(Log(format="json"), "archiver")
    try:
        raise ValueError("x\ny")
    except ValueError:
        logging.getLogger("edge.y").exception("failed with %s", Secret("hidden"))
    [line] = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert entry["message"] == "failed with ***"
    assert "ValueError: x\ny" in entry["trace"]


def test_journald_priority_precedes_the_json_object(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    logs.set_up(Log(format="json"), "recorder")
    logging.getLogger("x").warning("careful")
    line = capsys.readouterr().err
    assert line.startswith('<4>{"at":"')
    assert json.loads(line[3:])["message"] == "careful"


def test_the_log_file_contains_json_objects_too(tmp_path: Path) -> None:
    logs.set_up(Log(log_file=str(tmp_path / "x.log"), format="json"), "recorder")
    logging.getLogger("x").warning("a")
    for handler in logging.getLogger().handlers:
        handler.flush()
    assert [json.loads(line)["message"] for line in (tmp_path / "x.log").read_text().splitlines()] == ["a"]


def test_problems_in_json_logs_are_found(tmp_path: Path) -> None:
    path = tmp_path / "recorder.log"
    watch = LogWatch({"recorder": path})
    lines = [record("fine"), record('the "disk" is slow', level=logging.WARNING), record("broken", level=logging.ERROR)]
    path.write_text("".join(logs.JsonFormatter("recorder").format(line) + "\n" for line in lines))
    assert list(watch.problems()) == ['recorder: the \\"disk\\" is slow', "recorder: broken"]
