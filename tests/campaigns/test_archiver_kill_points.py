"""A few kill points of the campaign in archiver_kill_points.py, one of each kind."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.campaigns.archiver_kill_points import SCENES, Point, survive

WHOLE, PARTS, FORGET = SCENES
# the plan's commit, the upload's requests, the commit of what is uploaded, the removal of chunks
POINTS = [
    Point(WHOLE, "fdatasync", 14),
    Point(WHOLE, "pwrite64", 120),
    Point(WHOLE, "unlink", 18),
    Point(PARTS, "sendto", 4),
    Point(PARTS, "unlink", 16),
    # an archive is rewritten; the one before is deleted
    Point(FORGET, "sendto", 6),
    Point(FORGET, "fdatasync", 24),
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
def test_killed_there_nothing_is_lost_or_doubled(point: Point) -> None:
    assert survive(point) == "killed"
