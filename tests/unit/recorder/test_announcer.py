"""What the recorder says on the bus, over a bus that only remembers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from edge.configuration.loader import load
from edge.core.instant import Instant
from edge.core.values import Chunk, SoundSpan
from edge.messaging.bus import Bus
from edge.messaging.events import Event, SoundHeard, SoundingChanged, ThresholdCrossed
from edge.recorder.announcer import Announcer
from edge.spool.spool import Spool
from edge.spool.thresholds import Limits
from tests.support.chunks import RATE, START, STREAM, audio_bytes, make_chunk, make_stream, put_chunk
from tests.support.kernel import TurnedClock


class Memory:
    """A bus of which nobody hears."""

    def __init__(self) -> None:
        self.said: list[Event] = []

    def publish(self, event: Event) -> None:
        self.said.append(event)

    def subscribe_raw(self, *_: Any) -> None:
        """Nothing ever comes."""

    def retain(self, *_: Any) -> None:
        """Home Assistant is not here."""


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool", "porch")
    spool.create()
    return spool


@pytest.mark.parametrize("reason", [None, "the schedule says so"])
def test_a_pause_that_somebody_ordered_is_no_alarm(
    spool: Spool, caplog: pytest.LogCaptureFixture, reason: str | None
) -> None:
    caplog.set_level(logging.INFO)
    settings = load(spool.path.parent, overrides=["node.name=porch"], environ={})
    announcer = Announcer(settings, spool, cast(Bus, Memory()), TurnedClock(), Limits())
    announcer.mode_changed("paused", START, reason, None)
    announcer.mode_changed("no_device", START, "it is gone", None)
    said = [(record.levelname, record.message) for record in caplog.records]
    assert said == [
        ("INFO", f"paused: {reason}" if reason else "paused"),
        ("WARNING", "no_device: it is gone"),
    ]


def told_of(spool: Spool, chunk: Chunk, limits: Limits) -> list[Event]:
    """What is told once `chunk` is finished."""
    bus = Memory()
    settings = load(spool.path.parent, overrides=["node.name=porch"], environ={})
    announcer = Announcer(settings, spool, cast(Bus, bus), TurnedClock(), limits)
    bus.said.clear()
    announcer.chunk_finished(chunk)
    return bus.said


def crossings(spool: Spool, limits: Limits, chunks: int) -> list[ThresholdCrossed]:
    """What is told of the limits once the last of `chunks` chunks is finished."""
    said = told_of(spool, make_chunk(chunks, audio_bytes(chunks)), limits)
    return [event for event in said if isinstance(event, ThresholdCrossed)]


def test_a_copy_of_what_the_store_has_does_not_wait(spool: Spool) -> None:
    for number in (1, 2, 3):
        data = audio_bytes(number)
        put_chunk(spool, make_chunk(number, data), data)
    limits = Limits(records_count=3)
    assert [(one.metric, one.value) for one in crossings(spool, limits, 3)] == [("records_count", 3)]
    spool.chunks.mark_retained(sorted(spool.chunks.finished())[0])
    assert [one.event for one in crossings(spool, limits, 3)] == ["cleared"]
    everything = Limits(records_count=1, storage_usage=1e-6, oldest_age=1e-6)
    for chunk_id in spool.chunks.finished():
        spool.chunks.mark_retained(chunk_id)
    assert crossings(spool, everything, 3) == []


def test_a_restart_neither_tells_an_excess_again_nor_forgets_its_end(spool: Spool) -> None:
    for number in (1, 2, 3):
        data = audio_bytes(number)
        put_chunk(spool, make_chunk(number, data), data)
    limits = Limits(records_count=3)
    assert [one.event for one in crossings(spool, limits, 3)] == ["exceeded"]
    assert crossings(spool, limits, 3) == []
    spool.chunks.mark_retained(sorted(spool.chunks.finished())[0])
    assert [(one.event, one.value) for one in crossings(spool, limits, 3)] == [("cleared", 2)]
    assert crossings(spool, limits, 3) == []


def test_what_was_exceeded_and_cannot_be_read_is_told_again(spool: Spool) -> None:
    (spool.path / "exceeded.json").write_text("[")
    data = audio_bytes(1)
    put_chunk(spool, make_chunk(1, data), data)
    assert [one.event for one in crossings(spool, Limits(records_count=1), 1)] == ["exceeded"]


def span(first_frame: int, frames: int | None) -> SoundSpan:
    return SoundSpan(f"{STREAM}-s{first_frame}", first_frame, frames, -20.0, -24.0)


def sounds_told(spool: Spool, chunk: Chunk) -> list[Event]:
    return [event for event in told_of(spool, chunk, Limits()) if isinstance(event, SoundHeard | SoundingChanged)]


def test_a_sound_that_a_crash_cut_off_is_told_to_have_ended(spool: Spool) -> None:
    """It began half a second before the chunk, and the stream's clock was corrected by an hour since."""
    hour = 3_600_000_000
    spool.streams.write(make_stream(uncertain=True, shift=hour, knots=((0, Instant(START + hour)),)))
    sounds = (span(100, 200), span(RATE // 2, RATE + RATE // 4))
    chunk = replace(make_chunk(1, uncertain=True, sounds=sounds), recovered=True)
    ended, quiet = sounds_told(spool, chunk)
    assert isinstance(ended, SoundHeard)
    assert (ended.event, ended.sound_id, ended.unit) == ("ended", f"{STREAM}-s{RATE // 2}", "dBFS")
    assert (ended.started_at, ended.ended_at) == (START + hour + 500_000, START + hour + 1_750_000)
    assert (ended.lafmax, ended.laeq) == (-20.0, -24.0)
    assert isinstance(quiet, SoundingChanged)
    assert (quiet.sounding, quiet.since, quiet.sound_id) == (False, ended.ended_at, ended.sound_id)


def test_a_sound_that_goes_on_is_not_told_to_have_ended(spool: Spool) -> None:
    sounds = (span(100, 200), span(5_000, None))
    assert sounds_told(spool, replace(make_chunk(0, sounds=sounds), recovered=True)) == []


def test_a_chunk_that_was_not_recovered_tells_of_no_sound(spool: Spool) -> None:
    assert sounds_told(spool, make_chunk(0, sounds=(span(100, RATE - 100),))) == []
