"""The recorder with a schedule: outside it, the recorder is paused and records nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge.configuration.schedule import parse
from edge.core.values import Hole, PauseOrder
from edge.messaging.command_client import new_id
from edge.messaging.commands import Resume, Rotate
from edge.recorder.commands import RecorderCommands
from edge.recorder.pause import PauseWatch, ScheduleWatch
from edge.spool.spool import Spool
from tests.support.kernel_clock import NOON, ManualClock, at
from tests.support.recording.rig import LOST, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_duty_cycle_records_its_part_and_pauses_for_the_rest(rig: Rig) -> None:
    rig.configure(schedule="5s/10s")
    rig.run(5, 3)
    # a block that ends with the time to record is not all of that time: it is let go
    assert [(one.started_at, one.ended_at) for one in rig.manifests()][4:6] == [(at(4), at(4.95)), (at(10), at(11))]
    assert rig.holes() == [Hole("paused", at(4.95), at(10))]
    assert rig.facts.modes == ["recording", "paused", "recording", "stopped"]


def test_the_schedule_pauses_and_resumes_recording(tmp_path: Path) -> None:
    clock, spool = ManualClock(), Spool(tmp_path, "porch")
    watch = PauseWatch(spool, clock, parse("60s/300s"))
    assert watch.active() is None
    clock.advance(60)
    paused = watch.active()
    assert paused is not None
    assert (paused.until, paused.reason) == (at(300), "the schedule says so")
    clock.advance(240)
    assert watch.active() is None


def test_the_schedule_follows_clock_changes(tmp_path: Path) -> None:
    clock = ManualClock()
    watch = PauseWatch(Spool(tmp_path, "porch"), clock, parse("00:00-01:00, 23:00-24:00"))
    assert watch.active() is not None
    clock.step_by(-NOON / 1e6 + 10)  # 1970: never set, so everything is recorded
    assert watch.active() is None
    clock.step_by(NOON / 1e6 - 10)
    assert watch.active() is not None


def test_sound_missed_after_the_end_of_a_scheduled_pause_is_a_gap(rig: Rig) -> None:
    """The node was off when it should have recorded again: no schedule hides that."""
    rig.configure(schedule="5s/10s")
    rig.run(5, 1, waits=[rig.stop])  # ends within the pause
    rig.clock.advance(55)
    rig.run(2)
    assert rig.holes() == [Hole("paused", at(4.95), at(10)), Hole("restart", at(10), at(60))]


def test_a_power_cut_within_a_scheduled_pause_is_a_gap_from_its_end(rig: Rig) -> None:
    rig.configure(schedule="5s/10s")
    rig.run(5, 1, waits=[rig.stop])
    rig.clock.boot("boot-2", off_for=55, synchronised=True)
    rig.run(2)
    assert rig.holes() == [Hole("paused", at(4.95), at(10)), Hole("power", at(10), at(60))]


def test_a_restart_within_a_scheduled_pause_adds_no_gap(rig: Rig) -> None:
    rig.configure(schedule="5s/10s")
    rig.run(5, 1, waits=[rig.stop])
    rig.clock.advance(2)
    rig.run(2)
    assert rig.holes() == [Hole("paused", at(4.95), at(10))]


def test_recording_resumes_the_moment_a_pause_ends(rig: Rig) -> None:
    """Checking twice a second would resume a quarter of a second late."""
    until = at(5.25)
    rig.run(1, lambda: rig.spool.pause.write(PauseOrder(until)), 3)
    [hole] = rig.holes()
    assert (hole.cause, hole.to) == ("paused", until)


def commands_of(rig: Rig, schedule: str = "") -> RecorderCommands:
    return RecorderCommands(rig.spool, rig.clock, rig.recorder, ScheduleWatch(parse(schedule), rig.clock))


def test_resume_and_rotate_say_that_the_schedule_pauses(rig: Rig) -> None:
    rig.configure(schedule="5s/10s")
    said: list[dict[str, Any]] = []

    def give_orders() -> None:
        commands = commands_of(rig, "5s/10s")
        said.extend((commands.resume(Resume(id=new_id())), commands.rotate(Rotate(id=new_id()))))

    rig.run(1, give_orders, 4, 1, waits=[give_orders])
    paused = {"state": "paused", "until": str(at(10)), "reason": "the schedule says so"}
    assert said == [{}, {}, paused, paused]


def test_resume_says_that_there_is_no_microphone(rig: Rig) -> None:
    said: list[dict[str, Any]] = []

    def resume() -> None:
        rig.spool.pause.order(None, rig.clock)
        said.append(commands_of(rig).resume(Resume(id=new_id())))

    rig.run(1, LOST, resume, 1)
    assert said == [{"state": "no_device", "until": None, "reason": "unplugged"}]
