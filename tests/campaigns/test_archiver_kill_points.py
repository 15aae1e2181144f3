"""A few kill points of the campaign in archiver_kill_points.py, one of each kind."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.campaigns.archiver_kill_points import SCENES, KillPoint, survive

WHOLE, PARTS, FORGET = SCENES
# the plan's commit, the upload's requests, the commit of what is uploaded, the removal of chunks
POINTS = [
    KillPoint(WHOLE, "fdatasync", 14),
    KillPoint(WHOLE, "pwrite64", 120),
    KillPoint(WHOLE, "unlink", 18),
    KillPoint(PARTS, "sendto", 4),
    KillPoint(PARTS, "unlink", 16),
    # an archive is rewritten; the one before is deleted
    KillPoint(FORGET, "sendto", 6),
    KillPoint(FORGET, "fdatasync", 24),
]


def _can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.slow
@pytest.mark.skipif(not _can_trace(), reason="strace is not installed or may not trace")
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_an_archiver_killed_at_this_point_loses_and_duplicates_nothing(point: KillPoint) -> None:
    assert survive(point) == "killed"
