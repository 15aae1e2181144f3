"""Which events the recorder's facts become, on a bus that only records them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from edge.configuration.loader import load
from edge.core import wire
from edge.core.instant import Instant
from edge.core.values import Chunk, Hole, SoundSpan, Stream
from edge.messaging.bus import Bus
from edge.messaging.events import Event, GapFound, LevelMeasured, LimitsSet, RecorderState, SoundHeard, SoundingChanged
from edge.recorder.announcer import Announcer
from edge.recorder.facts import MeasuredBlock, sound_cut_off
from edge.recorder.signal.input_watch import InputFault
from edge.recorder.signal.levels import BlockLevels, SecondLevels
from edge.spool.thresholds import Limits
from tests.support.kernel_clock import ManualClock
from tests.support.spool.chunks import RATE, START, STREAM, make_chunk, make_stream


class Memory:
    """A bus that nobody listens to."""

    def __init__(self) -> None:
        self.published: list[Event] = []
        self.retained: list[dict[str, Any]] = []

    def publish(self, event: Event) -> None:
        self.published.append(event)

    def subscribe_raw(self, *_: Any) -> None:
        """Nothing ever comes."""

    def retain(self, _topic: str, payload: bytes) -> None:
        self.retained.append(wire.decode(payload, dict[str, Any]))


@pytest.fixture
def bus() -> Memory:
    return Memory()


@pytest.fixture
def announcer(tmp_path: Path, bus: Memory) -> Announcer:
    settings = load(tmp_path, overrides=["node.name=porch"], environ={})
    announcer = Announcer(settings, cast(Bus, bus), ManualClock())
    bus.published.clear()
    return announcer


@pytest.mark.parametrize("reason", [None, "the schedule says so"])
def test_a_pause_is_logged_without_a_warning(
    announcer: Announcer, caplog: pytest.LogCaptureFixture, reason: str | None
) -> None:
    caplog.set_level(logging.INFO)
    announcer.mode_changed("paused", START, reason, None)
    announcer.mode_changed("no_device", START, "it is gone", None)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", f"paused: {reason}" if reason else "paused"),
        ("WARNING", "no_device: it is gone"),
    ]


def second(end_frame: int, lafmax: float) -> MeasuredBlock:
    levels = SecondLevels(end_frame, -50.0, lafmax, -30.0, 0)
    return MeasuredBlock(BlockLevels(end_frame - RATE, RATE, lafmax, -50.0, 0, (levels,)), "dBFS", (START,))


def test_lafmax_minute_covers_60_seconds_and_is_reset_by_a_pause(announcer: Announcer, bus: Memory) -> None:
    for number in range(62):
        announcer.block_measured(second((number + 1) * RATE, -20.0 if number == 1 else -40.0))
    announcer.mode_changed("paused", START, None, None)
    announcer.block_measured(second(RATE, -45.0))
    loudest = [event.lafmax_minute for event in bus.published if isinstance(event, LevelMeasured)]
    assert loudest == [-40.0] + [-20.0] * 60 + [-40.0, -45.0]


def test_the_published_state_contains_the_input_fault_until_recording_ends(announcer: Announcer, bus: Memory) -> None:
    announcer.mode_changed("recording", START, None, None)
    announcer.input_fault_changed(InputFault("silence", "is it muted?"))
    announcer.mode_changed("paused", START, None, None)
    states = [(e.state, e.input_fault, e.hint) for e in bus.published if isinstance(e, RecorderState)]
    assert states == [
        ("recording", None, None), ("recording", "silence", "is it muted?"), ("paused", None, None),
    ]  # fmt: skip


def test_a_gap_is_published_and_becomes_last_gap_but_a_pause_does_not(announcer: Announcer, bus: Memory) -> None:
    announcer.mode_changed("recording", START, None, None)
    crash = Hole("crash", START, Instant(START + 2_000_000))
    pause = Hole("paused", crash.to, Instant(START + 9_000_000))
    announcer.opening_refined(make_stream(before=(crash, pause)))
    state, gap, again = bus.published
    assert isinstance(state, RecorderState)
    assert state.last_gap is None
    assert isinstance(gap, GapFound)
    assert (gap.started_at, gap.ended_at, gap.cause) == (crash.from_, crash.to, "crash")
    assert isinstance(again, RecorderState)
    assert again.last_gap == crash


def test_discovery_is_published_again_when_the_level_unit_changes(announcer: Announcer, bus: Memory) -> None:
    bus.retained.clear()
    announcer.stream_opened(make_stream())
    assert bus.retained == []
    announcer.stream_opened(make_stream(calibration_db=94.0))
    announcer.stream_opened(make_stream(calibration_db=94.0))
    [payload] = bus.retained
    assert payload["components"]["level"]["unit_of_measurement"] == "dBA"


def test_changed_limits_are_published(announcer: Announcer, bus: Memory) -> None:
    announcer.limits_changed(Limits(records_count=7))
    [event] = bus.published
    assert isinstance(event, LimitsSet)
    assert (event.records_count, event.sound_level) == (7, 0)


def span(first_frame: int, frames: int | None) -> SoundSpan:
    return SoundSpan(f"{STREAM}-s{first_frame}", first_frame, frames, -20.0, -24.0)


def test_a_sound_that_a_crash_cut_off_is_published_as_ended(announcer: Announcer, bus: Memory) -> None:
    """It began half a second before the chunk, and the stream's clock was corrected by an hour since."""
    hour = 3_600_000_000
    stream = make_stream(uncertain=True, shift=hour, knots=((0, Instant(START + hour)),))
    sounds = (span(100, 200), span(RATE // 2, RATE + RATE // 4))
    cut_off = sound_cut_off(replace(make_chunk(1, uncertain=True, sounds=sounds), recovered=True), stream)
    assert cut_off is not None
    announcer.sound_changed(cut_off)
    ended, quiet = bus.published
    assert isinstance(ended, SoundHeard)
    assert (ended.event, ended.sound_id, ended.unit) == ("ended", f"{STREAM}-s{RATE // 2}", "dBFS")
    assert (ended.started_at, ended.ended_at) == (START + hour + 500_000, START + hour + 1_750_000)
    assert (ended.lafmax, ended.laeq) == (-20.0, -24.0)
    assert isinstance(quiet, SoundingChanged)
    assert (quiet.sounding, quiet.since, quiet.sound_id) == (False, ended.ended_at, ended.sound_id)


NOT_CUT_OFF: list[tuple[Chunk, Stream | None]] = [
    (replace(make_chunk(0, sounds=(span(100, 200), span(5_000, None))), recovered=True), make_stream()),
    (make_chunk(0, sounds=(span(100, RATE - 100),)), make_stream()),
    (replace(make_chunk(0), recovered=True), make_stream()),
]


@pytest.mark.parametrize(("chunk", "stream"), NOT_CUT_OFF, ids=["it lasts", "not recovered", "no sound"])
def test_only_a_recovered_chunk_with_an_ended_sound_has_a_sound_cut_off(chunk: Chunk, stream: Stream | None) -> None:
    assert sound_cut_off(chunk, stream) is None
