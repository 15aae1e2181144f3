"""When a pause ends although the clock is wrong or corrected, or the machine rebooted: never early, never days late."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.instant import Instant
from edge.core.values import PauseOrder, SpoolState
from edge.recorder.pause import ActivePause, PauseWatch
from edge.spool import limits
from edge.spool.spool import Spool
from edge.spool.thresholds import Limits
from tests.support.kernel_clock import ManualClock, at
from tests.support.privileges import NOBODY
from tests.support.spool.chunks import make_stream

HOUR = 3_600
DAY = 86_400
SLACK = 70  # between two notes, and two questions


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path, "porch")
    spool.create()
    return spool


def order(spool: Spool, clock: ManualClock, seconds: float) -> None:
    """A pause from now on, ordered the way the services do; the file bears the time of the clock under test."""
    spool.pause.order(Instant(clock.now() + round(seconds * 1e6)), clock)
    bear_time(spool, clock)


def bear_time(spool: Spool, clock: ManualClock) -> None:
    os.utime(spool.path / "pause.json", ns=(clock.now() * 1_000, clock.now() * 1_000))


def lasts(spool: Spool, clock: ManualClock) -> bool:
    """Asked by a recorder that has just been started."""
    return PauseWatch(spool, clock).active() is not None


def watched(watch: PauseWatch, clock: ManualClock, seconds: float) -> float:
    """Lets at most `seconds` pass in steps of ten; how many of them were a pause."""
    for passed in range(0, round(seconds), 10):
        if watch.active() is None:
            return passed
        clock.advance(10)
    return seconds


class Life(NamedTuple):
    """One boot: how long the machine was off before, how wrong its clock is then, and when that is mended. Seconds."""

    off_for: int
    wrong_by: int
    mended_after: int | None
    runs: int


LIVES = st.lists(
    st.builds(
        Life,
        st.integers(1, 2 * HOUR), st.integers(-9 * DAY, 9 * DAY), st.none() | st.integers(0, 600), st.integers(0, HOUR),
    ),
    max_size=6,
)  # fmt: skip


@given(length=st.integers(1, 4 * HOUR), first=st.integers(0, 4 * HOUR), lives=LIVES)
def test_a_pause_never_ends_early_and_late_at_most_by_the_time_switched_off(
    tmp_path_factory: pytest.TempPathFactory, length: int, first: int, lives: list[Life]
) -> None:
    clock, spool = ManualClock(), Spool(tmp_path_factory.mktemp("spool"), "porch")
    order(spool, clock, length)
    elapsed = off = wrong = 0
    for number, life in enumerate([Life(0, 0, 0, first), *lives]):
        if number:
            clock.boot(f"boot-{number + 1}", wrong_by=life.wrong_by - wrong, off_for=life.off_for)
            wrong, elapsed, off = life.wrong_by, elapsed + life.off_for, off + life.off_for + SLACK
        watch = PauseWatch(spool, clock)
        for passed in range(0, life.runs + 1, 10):
            if number and life.mended_after is not None and wrong and passed >= life.mended_after:
                clock.step_by(-wrong)
                clock.is_synchronised, wrong = True, 0
            lasts = watch.active() is not None
            assert lasts or elapsed >= length
            assert not lasts or elapsed < length + (0 if clock.is_synchronised else off)
            clock.advance(10)
            elapsed += 10


def test_a_pause_ends_on_time_once_a_clock_days_behind_is_corrected(spool: Spool) -> None:
    clock = ManualClock()
    order(spool, clock, HOUR)
    clock.boot("boot-2", wrong_by=-3 * DAY, off_for=60)
    watch = PauseWatch(spool, clock)
    assert watched(watch, clock, 30) == 30
    clock.step_by(3 * DAY)
    clock.is_synchronised = True
    assert watched(watch, clock, 2 * HOUR) == pytest.approx(HOUR - 90, abs=10)


def test_a_clock_days_ahead_after_a_boot_does_not_end_a_pause_early(spool: Spool) -> None:
    clock = ManualClock()
    order(spool, clock, HOUR)
    clock.boot("boot-2", wrong_by=3 * DAY, off_for=60)
    watch = PauseWatch(spool, clock)
    assert watched(watch, clock, 300) == 300
    clock.step_by(-3 * DAY)
    clock.is_synchronised = True
    assert watched(watch, clock, 2 * HOUR) == pytest.approx(HOUR - 360, abs=10)


@pytest.mark.parametrize("wrong_by", [-3 * DAY, 0, 3 * DAY])
def test_with_an_unsynchronised_clock_a_pause_is_longer_by_the_time_switched_off(spool: Spool, wrong_by: float) -> None:
    clock = ManualClock()
    order(spool, clock, HOUR)
    assert watched(PauseWatch(spool, clock), clock, HOUR / 2) == HOUR / 2
    clock.boot("boot-2", wrong_by=wrong_by, off_for=600)
    assert watched(PauseWatch(spool, clock), clock, 10 * HOUR) == pytest.approx(HOUR / 2, abs=90)


def test_a_pause_accumulates_its_time_over_many_boots(spool: Spool) -> None:
    clock = ManualClock()
    order(spool, clock, HOUR)
    seen = 0.0
    for number in range(2, 100):
        clock.boot(f"boot-{number}", wrong_by=number * HOUR, off_for=60)
        seen += watched(PauseWatch(spool, clock), clock, 600)
        if not lasts(spool, clock):
            break
    assert seen == pytest.approx(HOUR, abs=600)
    assert seen >= HOUR - 10


@pytest.mark.parametrize("by", [3 * DAY, -3 * DAY])
def test_setting_the_clock_does_not_change_a_pause_for_a_recorder_started_later(spool: Spool, by: float) -> None:
    clock = ManualClock(synchronised=False)
    order(spool, clock, HOUR)
    clock.step_by(by)
    clock.is_synchronised = True
    watch = PauseWatch(spool, clock)
    assert watched(watch, clock, 2 * HOUR) == pytest.approx(HOUR, abs=10)


def test_a_pause_ordered_with_an_unsynchronised_clock_keeps_its_length(spool: Spool) -> None:
    """Its end, three days behind, has long passed by the true clock of the next boot."""
    clock = ManualClock(synchronised=False)
    clock.step_by(-3 * DAY)
    order(spool, clock, HOUR)
    clock.boot("boot-2", wrong_by=3 * DAY, synchronised=True)
    assert watched(PauseWatch(spool, clock), clock, 2 * HOUR) == pytest.approx(HOUR, abs=10)


def test_setting_a_synchronised_clock_does_not_change_a_pause(spool: Spool) -> None:
    clock = ManualClock()
    order(spool, clock, HOUR)
    clock.boot("boot-2", synchronised=True)
    watch = PauseWatch(spool, clock)
    assert watch.active() is not None
    clock.step_by(DAY)
    assert watched(watch, clock, 2 * HOUR) == pytest.approx(HOUR - 60, abs=10)


def test_a_pause_order_with_only_the_documented_fields_lasts_its_time(spool: Spool) -> None:
    clock = ManualClock(synchronised=False)
    spool.pause.write(PauseOrder(at(HOUR)))
    bear_time(spool, clock)
    clock.step_by(3 * DAY)
    watch = PauseWatch(spool, clock)
    assert watched(watch, clock, 300) == 300
    clock.step_by(-3 * DAY)
    clock.is_synchronised = True
    assert watched(watch, clock, 2 * HOUR) == pytest.approx(HOUR - 300, abs=10)


def test_a_pause_without_an_end_lasts_at_any_clock_time(spool: Spool) -> None:
    clock = ManualClock()
    spool.pause.order(None, clock)
    clock.boot("boot-2", wrong_by=400 * DAY, synchronised=True)
    assert lasts(spool, clock)


def test_a_pause_that_has_ended_does_not_resume_after_a_boot(spool: Spool) -> None:
    clock = ManualClock()
    order(spool, clock, HOUR)
    assert watched(PauseWatch(spool, clock), clock, 2 * HOUR) == pytest.approx(HOUR, abs=10)
    clock.advance(DAY)
    assert not lasts(spool, clock)
    clock.boot("boot-2", wrong_by=-HOUR, off_for=60)
    assert not lasts(spool, clock)


def test_a_new_pause_order_replaces_the_old_one(spool: Spool) -> None:
    clock = ManualClock()
    order(spool, clock, HOUR)
    clock.boot("boot-2", wrong_by=3 * DAY)
    watch = PauseWatch(spool, clock)
    assert watch.active() is not None
    order(spool, clock, 2 * HOUR)
    assert watched(watch, clock, 3 * HOUR) == pytest.approx(2 * HOUR, abs=10)
    spool.pause.remove()
    assert watch.active() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_a_pause_that_another_user_orders_is_ignored(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    """The archiver's user may write to the spool, too."""
    watch, file = PauseWatch(spool, ManualClock()), spool.path / "pause.json"
    spool.pause.write(PauseOrder())
    os.chown(file, NOBODY, NOBODY)
    assert [watch.active(), watch.active()] == [None, None]
    assert caplog.messages == [f"{file}: it is not from this node's owner; ignored"]
    os.chown(file, 0, 0)
    assert watch.active() == ActivePause(None)


