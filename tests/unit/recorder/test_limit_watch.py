"""Which crossings of the spool's limits are reported, and that the spool is listed only where it must be."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from edge.recorder.limit_watch import SpoolWatch
from edge.spool.chunks import SpoolChunks, SpoolFile
from edge.spool.spool import Spool
from edge.spool.thresholds import Crossing, Limits
from tests.support.kernel_clock import ManualClock
from tests.support.spool.chunks import START, audio_bytes, make_chunk, put_chunk
from tests.support.wait import wait_until


class CountedChunks(SpoolChunks):
    listings = 0

    def finished(self, known: Iterable[SpoolFile] = ()) -> dict[str, SpoolFile]:
        self.listings += 1
        return super().finished(known)


class CountedSpool(Spool):
    def __init__(self, path: Path, node: str) -> None:
        super().__init__(path, node)
        self.chunks: CountedChunks = CountedChunks(self.layout, node)


@pytest.fixture
def spool(tmp_path: Path) -> CountedSpool:
    spool = CountedSpool(tmp_path / "spool", "porch")
    spool.create()
    return spool


def add(spool: Spool, *numbers: int) -> None:
    for number in numbers:
        data = audio_bytes(number)
        put_chunk(spool, make_chunk(number, data), data)


def finish(spool: Spool, limits: Limits, number: int = 3, clock: ManualClock | None = None) -> list[Crossing]:
    """What one life of the watch reports once chunk `number` is finished."""
    found: list[Crossing] = []
    watch = SpoolWatch(spool, clock or ManualClock(), lambda: limits, found.append)
    with watch.running():
        watch.chunk_finished(make_chunk(number))
    return found


def test_a_retained_copy_does_not_count_towards_the_limits(spool: Spool) -> None:
    add(spool, 1, 2, 3)
    limits = Limits(records_count=3)
    assert [(one.metric, one.value) for one in finish(spool, limits)] == [("records_count", 3)]
    spool.chunks.mark_retained(sorted(spool.chunks.finished())[0])
    assert [one.event for one in finish(spool, limits)] == ["cleared"]
    everything = Limits(records_count=1, storage_usage=1e-6, oldest_age=1e-6)
    for chunk_id in spool.chunks.finished():
        spool.chunks.mark_retained(chunk_id)
    assert finish(spool, everything) == []


def test_a_restart_neither_repeats_exceeded_nor_loses_cleared(spool: Spool) -> None:
    add(spool, 1, 2, 3)
    limits = Limits(records_count=3)
    assert [one.event for one in finish(spool, limits)] == ["exceeded"]
    assert finish(spool, limits) == []
    spool.chunks.mark_retained(sorted(spool.chunks.finished())[0])
    assert [(one.event, one.value) for one in finish(spool, limits)] == [("cleared", 2)]
    assert finish(spool, limits) == []


def test_an_exceeded_limit_whose_record_is_damaged_is_reported_again(spool: Spool) -> None:
    (spool.path / "exceeded.json").write_text("[")
    add(spool, 1)
    assert [one.event for one in finish(spool, Limits(records_count=1))] == ["exceeded"]


def test_each_spool_metric_is_checked(spool: Spool) -> None:
    add(spool, 1, 2)
    clock = ManualClock()
    clock.step_by((make_chunk(1).ended_at - clock.now()) / 1e6 + 90)
    limits = Limits(records_count=2, storage_usage=1e-6, oldest_age=80, disk_free=1e12)
    found = {one.metric: one.value for one in finish(spool, limits, clock=clock)}
    assert found.keys() == {"records_count", "storage_usage", "oldest_age", "disk_free"}
    assert found["oldest_age"] == pytest.approx(90, abs=1)


def test_without_a_finished_chunk_nothing_is_reported(spool: Spool) -> None:
    add(spool, 1, 2, 3)
    found: list[Crossing] = []
    with SpoolWatch(spool, ManualClock(), lambda: Limits(records_count=1), found.append).running():
        pass
    assert found == []


class Life:
    """A watch whose judgement of each chunk is waited for."""

    def __init__(self, spool: CountedSpool, limits: Limits, rescan_seconds: float = 60.0) -> None:
        self.spool, self.clock, self.number = spool, ManualClock(), 0
        self.clock.step_by((START - self.clock.now()) / 1e6)
        self.found: list[Crossing] = []
        self.judged = threading.Event()
        self.watch = SpoolWatch(spool, self.clock, self._limits, self.found.append, rescan_seconds)
        self.limits = limits

    def _limits(self) -> Limits:
        self.judged.set()
        return self.limits

    def finish(self) -> list[str]:
        """One more chunk; what is reported of it."""
        self.number += 1
        add(self.spool, self.number)
        before = len(self.found)
        self.judged.clear()
        with self.watch.running():
            self.watch.chunk_finished(make_chunk(self.number))
        assert self.judged.is_set()
        return [one.event for one in self.found[before:]]


def test_the_spool_is_listed_only_when_a_limit_may_be_exceeded(spool: CountedSpool) -> None:
    life = Life(spool, Limits(records_count=4))
    assert [life.finish() for _ in range(3)] == [[], [], []]
    assert spool.chunks.listings == 1
    assert life.finish() == ["exceeded"]
    assert spool.chunks.listings == 2


def test_chunks_removed_by_the_archiver_are_not_counted_when_a_limit_is_checked(spool: CountedSpool) -> None:
    life = Life(spool, Limits(records_count=4))
    assert [life.finish() for _ in range(3)] == [[], [], []]
    for chunk_id in list(spool.chunks.finished()):
        spool.chunks.remove(chunk_id)
    assert [life.finish() for _ in range(4)] == [[], [], [], ["exceeded"]]


def test_the_chunk_count_includes_chunks_of_earlier_runs(spool: CountedSpool) -> None:
    add(spool, 101, 102)
    life = Life(spool, Limits(records_count=4))
    assert [life.finish() for _ in range(3)] == [[], ["exceeded"], []]


def test_an_old_chunk_is_detected_when_the_next_one_is_finished(spool: CountedSpool) -> None:
    life = Life(spool, Limits(oldest_age=3_600))
    assert life.finish() == []
    life.clock.advance(3_700)
    assert life.finish() == ["exceeded"]
    for chunk_id in list(spool.chunks.finished()):
        spool.chunks.remove(chunk_id)
    life.clock.advance(10)
    life.number = 3_700  # so new
    assert life.finish() == ["cleared"]


def test_an_exceeded_limit_clears_without_another_chunk(spool: CountedSpool) -> None:
    life = Life(spool, Limits(records_count=1), rescan_seconds=0.01)
    assert life.finish() == ["exceeded"]
    with life.watch.running():
        for chunk_id in list(spool.chunks.finished()):
            spool.chunks.remove(chunk_id)
        wait_until(lambda: [one.event for one in life.found] == ["exceeded", "cleared"], "its end is reported")


def test_setting_a_limit_to_0_clears_it(spool: CountedSpool) -> None:
    life = Life(spool, Limits(records_count=1))
    assert life.finish() == ["exceeded"]
    life.limits = Limits()
    assert life.finish() == ["cleared"]


def test_a_chunk_that_is_finished_before_the_watch_gets_to_run_is_judged(
    spool: CountedSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_run = threading.Event()

    class LateThread(threading.Thread):
        def run(self) -> None:
            may_run.wait()
            super().run()

    monkeypatch.setattr(threading, "Thread", LateThread)
    life = Life(spool, Limits(records_count=1))
    add(spool, 1)
    with life.watch.running():
        life.watch.chunk_finished(make_chunk(1))
        may_run.set()
    assert [one.event for one in life.found] == ["exceeded"]


def test_a_spool_that_cannot_be_listed_is_logged_and_checked_later(
    spool: CountedSpool, caplog: pytest.LogCaptureFixture
) -> None:
    life = Life(spool, Limits(records_count=1))
    aside = spool.path.with_name("aside")
    spool.path.rename(aside)
    with life.watch.running():
        life.watch.chunk_finished(make_chunk(1))
    assert "cannot check the limits" in caplog.text
    assert life.found == []
    aside.rename(spool.path)
    assert life.finish() == ["exceeded"]
