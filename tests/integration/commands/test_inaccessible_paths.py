"""A folder or file that may not be read or written: every command says which one, in one line and without a trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.cli.help_texts import COMMANDS
from tests.support.wait import DEADLINE

RANGE = ("--last", "1m")
ARGUMENTS = {  # of each command; no others can fail on a path
    "up": ("--for", "1"), "recorder": (), "archiver": (), "query-service": (), "realtime-server": (),
    "query": RANGE, "fetch": (*RANGE, "-o", "out.wav"), "play": RANGE, "watch": (), "status": (), "devices": (),
    "doctor": ("--json",), "calibrate": ("--seconds", "1"), "configure": ("node.name=porch",), "pause": (),
    "resume": (), "rotate": (), "archive": (), "unannounce": (), "token": ("--client", "ann"), "page": ("link",),
    "catalog": ("verify",), "hold": RANGE, "adopt": (),
    "forget": (*RANGE, "--yes"), "make-bucket": (), "broker-setup": ("--into", "broker"),
}  # fmt: skip


@pytest.fixture
def forbidden() -> Iterator[Path]:
    """A folder that belongs to somebody else; root is tried without its right to read what others own."""
    with tempfile.TemporaryDirectory(prefix="imhearing-forbidden-") as name:
        folder = Path(name) / "theirs"
        folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(folder, 65_534, 65_534)
        else:
            folder.chmod(0)
        yield folder
        folder.chmod(0o700)


def imhearing(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    rights = "-dac_override,-dac_read_search"
    powerless = ["setpriv", f"--bounding-set={rights}", "--inh-caps=-all"] if os.geteuid() == 0 else []
    return subprocess.run(
        [*powerless, sys.executable, "-m", "imhearing", *words], capture_output=True, text=True, timeout=DEADLINE,
        check=False, stdin=subprocess.DEVNULL, cwd=cwd,
    )  # fmt: skip


def test_every_command_is_tried() -> None:
    assert {command.name for command in COMMANDS} == set(ARGUMENTS)


@pytest.mark.parametrize("command", ARGUMENTS)
def test_a_data_folder_of_somebody_else_is_named(command: str, forbidden: Path, tmp_path: Path) -> None:
    data = forbidden / "node"
    done = imhearing(command, *ARGUMENTS[command], "--data", str(data), cwd=tmp_path)
    assert done.returncode in (1, 78), done
    if command == "doctor":
        [finding] = json.loads(done.stdout)["findings"]
        assert finding["state"] == "fault"
        assert f"{data}/config.ini: cannot be read (Permission denied)" in finding["message"]
        assert finding["remedy"].startswith(f"namei -l {data}/config.ini")
        return
    assert done.stderr.startswith(f"imhearing: {data}/config.ini: cannot be read (Permission denied); "), done.stderr
    assert "use another folder with --data" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("command", "setting"),
    [
        ("query", "recorder.record_path"), ("query", "catalog.db_path"), ("status", "recorder.record_path"),
        ("hold", "catalog.db_path"), ("forget", "catalog.db_path"), ("catalog", "recorder.record_path"),
        ("pause", "recorder.record_path"), ("resume", "recorder.record_path"),
        ("recorder", "recorder.record_path"), ("recorder", "catalog.db_path"), ("recorder", "log.log_file"),
        ("archiver", "recorder.record_path"), ("archiver", "catalog.db_path"),
        ("up", "log.log_file"),
    ],
)  # fmt: skip
def test_a_file_of_somebody_else_in_the_settings_is_named(
    command: str, setting: str, forbidden: Path, tmp_path: Path
) -> None:
    (tmp_path / "spool").mkdir()
    path = forbidden / "of-node"
    arguments = ("--for", "30") if command == "up" else ARGUMENTS[command]  # it ends earlier, by itself
    done = imhearing(
        command, *arguments, "--data", str(tmp_path), "--set", f"{setting}={path}", "--set",
        "recorder.source=synthetic", "--set", "http.port=0", cwd=tmp_path,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert "internal error" not in done.stderr
    assert done.returncode != 0
    assert str(forbidden) in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("fetch", *RANGE, "-o", "{}/out.wav"), ("fetch", *RANGE, "--export", "{}/out"),
        ("fetch", *RANGE, "-o", "out.wav", "--identity", "{}/key"),
        ("broker-setup", "--into", "{}/broker"),
        ("broker-setup", "--into", "broker", "--cert", "{}/a", "--key", "{}/b", "--ca", "{}/c"),
        ("configure", "node.name=porch", "--config", "{}/config.ini"), ("status", "--config", "{}/config.ini"),
        ("up", "--for", "1", "--config", "{}/config.ini"),
        ("up", "--for", "1", "--set", "recorder.source={}/sound.wav"),
    ],
    ids=lambda words: " ".join(words).replace("{}/", ""),
)  # fmt: skip
def test_a_path_of_somebody_else_on_the_command_line_is_named(
    words: tuple[str, ...], forbidden: Path, tmp_path: Path
) -> None:
    (tmp_path / "spool").mkdir()
    done = imhearing(*(word.format(forbidden) for word in words), "--data", str(tmp_path), cwd=tmp_path)
    assert "Traceback" not in done.stderr, done.stderr
    assert "internal error" not in done.stderr
    assert done.returncode in (1, 2, 78)
    assert str(forbidden) in done.stderr


@pytest.mark.parametrize("command", ["up", "recorder", "configure", "hold", "pause"])
def test_a_folder_that_cannot_be_written_is_named(command: str, forbidden: Path, tmp_path: Path) -> None:
    forbidden.chmod(0o755 if os.geteuid() == 0 else 0o500)
    done = imhearing(
        command, *ARGUMENTS[command], "--data", str(forbidden), "--set", f"recorder.record_path={tmp_path}",
        "--set", "recorder.source=synthetic", cwd=tmp_path,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert "internal error" not in done.stderr
    if command != "pause":  # which writes into the spool alone
        assert done.returncode == 1
        assert str(forbidden) in done.stderr


@pytest.mark.parametrize("name", ["two\nlines", os.fsdecode(b"not-utf8-\xff")])
def test_a_data_folder_that_no_file_can_name_is_refused(name: str, tmp_path: Path) -> None:
    done = imhearing("up", "--for", "1", "--data", str(tmp_path / name), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("imhearing: --data '")
    assert done.stderr.count("\n") == 1


def test_a_file_in_place_of_the_data_folder_is_named(tmp_path: Path) -> None:
    data = tmp_path / "node"
    data.write_text("")
    done = imhearing("up", "--for", "1", "--data", str(data), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"imhearing: {data}: cannot be used as the data folder (")


@pytest.mark.parametrize("command", ["up", "recorder", "configure", "status"])
def test_a_loop_of_links_is_not_blamed_on_permissions(command: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    done = imhearing(command, *ARGUMENTS[command], "--data", str(tmp_path / "loop" / "node"), cwd=tmp_path)
    assert done.returncode != 0
    assert "Too many levels of symbolic links" in done.stderr
    assert "permissions" not in done.stderr
