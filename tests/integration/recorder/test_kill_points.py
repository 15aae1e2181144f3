"""A short version of tests/campaigns/recorder_kill_points.py."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("audio_format", ["flac", "wav"])
def test_a_recorder_killed_at_various_system_calls_loses_nothing_written(audio_format: str) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.campaigns.recorder_kill_points",
            "--points", "24", "--seconds", "3.3", "--format", audio_format,
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
