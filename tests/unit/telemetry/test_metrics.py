"""The metrics page passes Prometheus' own checker, and every metric is documented."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.core.instant import Instant
from edge.messaging.events import ArchiverState, LevelMeasured, RecorderState
from query_service.queries.status import Backlog, ClockReport, LastChunk, RecorderReport, StatusAnswer
from query_service.telemetry.metrics import NodeFacts, render

ROOT = Path(__file__).parents[3]
NOW = Instant.parse("2026-11-22T05:44:08.25Z")
STREAM = "20261122T054408Z-k3f9"
STATUS = StatusAnswer(
    id="1", node="porch", at=NOW, version="0.1.0", uptime=5.0,
    recorder=RecorderReport(
        state="recording", since=NOW, alive=True, stream_id=STREAM, device="USB", rate=48_000, channels=1
    ),
    spool=Backlog(4, 11_652_016, 0), disk_free=5_000_000_000,
    last_chunk=LastChunk(chunk_id=f"{STREAM}-000001", ended_at=NOW),
    clock=ClockReport(uncertain=False, measured_rate=47_999.4), catalog="ready", listeners=2,
)  # fmt: skip
FULL = NodeFacts(
    node="porch",
    started_at=NOW,
    resident_bytes=40_000_000,
    clock_synchronised=True,
    disk_bytes=32_000_000_000,
    last_sound_at=NOW,
    status=STATUS,
    recorder=RecorderState(at=NOW, node="porch", state="recording", since=NOW),
    archiver=ArchiverState(
        at=NOW, node="porch", state="idle", backlog_chunks=4, backlog_bytes=11_652_016, disk_hours_left=312.5,
        last_archive_at=NOW, month_cost=0.31,
    ),
    level=LevelMeasured(
        at=NOW, node="porch", laeq=-52.3, lafmax=-47.9, lcpeak=-36.0, unit="dBFS", calibrated=False
    ),
    online={"recorder": True, "archiver": False, "query": True},
    gap_seconds={"restart": 10.12},
    archives={"uploaded": 3},
    uploaded_bytes=87_390_120,
)  # fmt: skip


def value(page: str, sample: str) -> float:
    [line] = [line for line in page.splitlines() if line.startswith(f"{sample} ")]
    return float(line.rpartition(" ")[2])


def names(page: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))


def test_metrics_are_exported_in_base_units() -> None:
    page = render(FULL)
    assert value(page, "imhearing_disk_left_seconds") == 312.5 * 3_600
    assert value(page, "imhearing_last_sound_timestamp_seconds") == NOW / 1e6
    assert value(page, 'imhearing_service_online{service="archiver"}') == 0
    assert value(page, 'imhearing_recorder_state{state="recording"}') == 1
    assert value(page, 'imhearing_recorder_state{state="paused"}') == 0
    assert value(page, 'imhearing_gap_seconds_total{cause="restart"}') == 10.12
    assert value(page, 'imhearing_sound_laeq_decibels{unit="dBFS"}') == -52.3
    assert value(page, "imhearing_sample_rate_hertz") == 47_999.4


def test_metrics_without_a_value_are_omitted() -> None:
    page = render(NodeFacts(node="porch", started_at=NOW))
    assert value(page, 'imhearing_recorder_state{state="unknown"}') == 1
    for name in ("imhearing_disk_free_bytes", "imhearing_clock_synchronised", "imhearing_sound_laeq_decibels"):
        assert name not in page
    blocked = replace(FULL, archiver=replace(FULL.archiver, state="blocked"))  # type: ignore[type-var]
    assert value(render(blocked), 'imhearing_archiver_state{state="blocked"}') == 1


def test_a_label_value_cannot_add_a_line() -> None:
    page = render(NodeFacts(node='a"\\\nb 1', started_at=NOW))
    assert '{node="a\\"\\\\\\nb 1",' in page
    assert len(page.splitlines()) == len(render(NodeFacts(node="a", started_at=NOW)).splitlines())


@pytest.mark.parametrize("facts", [FULL, NodeFacts(node="porch", started_at=NOW)], ids=["full", "bare"])
def test_promtool_accepts_the_metrics_page(facts: NodeFacts) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=render(facts), text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_each_metric_is_documented_and_alerts_use_only_known_metrics() -> None:
    page = names(render(FULL))
    documented = set(re.findall(r"^\| `(\w+)", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
    assert documented == page
    rules = (ROOT / "deploy" / "prometheus-alerts.yml").read_text()
    assert set(re.findall(r"\b(imhearing_\w+)", rules)) <= page


def test_promtool_accepts_the_alerts() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    rules, tests = ROOT / "deploy" / "prometheus-alerts.yml", ROOT / "tests" / "support" / "prometheus-alerts-test.yml"
    for what in (["check", "rules", rules], ["test", "rules", tests]):
        done = subprocess.run([promtool, *map(str, what)], text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
