"""The recorder as a process whose wall clock is set while it records (libfaketime)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from edge.archiver.intake import Intake
from edge.catalog import Catalog
from edge.configuration import loader as config
from edge.core.files import write_atomically
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.spool.spool import Spool
from tests.support.recording.recorder_process import running_recorder
from tests.support.spool.recorded import chunks_of, holes_of, streams_of
from tests.support.wait import wait_until

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
OPTIONS = ("recorder.source=synthetic", "recorder.record_period=1", "mqtt.host=127.0.0.1", "mqtt.port=1")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime (Debian: faketime)"),
    pytest.mark.skipif(KernelClock().synchronised(), reason="this kernel's clock is synchronised"),
]


def grows(spool: Spool, by: int) -> None:
    wanted = len(spool.chunks.finished()) + by if spool.path.exists() else by
    wait_until(lambda: spool.path.exists() and len(spool.chunks.finished()) >= wanted, f"{by} more chunks")


@pytest.mark.parametrize("seconds", [3 * 3600, -2 * 86_400])
def test_setting_the_clock_moves_all_recordings_of_the_boot(tmp_path: Path, seconds: int) -> None:
    setting = tmp_path / "faketime"
    setting.write_text("+0")
    environment = {
        "LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(setting), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "TZ": "Europe/Berlin",
    }  # fmt: skip
    began = Instant.from_seconds(time.time())
    with running_recorder(tmp_path / "data", *OPTIONS, environment=environment) as recorder:
        spool = recorder.spool
        grows(spool, 2)
        write_atomically(setting, f"{seconds:+d}".encode())  # reading half of it, libfaketime ends the process
        wait_until(lambda: "the clock was set" in recorder.log, "the step is noticed")
        grows(spool, 3)
        assert recorder.end() == 0
    ended = Instant.from_seconds(time.time())
    [stream] = streams_of(spool)
    assert holes_of(spool) == []
    assert abs(stream.shift - seconds * 1_000_000) < 100_000
    assert stream.uncertain
    chunks = chunks_of(spool, stream.stream_id)  # which join, by time and by frame
    assert all(after.ended_at > before.ended_at for before, after in pairwise(chunks))
    real = [(at + stream.shift) / 1e6 - seconds for at in (chunks[0].started_at, chunks[-1].ended_at)]
    assert began / 1e6 - 1 < real[0] < real[1] < ended / 1e6 + 1
    assert abs(stream.knots[-1][1] - chunks[-1].ended_at - stream.shift) <= 1
    hour, ahead = 3_600_000_000, seconds * 1_000_000
    span = Instant(began + ahead - hour), Instant(ended + ahead + hour)
    intervals = _query(tmp_path / "data", str(span[0]), str(span[1]), environment)["intervals"]
    _is_where_the_clock_says_now(intervals, [at + seconds for at in real])


def _is_where_the_clock_says_now(intervals: list[dict[str, Any]], heard: list[float]) -> None:
    assert [one["state"] for one in intervals] == ["gap", *["pending"] * (len(intervals) - 3), "gap", "future"]
    assert all(one["uncertain"] for one in intervals[1:-2])
    assert abs(Instant.parse(intervals[1]["from"]) / 1e6 - heard[0]) < 0.01
    assert abs(Instant.parse(intervals[-3]["to"]) / 1e6 - heard[1]) < 0.01


def _query(data: Path, start: str, end: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What `imhearing query` says; the catalog is what an archiver would have made of the spool."""
    settings = config.load(data, None, ["node.name=porch", *OPTIONS])
    spool = Spool(settings.recorder.record_path, "porch")
    spool.create()
    with contextlib.closing(Catalog(settings.catalog.db_path)) as catalog:
        catalog.open()
        Intake(spool, catalog).rescan()
    command = [sys.executable, "-m", "imhearing", "query", "--data", str(data), "--set", "node.name=porch"]
    done = subprocess.run(
        [*command, "--via", "local", "--json", "--from", start, "--to", end],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    ends = [answer["from"], *(one["to"] for one in answer["intervals"])]
    assert ends == [*(one["from"] for one in answer["intervals"]), answer["to"]]  # they tile
    return answer


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [("2026-10-25 00:00", "2026-10-25 06:00", 7), ("2026-03-29 00:00", "2026-03-29 06:00", 5)],
)
def test_a_query_across_a_dst_change_covers_every_hour(tmp_path: Path, start: str, end: str, hours: int) -> None:
    answer = _query(tmp_path / "data", start, end, {"TZ": "Europe/Berlin"})
    assert Instant.parse(answer["to"]) - Instant.parse(answer["from"]) == hours * 3_600_000_000