@pytest.mark.parametrize("target", ["/etc/hostname", "pause.json", "nowhere"])
def test_a_link_orders_no_pause(spool: Spool, target: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever may write to the spool can make one to a file of root's."""
    file = spool.path / "pause.json"
    file.symlink_to(target)
    watch = PauseWatch(spool, ManualClock())
    assert [watch.active(), watch.active()] == [None, None]
    assert caplog.messages == [f"{file}: it is not a regular file; ignored"]


def test_a_pipe_orders_no_pause_and_keeps_nobody_waiting(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(spool.path / "pause.json")
    assert PauseWatch(spool, ManualClock()).active() is None
    assert "it is not a regular file; ignored" in caplog.text


@pytest.mark.parametrize("document", ["state", "stream", "limits", "sounds"])
def test_another_document_of_the_recorders_renamed_orders_no_pause(
    spool: Spool, document: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its owner is right: a file keeps that when another user renames it."""
    file = spool.path / "pause.json"
    if document == "state":
        spool.state.write(SpoolState(state="recording", since=Instant(0), boot_id="a", ordinal=1))
        (spool.path / "state.json").rename(file)
    elif document == "stream":
        stream = make_stream()
        spool.streams.write(stream)
        (spool.path / f"{stream.stream_id}.stream.json").rename(file)
    elif document == "sounds":
        file.write_text('[{"started": 1}]')
    else:
        limits.save(spool.path, Limits(records_count=3))
        (spool.path / "settings.json").rename(file)
    assert PauseWatch(spool, ManualClock()).active() is None
    assert f"{file}: it is another document of the spool; ignored" in caplog.text


def test_a_damaged_pause_order_pauses(spool: Spool) -> None:
    (spool.path / "pause.json").write_text('{"until":')
    assert PauseWatch(spool, ManualClock()).active() == ActivePause(None)
