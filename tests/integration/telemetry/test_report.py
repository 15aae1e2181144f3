"""The daily report from made-up intervals, and from a node's own answers over a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import time
from pathlib import Path

import pytest
from msgspec.structs import asdict

from edge.catalog.erasures import ErasureResult, Erasures
from edge.configuration.settings import Mqtt
from edge.core import wire
from edge.core.instant import Instant
from edge.core.values import Hole, Where
from edge.messaging.bus import Bus
from edge.messaging.events import DailyReport
from query_service.answer.node_answers import NodeAnswers
from query_service.queries.levels import LevelStep
from query_service.queries.values import Cut, Expired, Gap, Interval, Paused, Pending, Recorded, Recording
from query_service.telemetry.report import DayTally
from query_service.telemetry.reporting import Metrics, NodeWatch, report_daily, report_on
from tests.support.kernel_clock import ManualClock
from tests.support.messaging.broker import running_broker
from tests.support.messaging.realtime import in_loop
from tests.support.nodes.query_node import QueryNode
from tests.support.spool.chunks import STREAM

DAY = Instant.parse("2026-03-03T00:00:00Z")
HOUR = 3_600_000_000


def at(hour: float) -> Instant:
    return Instant(DAY + round(hour * HOUR))


def chunk(kind: type[Recorded] | type[Pending], start: float, end: float, number: int = 0) -> Interval:
    pending = Pending(
        from_=at(start), to=at(end), uncertain=start < 1, chunk_id=f"{STREAM}-{number:06d}", rate=1, channels=1,
        format="flac", first_frame=0, frames=1, laeq=None, lafmax=None, unit=None, cut=Cut(0, 1),
    )  # fmt: skip
    where = Where(f"{STREAM}-000000-1a2b3c4d", "m", 0, 1_000, "0" * 64)
    return pending if kind is Pending else Recorded(**asdict(pending), where=where)


def step(hour: float, laeq: float | None) -> LevelStep:
    return LevelStep(
        from_=at(hour), to=at(hour + 1 / 60), seconds=60, unit="dBFS", laeq=laeq, laeq_max=laeq, lafmax=None,
        l10=None, l50=None, l90=None,
    )  # fmt: skip


def test_the_hours_of_a_daily_report_add_up() -> None:
    tally = DayTally(DAY, at(24))
    tally.add_coverage(
        [
            chunk(Recorded, 0, 8), Gap(from_=at(8), to=at(9), cause="restart"),
            Paused(from_=at(9), to=at(10)), chunk(Recorded, 10, 11, 1),
        ]
    )  # fmt: skip
    tally.add_coverage([chunk(Recorded, 11, 12, 1), Gap(from_=at(12), to=at(13), cause="device_lost")])
    tally.add_coverage([Gap(from_=at(13), to=at(14.5), cause="device_lost"), chunk(Pending, 14.5, 20, 2)])
    tally.add_coverage(
        [
            Expired(from_=at(20), to=at(22), cause="quiet", uncertain=False, chunk_id=f"{STREAM}-000003", where=None),
            Gap(from_=at(22), to=at(22.25), cause="restart"),
            Recording(from_=at(22.25), to=at(24), uncertain=False, stream_id=STREAM),
        ]
    )
    report = tally.report("porch", at(25), 0.31)
    assert (report.recorded_hours, report.uploaded_hours, report.uploaded_bytes) == (17.25, 10, 2_000)
    assert (report.paused_hours, report.expired_hours, report.uncertain_hours) == (1, 2, 8)
    assert report.gap_hours == {"device_lost": 2.5, "restart": 1.25}
    assert (report.gaps, report.longest_gap) == (3, Hole("device_lost", at(12), at(14.5)))
    whole = report.recorded_hours + report.paused_hours + report.expired_hours + sum(report.gap_hours.values())
    assert whole == 24
    assert wire.decode(wire.encode(report), DailyReport) == report


def test_the_daily_report_lists_the_loudest_minutes_loudest_first() -> None:
    tally = DayTally(DAY, at(24))
    tally.add_levels([step(hour, level) for hour, level in enumerate([-50.0, -20.0, None, -40.0, -30.0, -20.0, -45.0])])
    tally.add_levels([step(8, -10.0)])
    loudest = tally.report("porch", at(25), None).loudest
    assert [minute.laeq for minute in loudest] == [-10, -20, -20, -30, -40]
    assert [minute.at for minute in loudest[1:3]] == [at(1), at(5)]


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.usefixtures("utc")
@in_loop
async def test_a_node_reports_its_day_from_its_own_answers(tmp_path: Path) -> None:
    made = QueryNode(tmp_path, chunks=5)
    door = NodeAnswers(made.settings)
    try:
        report = await report_on(door, at(12).datetime().date(), at(30), None)
    finally:
        await door.close()
    assert (report.started_at, report.ended_at) == (DAY, at(24))
    assert report.recorded_hours * 3_600 == pytest.approx(5, abs=0.01)
    assert sum(report.gap_hours.values()) + report.recorded_hours == pytest.approx(24, abs=1e-4)
    assert [minute.laeq for minute in report.loudest] == [-40.5]


@pytest.mark.usefixtures("utc")
def test_the_daily_report_is_retained_and_published_once_and_after_each_erasure(tmp_path: Path) -> None:
    made = QueryNode(tmp_path, chunks=2)
    heard: queue.SimpleQueue[DailyReport] = queue.SimpleQueue()

    with running_broker() as (host, port):
        ours = Bus(Mqtt(host=host, port=port), "porch", "query")
        ours.start()
        early, late = (Bus(Mqtt(host=host, port=port), "porch", "control") for _ in range(2))
        for bus in (early, late):
            bus.subscribe(DailyReport, lambda report, _: heard.put(report))
        early.start()

        async def run() -> None:
            door = NodeAnswers(made.settings)
            erasures = Erasures(made.settings.catalog.db_path)
            reporting = asyncio.create_task(
                report_daily(door, ours, NodeWatch(), lambda: at(40), erasures.ended, 0, 0.05)
            )
            assert (await asyncio.to_thread(heard.get, True, 10)).started_at == DAY
            late.start()  # only now: what it gets was retained
            assert (await asyncio.to_thread(heard.get, True, 10)).started_at == DAY
            erasures.end(
                ErasureResult(erasures.give(at(0), at(1), at(2)).id, "done")
            )  # levels in the report are erased
            for _ in (early, late):
                assert (await asyncio.to_thread(heard.get, True, 10)).started_at == DAY
            reporting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reporting
            await door.close()

        asyncio.run(run())
        for bus in (ours, early, late):
            bus.stop()
    assert heard.empty()


@in_loop
async def test_metrics_are_served_without_a_broker(tmp_path: Path) -> None:
    made = QueryNode(tmp_path, chunks=3)
    door = NodeAnswers(made.settings)
    metrics = Metrics(made.settings, door, NodeWatch(), ManualClock(synchronised=False))
    try:
        page = await metrics.text()
        assert page is await metrics.text()
    finally:
        await door.close()
    assert "\nimhearing_spool_chunks 3\n" in page
    assert "\nimhearing_clock_synchronised 0\n" in page
