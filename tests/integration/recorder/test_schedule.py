"""The recorder by a schedule: what lies outside is a pause, told as one, and nothing of it is recorded."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from edge.configuration.schedule import parse
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import Hole, PauseOrder
from edge.recorder.pause import PauseWatch
from edge.spool.spool import Spool
from tests.support.kernel import NOON, TurnedClock
from tests.support.recorded import holes_of
from tests.support.recorder_process import running_recorder
from tests.support.scripted import Rig
from tests.support.wait import wait_until


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def at(seconds: float) -> Instant:
    return Instant(NOON + round(seconds * 1e6))


def test_a_duty_cycle_records_its_share_and_the_rest_is_paused(rig: Rig) -> None:
    rig.configure(schedule="5s/10s")
    rig.run(5, 3)
    # a block that ends with the time to record is not all of that time: it is let go
    assert [(one.started_at, one.ended_at) for one in rig.manifests()][4:6] == [(at(4), at(4.95)), (at(10), at(11))]
    assert rig.holes() == [Hole("paused", at(4.95), at(10))]
    assert rig.heard.modes == ["recording", "paused", "recording", "stopped"]


def test_a_pause_that_was_ordered_goes_before_the_schedule(tmp_path: Path) -> None:
    clock, spool = TurnedClock(), Spool(tmp_path, "porch")
    watch = PauseWatch(spool, clock, parse("60s/300s"))
    assert watch.active() is None
    clock.pass_time(60)
    paused = watch.active()
    assert paused is not None
    assert (paused.until, paused.reason) == (at(300), "the schedule says so")
    clock.pass_time(240)
    assert watch.active() is None


def test_the_schedule_follows_a_clock_that_is_set(tmp_path: Path) -> None:
    clock = TurnedClock()
    watch = PauseWatch(Spool(tmp_path, "porch"), clock, parse("00:00-01:00, 23:00-24:00"))
    assert watch.active() is not None
    clock.set_by(-NOON / 1e6 + 10)  # 1970: never set, so everything is recorded
    assert watch.active() is None
    clock.set_by(NOON / 1e6 - 10)
    assert watch.active() is not None


def test_what_is_missing_after_the_end_of_a_pause_is_a_gap(rig: Rig) -> None:
    """The node was off when it should have recorded again: no schedule hides that."""
    rig.configure(schedule="5s/10s")
    rig.run(5, 1, waits=[rig.stop])  # ends within the pause
    rig.clock.pass_time(55)
    rig.run(2)
    assert rig.holes() == [Hole("paused", at(4.95), at(10)), Hole("restart", at(10), at(60))]


def test_a_power_cut_within_a_pause_is_told_from_its_end_on(rig: Rig) -> None:
    rig.configure(schedule="5s/10s")
    rig.run(5, 1, waits=[rig.stop])
    rig.clock.boot("boot-2", off_for=55, synchronised=True)
    rig.run(2)
    assert rig.holes() == [Hole("paused", at(4.95), at(10)), Hole("power", at(10), at(60))]


def test_a_restart_within_a_pause_changes_nothing(rig: Rig) -> None:
    rig.configure(schedule="5s/10s")
    rig.run(5, 1, waits=[rig.stop])
    rig.clock.pass_time(2)
    rig.run(2)
    assert rig.holes() == [Hole("paused", at(4.95), at(10))]


@pytest.mark.slow
def test_recording_begins_as_soon_as_the_pause_has_ended(tmp_path: Path) -> None:
    options = ("recorder.source=synthetic", "recorder.block_ms=20", "mqtt.port=1")
    late = []
    with running_recorder(tmp_path, *options) as recorder:
        for _ in range(3):  # a busy machine may be late
            recorder.wait_recording()
            until = Instant(KernelClock().now() + 1_250_000)
            recorder.spool.pause.write(PauseOrder(until))
            hole = wait_until(partial(_hole_to, recorder.spool, until), "it records again", 10)
            late.append(hole.to - until)
    assert min(late) < 200_000  # looking twice a second would take 250 ms from the moment that was chosen


def _hole_to(spool: Spool, end: Instant) -> Hole | None:
    """The pause of which a stream that began after `end` tells."""
    return next((hole for hole in holes_of(spool) if hole.cause == "paused" and hole.to >= end), None)
