"""A missing data folder is refused with a clear message, and not created."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.wait import DEADLINE

SPAN = ("--from", "2026-03-03T22:00:00Z", "--to", "2026-03-03T22:10:00Z")


def imhearing(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder / "home")}
    return subprocess.run(
        [sys.executable, "-m", "imhearing", *words], capture_output=True, text=True, timeout=DEADLINE, check=False,
        stdin=subprocess.DEVNULL, env=environ,
    )  # fmt: skip


@pytest.mark.parametrize(
    "words", [("hold",), ("hold", *SPAN), ("hold", *SPAN, "--release"), ("forget", *SPAN, "--yes")]
)
def test_hold_and_forget_fail_without_a_node(tmp_path: Path, words: tuple[str, ...]) -> None:
    nope = tmp_path / "nope"
    done = imhearing(tmp_path, *words, "--data", str(nope))
    assert done.returncode == 1
    assert done.stderr == (
        f"imhearing: no recordings in {nope} yet (spool does not exist); start `imhearing up`, or set the node's"
        " folder with --data\n"
    )
    assert done.stdout == ""
    assert not nope.exists()


def test_doctor_reports_a_missing_node(tmp_path: Path) -> None:
    nope = tmp_path / "nope"
    done = imhearing(tmp_path, "doctor", "--json", "--data", str(nope))
    assert done.returncode == 1
    output = json.loads(done.stdout)
    assert output["ok"] is False
    [finding] = output["findings"]
    assert (finding["check"], finding["state"]) == ("files.data", "fault")
    assert finding["message"] == f"{nope} does not exist: no node has recorded there yet"
    assert finding["remedy"] == f"imhearing up --data {nope}  # or set the node's folder with --data"
    assert not nope.exists()
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_failed_rebuild_without_a_catalog_does_not_claim_it_is_unchanged(tmp_path: Path) -> None:
    done = imhearing(tmp_path, "catalog", "rebuild", "--data", str(tmp_path / "nope"))
    assert done.returncode == 1
    assert "no spool found" in done.stderr
    assert "unchanged" not in done.stderr
