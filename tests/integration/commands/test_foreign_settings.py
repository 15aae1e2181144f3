"""A data folder opened without its own settings: nothing is recorded in clear, or under another name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.recording.recorder_process import running_recorder
from tests.support.wait import DEADLINE, wait_until

KEY = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
ALONE = ("recorder.source=synthetic", "mqtt.host=127.0.0.1", "mqtt.port=1")


def imhearing(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "imhearing", *words], capture_output=True, text=True, timeout=DEADLINE, check=False
    )


def record_encrypted(data: Path) -> None:
    with running_recorder(data, *ALONE, f"recorder.recipients={KEY}", "recorder.record_period=1") as recorder:
        wait_until(lambda: recorder.spool.path.exists() and recorder.spool.chunks.finished(), "a chunk is finished")
        assert recorder.end() == 0


def test_up_without_the_config_file_refuses_an_encrypted_folder_and_changes_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    record_encrypted(data)
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    done = imhearing("up", "--data", str(data), "--set", "recorder.source=synthetic", "--set", "node.name=other")
    assert done.returncode == 78
    assert "belongs to node porch, but the settings say other" in done.stderr
    assert "[recorder] recipients is empty" in done.stderr
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


def test_the_recorder_alone_refuses_it_too_until_the_printed_command_was_run(tmp_path: Path) -> None:
    data = tmp_path / "data"
    record_encrypted(data)
    with running_recorder(data, *ALONE) as recorder:
        assert recorder.process.wait(DEADLINE) == 78
        printed = re.search(r"first run: imhearing (.*)", recorder.log)
    assert printed is not None
    done = imhearing(*printed[1].split(), "--set", "node.name=porch")
    assert done.returncode == 0, done.stderr
    with running_recorder(data, *ALONE) as recorder:
        recorder.wait_until_recording()
        assert recorder.end() == 0
