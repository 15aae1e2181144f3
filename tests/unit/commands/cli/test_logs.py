"""Any log event is one line, and all processes share one log file."""

from __future__ import annotations

import logging
import multiprocessing
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.cli import logs
from commands.up.log_watch import LogWatch
from edge.configuration.settings import Log, Secret
from edge.core.errors import ConfigError
from tests.support.wait import DEADLINE

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) recorder: .*")


def record(text: str, *arguments: object, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("x", level, "x.py", 1, text, arguments, None)


@given(st.text())
def test_any_text_is_logged_as_one_printable_line(text: str) -> None:
    line = logs.LineFormatter("recorder").format(record("%s", text))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert LINE.fullmatch(line)


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR])
def test_journald_gets_a_priority_and_no_timestamp(level: int) -> None:
    line = logs.JournalFormatter(logs.TextFormatter()).format(record("a\nb", level=level))
    assert re.fullmatch(r"<[3-7]>a\\nb", line)


def test_traceback_lines_are_indented_so_none_looks_like_an_event() -> None:
    try:
        raise ValueError("x\n2026-01-01T00:00:00.000Z ERROR recorder: forged")
    except ValueError:
        event = record("failed")
        event.exc_info = sys.exc_info()
    first, *rest = logs.LineFormatter("recorder").format(event).splitlines()
    assert LINE.fullmatch(first)
    assert rest
    assert all(line.startswith("  ") for line in rest)


def test_secrets_are_masked_in_logs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    logs.set_up(Log(level="debug"), "recorder")
    logging.getLogger("x").info("%s %r %s", Secret("hidden"), Secret("hidden"), {"key": Secret("hidden")})
    logging.getLogger("ably.auth").info("key: hidden")
    output = capsys.readouterr().err
    assert "***" in output
    assert "hidden" not in output


def test_the_configured_level_applies(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    logs.set_up(Log(log_file=str(tmp_path / "deep" / "x.log"), level="warning"), "recorder")
    logging.getLogger("x").info("quiet")
    logging.getLogger("x").warning("loud")
    assert "quiet" not in capsys.readouterr().err
    assert (tmp_path / "deep" / "x.log").read_text().endswith("WARNING recorder: loud\n")


def test_an_unwritable_log_file_is_a_configuration_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"\[log\] log_file = .*cannot be written"):
        logs.set_up(Log(log_file=str(tmp_path / "file" / "x.log")), "recorder")


def _write_lines(path: Path, name: str, count: int) -> None:
    handler = logs.SharedRotatingFileHandler(path, maxBytes=10_000, backupCount=100)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for number in range(count):
        handler.emit(record("%s %d", name, number))
    handler.close()


def test_processes_share_a_rotating_file_without_losing_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_lines, args=(path, name, 1_000)) for name in ("a", "b", "c")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(DEADLINE)
        assert writer.exitcode == 0
    files = list(tmp_path.glob("x.log*"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert sorted(lines) == sorted(f"{name} {number}" for name in ("a", "b", "c") for number in range(1_000))
    assert all(file.stat().st_size < 11_000 for file in files)


def test_lines_go_to_the_new_file_after_another_process_rotated_it(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    one, other = (logs.SharedRotatingFileHandler(path, maxBytes=1_000, backupCount=3) for _ in range(2))
    other.emit(record("before"))
    one.doRollover()
    other.emit(record("after"))
    one.close()
    other.close()
    assert path.read_text() == "after\n"
    assert path.with_name("x.log.1").read_text() == "before\n"


def test_problems_in_child_logs_are_found(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "recorder.log", tmp_path / "broker.log"
    ours.write_text("2026-01-01T00:00:00.000Z ERROR recorder: long ago\n")
    watch = LogWatch({"recorder": ours, "broker": theirs})
    assert list(watch.problems()) == []
    with ours.open("a") as log:
        log.write("2026-01-01T00:00:00.000Z INFO recorder: fine, no ERROR here\n")
        log.write("2026-01-01T00:00:00.000Z WARNING recorder: the disk is slow\n  Traceback ERROR\n")
        log.write("2026-01-01T00:00:00.000Z ERROR recorder: half a li")
    theirs.write_text("1763806706: Error: Address already in use\n2026/11/22 10:00:16 NOTICE: Failed to serve\n")
    assert list(watch.problems()) == [
        "recorder: the disk is slow",
        "broker: Error: Address already in use",
        "broker: NOTICE: Failed to serve",
    ]
    with ours.open("a") as log:
        log.write("ne\x1b[2J\n")
    assert list(watch.problems()) == ["recorder: half a line\\x1b[2J"]
    ours.write_text("2026-01-01T00:00:00.000Z ERROR recorder: after a trim\n")
    assert list(watch.problems()) == ["recorder: after a trim"]


def test_rclones_complaint_about_a_folder_in_use_is_ignored(tmp_path: Path) -> None:
    log = tmp_path / "store.log"
    watch = LogWatch({"store": log})
    log.write_text(
        "2026/11/22 10:00:16 ERROR : imhearing/imhearing/vm/: Dir.Remove not empty\n"
        "2026/11/22 10:00:16 ERROR : imhearing/imhearing/vm/: Dir.Remove failed to remove directory: not permitted\n"
        "2026/11/22 10:00:17 ERROR : imhearing/imhearing/vm/x.zip: File.Remove not empty\n"
    )
    assert list(watch.problems()) == [
        "store: ERROR : imhearing/imhearing/vm/: Dir.Remove failed to remove directory: not permitted",
        "store: ERROR : imhearing/imhearing/vm/x.zip: File.Remove not empty",
    ]
