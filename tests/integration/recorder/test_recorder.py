"""The whole recorder on a scripted source and a manual clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from edge.core.values import Chunk, Hole, PauseOrder
from edge.recorder.context import Tuning
from edge.spool.thresholds import Limits
from tests.support.kernel_clock import NOON, ManualClock, at
from tests.support.recording.rig import LOST, RATE, Rig

HOUR = 3_600
DAY = 86_400


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def spans(rig: Rig) -> list[tuple[float, float]]:
    """Each chunk's begin and end in seconds since noon, as now believed."""
    return [(_seconds(rig, one, one.started_at), _seconds(rig, one, one.ended_at)) for one in rig.manifests()]


def _seconds(rig: Rig, chunk: Chunk, time: int) -> float:
    shift = rig.spool.streams.read(chunk.stream_id).shift if chunk.uncertain else 0
    return round((time + shift - NOON) / 1e6, 4)


def is_all_there(rig: Rig) -> bool:
    return np.array_equal(rig.sound(), np.concatenate(rig.played))


def hole(cause: str, start: float, end: float) -> Hole:
    return Hole(cause, at(start), at(end))  # type: ignore[arg-type]


# capture


def test_chunks_are_adjacent_and_contain_every_sample(rig: Rig) -> None:
    rig.run(3.5)
    chunks = rig.manifests()
    assert [chunk.frames for chunk in chunks] == [RATE, RATE, RATE, RATE // 2]
    assert [chunk.first_frame for chunk in chunks] == [0, RATE, 2 * RATE, 3 * RATE]
    assert spans(rig) == [(0, 1), (1, 2), (2, 3), (3, 3.5)]
    assert [chunk.end_reason for chunk in chunks] == [None, None, None, "stopped"]
    assert is_all_there(rig)
    assert [chunk.chunk_id for chunk in rig.facts.chunks] == [chunk.chunk_id for chunk in chunks]
    assert not rig.spool.chunks.parts()
    assert not rig.spool.chunks.leftovers()


def test_a_clean_restart_leaves_a_gap_with_cause_restart(rig: Rig) -> None:
    rig.run(1.5)
    rig.clock.advance(10)
    rig.run(1)
    assert rig.holes() == [hole("restart", 1.5, 11.5)]
    assert rig.manifests()[2].before == (hole("restart", 1.5, 11.5),)
    assert is_all_there(rig)


def test_a_crash_leaves_a_recovered_chunk_and_a_gap_with_cause_crash(rig: Rig) -> None:
    rig.crash(2.6)
    rig.clock.advance(7)
    rig.run(1)
    chunks = rig.manifests()
    lost = 2.6 * RATE - sum(chunk.frames for chunk in chunks[:3])
    assert 0 <= lost < 4_096
    assert [chunk.recovered for chunk in chunks] == [False, False, True, False]
    assert chunks[2].end_reason == "crash"
    [gap] = rig.holes()
    assert (gap.cause, gap.to) == ("crash", at(9.6))
    assert gap.from_ == chunks[2].ended_at
    sound = np.concatenate(rig.played)
    recorded = rig.sound()
    kept = len(recorded) - RATE
    assert np.array_equal(recorded[:kept], sound[:kept])
    assert np.array_equal(recorded[kept:], sound[-RATE:])


def test_a_crash_before_the_first_chunk_loses_no_gap(rig: Rig) -> None:
    rig.run(1)
    rig.clock.advance(5)
    rig.crash(0.2)  # less than the encoder holds back
    rig.clock.advance(5)
    rig.run(1)
    assert [h.cause for h in rig.holes()] == ["restart", "crash"]
    assert rig.holes()[0] == hole("restart", 1, 6)
    assert rig.holes()[1].to == at(11.2)


def test_a_rotation_at_a_chunk_boundary_is_recorded_in_the_next_chunk(rig: Rig) -> None:
    """Else nobody would learn why the stream ended."""
    rig.run(2, rig.rotate, 2)
    assert "rotated" in [chunk.end_reason for chunk in rig.manifests()]
    assert sum(chunk.frames for chunk in rig.manifests()) == 4 * RATE


def test_a_rotation_ends_the_chunk_and_loses_no_sample(rig: Rig) -> None:
    rig.run(1.5, rig.rotate, 2)
    assert is_all_there(rig)
    assert spans(rig) == [(0, 1), (1, 1.5), (1.5, 2.5), (2.5, 3.5)]
    assert [chunk.end_reason for chunk in rig.manifests()] == [None, "rotated", None, None]
    assert rig.holes() == []


def test_a_lost_device_is_announced_and_leaves_a_gap_with_cause_device_lost(rig: Rig) -> None:
    rig.run(1.5, lambda: rig.clock.advance(2), LOST, 1)
    assert rig.facts.modes == ["recording", "no_device", "recording", "stopped"]
    assert rig.holes() == [hole("device_lost", 1.5, 3.5)]
    assert rig.manifests()[1].end_reason == "device_lost"
    assert is_all_there(rig)


def test_samples_lost_by_the_driver_leave_a_gap_with_cause_overrun(rig: Rig) -> None:
    rig.run(5, lambda: rig.clock.advance(3), 5)
    [gap] = rig.holes()
    assert gap.cause == "overrun"
    assert abs(gap.to - gap.from_ - 3_000_000) < 60_000
    assert abs(gap.from_ - at(5)) < 60_000
    assert is_all_there(rig)


def test_no_sample_of_a_pause_reaches_the_disk(rig: Rig) -> None:
    def pause() -> None:
        rig.spool.pause.write(PauseOrder())

    def resume() -> None:
        rig.clock.advance(30)
        rig.spool.pause.remove()

    rig.run(1.5, pause, 1, waits=[resume])
    assert rig.facts.modes == ["recording", "paused", "recording", "stopped"]
    assert rig.holes() == [hole("paused", 1.5, 31.55)]
    of_the_pause = rig.played.pop(30)  # captured while the order was written
    assert is_all_there(rig)
    assert of_the_pause.tobytes() not in rig.sound().tobytes()


def test_blocks_held_back_when_a_pause_begins_are_discarded(rig: Rig) -> None:
    def pause() -> None:
        rig.spool.pause.write(PauseOrder())

    resume = rig.spool.pause.remove
    # the half second before the pause is late, and held back
    rig.run(2, lambda: rig.clock.advance(3), 0.5, pause, 1, waits=[resume])
    assert len(rig.manifests()) == 3
    assert np.array_equal(rig.sound(), np.concatenate(rig.played[:40] + rig.played[51:]))
    assert [gap.cause for gap in rig.holes()] == ["paused"]


def test_a_pause_survives_a_restart_and_ends_at_its_deadline(rig: Rig) -> None:
    rig.spool.pause.write(PauseOrder(at(20)))
    rig.run(1, waits=[lambda: rig.clock.advance(25)])
    assert rig.facts.modes == ["paused", "recording", "stopped"]
    assert spans(rig) == [(25, 26)]
    assert rig.holes() == [hole("paused", 0, 25)]


def test_a_damaged_pause_order_counts_as_a_pause(rig: Rig) -> None:
    (rig.spool.path / "pause.json").write_text("{")
    rig.run(1, waits=[rig.spool.pause.remove])
    assert rig.facts.modes[0] == "paused"


def test_a_new_stream_continues_when_sequence_numbers_run_out(rig: Rig) -> None:
    """Ids have six digits: chunk 1,000,000 would be invisible."""
    rig.tuning = Tuning(last_seq=3)
    rig.configure(record_period=0.12)  # cut within blocks
    rig.run(1.5)
    chunks = rig.manifests()
    assert max(chunk.seq for chunk in chunks) == 3
    assert len({chunk.stream_id for chunk in chunks}) == 4
    assert is_all_there(rig)
    assert rig.holes() == []
    times = spans(rig)
    assert [end for _, end in times[:-1]] == [begin for begin, _ in times[1:]]


# limits


def test_a_changed_limit_applies_from_the_next_block(rig: Rig) -> None:
    loud, nothing = Limits(sound_level=-40.0), Limits()
    rig.run(1.5, lambda: rig.recorder.limits.set(loud), 2.5, lambda: rig.recorder.limits.set(nothing), 4)
    assert rig.facts.limits == [loud, nothing]
    ids = {sound.sound_id for chunk in rig.manifests() for sound in chunk.sounds}
    [sound] = [chunk.sounds[-1] for chunk in rig.manifests() if chunk.sounds][-1:]
    assert len(ids) == 1
    assert sound.first_frame == 1.5 * RATE
    assert sound.frames == (2.5 + 2.0) * RATE  # and its hold
    assert [(one.event, one.metric, one.limit) for one in rig.facts.crossings] == [
        ("exceeded", "sound_level", -40), ("cleared", "sound_level", -40),
    ]  # fmt: skip


def test_spool_limits_are_checked_as_chunks_are_finished(rig: Rig) -> None:
    thresholds = replace(rig.settings.thresholds, records_count=3)
    rig.settings = replace(rig.settings, thresholds=thresholds)
    rig.run(2)
    assert rig.facts.crossings == []
    rig.run(2)
    [crossing] = rig.facts.crossings
    assert (crossing.event, crossing.metric, crossing.limit) == ("exceeded", "records_count", 3)
    assert crossing.value >= 3


# time


def uncertain_rig(folder: Path) -> Rig:
    return Rig(folder, ManualClock(synchronised=False))


def test_times_are_uncertain_while_the_clock_is_not_synchronised(tmp_path: Path) -> None:
    rig = uncertain_rig(tmp_path)
    rig.run(2)
    assert all(chunk.uncertain for chunk in rig.manifests())
    assert rig.spool.streams.read(rig.spool.streams.ids()[0]).uncertain


@pytest.mark.parametrize("wrong_by", [3 * HOUR, -2 * DAY, 0])
def test_a_clock_correction_moves_all_streams_of_the_boot_without_a_jump(tmp_path: Path, wrong_by: float) -> None:
    rig = uncertain_rig(tmp_path)
    rig.run(2.5)
    rig.clock.advance(10)

    def synchronise() -> None:
        rig.clock.step_by(wrong_by)
        rig.clock.is_synchronised = True

    rig.run(2.5, synchronise, 3)
    by = wrong_by
    assert spans(rig) == [
        (by + begin, by + end)
        for begin, end in [
            (0, 1), (1, 2), (2, 2.5),
            (12.5, 13.5), (13.5, 14.5), (14.5, 15.5), (15.5, 16.5), (16.5, 17.5), (17.5, 18),
        ]
    ]  # fmt: skip
    assert rig.holes() == [hole("restart", by + 2.5, by + 12.5)]
    assert [chunk.uncertain for chunk in rig.manifests()] == [True] * 5 + [False] * 4
    assert len(rig.facts.corrected) == 2
    assert not any(rig.spool.streams.read(stream_id).uncertain for stream_id in rig.spool.streams.ids())
    assert is_all_there(rig)
    rig.run(1)  # once corrected, for good
    assert len(rig.facts.corrected) == 2


def test_a_clock_set_by_hand_moves_the_boots_streams_and_leaves_them_uncertain(tmp_path: Path) -> None:
    rig = uncertain_rig(tmp_path)
    rig.run(1.5, lambda: rig.clock.step_by(3 * HOUR), 2, lambda: rig.clock.step_by(-2 * DAY), 2)
    by = 3 * HOUR - 2 * DAY
    assert spans(rig)[0] == (by, by + 1)
    assert spans(rig)[-1][1] == pytest.approx(by + 5.5)
    assert all(chunk.uncertain for chunk in rig.manifests())
    assert rig.holes() == []
    rig.clock.is_synchronised = True
    rig.clock.step_by(2 * DAY)
    rig.run(1)
    assert spans(rig)[0] == (3 * HOUR, 3 * HOUR + 1)
    assert [gap.cause for gap in rig.holes()] == ["restart"]


def test_the_saved_stream_position_uses_the_corrected_time(tmp_path: Path) -> None:
    rig = uncertain_rig(tmp_path)
    rig.crash(1.5, lambda: rig.clock.step_by(3 * HOUR), 2)
    state = rig.spool.state.read()
    assert state is not None
    assert state.knot == (3 * RATE, at(3 * HOUR + 3))


def test_a_clock_correction_interrupted_by_a_crash_is_completed(tmp_path: Path) -> None:
    rig = uncertain_rig(tmp_path)
    rig.run(1)
    rig.clock.advance(5)
    rig.run(1)
    first = rig.spool.streams.ids()[0]
    before = rig.spool.streams.read(first)
    rig.clock.step_by(HOUR)
    rig.clock.is_synchronised = True
    rig.run()  # corrects
    assert rig.spool.streams.read(first).shift == HOUR * 1_000_000
    rig.spool.streams.write(before)  # as if the crash had come before this one was written
    rig.run()
    assert rig.spool.streams.read(first).shift == HOUR * 1_000_000


def test_a_gap_hidden_by_a_clock_in_the_past_appears_after_the_correction(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.run(2)
    rig.clock.boot("boot-2", wrong_by=-DAY, off_for=60)

    def synchronise() -> None:
        rig.clock.step_by(DAY)
        rig.clock.is_synchronised = True

    rig.run(2)
    assert not rig.manifests()[-1].before  # as the clock lay, there was none
    rig.run(synchronise, 2)
    assert rig.holes()[0] == hole("restart", 2, 62)
    assert spans(rig)[2] == (62, 63)


def test_a_jump_of_a_synchronised_clock_begins_a_new_stream(rig: Rig) -> None:
    rig.run(2.5, lambda: rig.clock.step_by(HOUR), 1.5)
    assert is_all_there(rig)
    assert spans(rig)[0] == (0, 1)
    assert spans(rig)[-1][1] == pytest.approx(HOUR + 4)
    [gap] = rig.holes()
    assert gap.cause == "unknown"
    ends = [chunk.end_reason for chunk in rig.manifests()]
    assert ends.count("rotated") == 1


def test_setting_the_clock_does_not_shorten_a_pause(rig: Rig) -> None:
    rig.spool.pause.write(PauseOrder(at(100)))
    rig.run(1, waits=[lambda: rig.clock.step_by(HOUR), lambda: rig.clock.advance(101)])
    assert len(rig.manifests()) == 1
    assert spans(rig)[0][0] >= HOUR + 101


def test_a_full_disk_is_announced_once_while_free_space_fluctuates(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([10**9] * 4 + list(range(15_000_000, 35_000_000, 777_777)))

    def free_bytes() -> int:
        return next(free, 10**9)

    monkeypatch.setattr(rig.spool.disk, "free_bytes", free_bytes)
    monkeypatch.setattr(rig.spool.disk, "total_bytes", lambda: 10**10)
    rig.tuning = Tuning(disk_check=0.0)
    rig.run(1, 1)
    assert rig.facts.modes == ["recording", "disk_full", "recording", "stopped"]
