"""One stream cut into chunks, whatever the blocks' sizes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.configuration.settings import Levels, Settings
from edge.core.values import Chunk, EndedSound, Hole, SpoolState
from edge.recorder.capture.blocks import Block
from edge.recorder.context import RecordingContext, Tuning
from edge.recorder.durable.disk import Disk
from edge.recorder.durable.ended_sounds import EndedSounds
from edge.recorder.durable.held_blocks import HeldBlocks
from edge.recorder.durable.journal import Journal
from edge.recorder.facts import MeasuredBlock, RecorderObserver, TimedSound
from edge.recorder.limit_watch import LimitWatch
from edge.recorder.signal.input_watch import InputWatch
from edge.recorder.stream_recorder import StreamRecorder
from edge.recorder.timing.clock import Belief, StreamClock
from edge.recorder.timing.timekeeper import Timekeeper
from edge.spool.spool import Spool
from edge.spool.thresholds import Limits
from tests.support.kernel_clock import ManualClock
from tests.support.spool.chunks import BOOT, RATE, START, make_stream


class RecordedFacts(RecorderObserver):
    def __init__(self) -> None:
        self.frames = 0
        self.sounds: list[TimedSound] = []
        self.chunks: list[Chunk] = []

    def block_measured(self, block: MeasuredBlock) -> None:
        self.frames += block.levels.frames

    def sound_changed(self, sound: TimedSound) -> None:
        self.sounds.append(sound)

    def chunk_finished(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)


def make(spool: Spool, facts: RecordedFacts, level: float = 0.0, **changes: object) -> tuple[StreamRecorder, Disk]:
    stream = make_stream(**{"utc_offset": int(START), **changes})  # type: ignore[arg-type]
    disk, clock = Disk(2), ManualClock()
    journal = Journal(spool, SpoolState(state="stopped", since=START, boot_id=BOOT, ordinal=0))
    spool.streams.write(stream)
    journal.stream_opened(stream)
    limits = LimitWatch(Limits(sound_level=level), 3.0, spool, clock, facts)
    context = RecordingContext(
        Settings(levels=Levels(hold_seconds=0.1)),
        spool,
        disk,
        journal,
        Timekeeper(clock, None),
        facts,
        limits,
        EndedSounds(spool.ended_sounds),
        HeldBlocks(lambda: spool.path),
        None,
        Tuning(),
    )
    return StreamRecorder(stream, StreamClock(RATE, 0, START), InputWatch(), context), disk


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=8), chunk_frames=st.integers(500, 15_000))
def test_every_frame_is_in_exactly_one_chunk(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], chunk_frames: int
) -> None:
    spool, facts = Spool(tmp_path_factory.mktemp("spool"), "porch"), RecordedFacts()
    recorder, disk = make(spool, facts, chunk_frames=chunk_frames)
    sound = np.random.default_rng(2).integers(-9_000, 9_000, (sum(sizes), 1), dtype=np.int16)
    done = 0
    for size in sizes:
        recorder.write(Block(sound[done : done + size], done * 1_000_000 // RATE))
        done += size
    recorder.end("stopped")
    disk.close()
    assert disk.failure is None
    assert [chunk.frames for chunk in facts.chunks[:-1]] == [chunk_frames] * (len(facts.chunks) - 1)
    assert facts.chunks[0].started_at == START
    for before, after in pairwise(facts.chunks):
        assert before.end_frame == after.first_frame
        assert before.ended_at == after.started_at
    read = [soundfile.read(spool.layout.audio_path(chunk), dtype="int16", always_2d=True)[0] for chunk in facts.chunks]
    assert np.array_equal(np.concatenate(read), sound)
    assert facts.frames == done
    ended = spool.streams.read(recorder.stream.stream_id)
    assert ended.knots[-1] == (done, facts.chunks[-1].ended_at)


def test_a_sound_is_listed_in_every_chunk_it_spans(tmp_path_factory: pytest.TempPathFactory) -> None:
    spool, facts = Spool(tmp_path_factory.mktemp("spool"), "porch"), RecordedFacts()
    recorder, disk = make(spool, facts, level=-30.0)
    time = np.arange(3 * RATE) / RATE
    loud = (time > 0.5) & (time < 1.5)
    sound = np.where(loud, 20_000 * np.sin(2 * np.pi * 1_000 * time), 0).astype(np.int16)[:, None]
    for start in range(0, len(sound), 400):
        recorder.write(Block(sound[start : start + 400], start * 1_000_000 // RATE))
    recorder.end("stopped")
    disk.close()
    events = [change.event for change in facts.sounds]
    assert (events[0], events[-1], set(events[1:-1])) == ("started", "ended", {"updated"})
    spans = [chunk.sounds for chunk in facts.chunks]
    assert spans[0][0].frames is None
    assert spans[1][0].frames is None or spans[1][0].frames > RATE
    assert len({span.sound_id for row in spans for span in row}) == 1


def loud_between(start: float, end: float, seconds: int) -> npt.NDArray[np.int16]:
    time = np.arange(seconds * RATE) / RATE
    loud = (time > start) & (time < end)
    return np.where(loud, 20_000 * np.sin(2 * np.pi * 1_000 * time), 0).astype(np.int16)[:, None]


def test_a_sound_is_noted_in_the_spool_before_its_end_is_announced_until_its_chunk_is_finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool"), "porch")
    noted: list[tuple[EndedSound, ...]] = []

    class Listener(RecordedFacts):
        def sound_changed(self, sound: TimedSound) -> None:
            super().sound_changed(sound)
            noted.append(spool.ended_sounds.read())

    facts = Listener()
    recorder, disk = make(spool, facts, level=-30.0, chunk_frames=2 * RATE)
    sound = loud_between(0.5, 1.0, 3)
    for start in range(0, len(sound), 400):
        if start == 2 * RATE - 400:
            disk.flush()
            assert spool.ended_sounds.read()  # the chunk is not finished yet
        recorder.write(Block(sound[start : start + 400], start * 1_000_000 // RATE))
    disk.flush()
    assert spool.ended_sounds.read() == ()  # its manifest has the sound
    recorder.end("stopped")
    disk.close()
    told = facts.sounds[-1]
    assert (told.event, noted[:-1]) == ("ended", [()] * (len(noted) - 1))
    [last] = noted[-1]
    assert (last.sound_id, last.started_at, last.ended_at) == (told.span.sound_id, told.started_at, told.ended_at)
    assert last.chunk_id == facts.chunks[0].chunk_id


def test_noted_sounds_follow_corrections_of_the_clock(tmp_path_factory: pytest.TempPathFactory) -> None:
    spool, facts = Spool(tmp_path_factory.mktemp("spool"), "porch"), RecordedFacts()
    recorder, disk = make(spool, facts, level=-30.0, uncertain=True, chunk_frames=9 * RATE)
    sound = loud_between(0.5, 1.0, 2)
    for start in range(0, len(sound), 400):
        recorder.write(Block(sound[start : start + 400], start * 1_000_000 // RATE))
    [before] = spool.ended_sounds.read()
    for belief in (Belief(START + 3_600_000_000, False), Belief(START + 60_000_000, True)):
        recorder.follow(belief)
        [after] = spool.ended_sounds.read()
        assert after.ended_at - before.ended_at == belief.offset - START
        assert after.started_at - before.started_at == belief.offset - START
    recorder.end("stopped")
    disk.close()


def test_the_gap_before_a_stream_ends_at_its_refined_start(tmp_path_factory: pytest.TempPathFactory) -> None:
    spool, facts = Spool(tmp_path_factory.mktemp("spool"), "porch"), RecordedFacts()
    hole = Hole("restart", START, START)
    recorder, disk = make(spool, facts, before=(hole,), utc_offset=0)
    for number in range(4):  # the first block came 300 ms late, the others in time
        late = 300_000 if number == 0 else 0
        recorder.write(Block(np.zeros((RATE // 4, 1), np.int16), number * 250_000 + late - 100_000))
    recorder.end("stopped")
    disk.close()
    assert spool.streams.read(recorder.stream.stream_id).knots[0][1] == START - 100_000
    assert facts.chunks[0].started_at == START - 100_000
    assert facts.chunks[0].before == ()  # without a length it is none


def test_a_stream_continues_in_corrected_time_after_a_clock_change(tmp_path_factory: pytest.TempPathFactory) -> None:
    spool, facts = Spool(tmp_path_factory.mktemp("spool"), "porch"), RecordedFacts()
    recorder, disk = make(spool, facts, uncertain=True)
    second = np.zeros((RATE, 1), np.int16)
    hour = 3_600_000_000
    recorder.write(Block(second, 0))
    recorder.follow(Belief(START + hour, False))
    recorder.write(Block(second, 1_000_000))
    assert recorder.time_of(2 * RATE) == START + hour + 2_000_000
    recorder.follow(Belief(START - hour, True))
    recorder.write(Block(second, 2_000_000))
    recorder.end("stopped")
    disk.close()
    times = [chunk.started_at - START for chunk in facts.chunks]
    assert times == [0, 1_000_000, 2_000_000 - hour]
    assert [chunk.uncertain for chunk in facts.chunks] == [True, True, False]
    stream = spool.streams.read(recorder.stream.stream_id)
    assert (stream.shift, stream.uncertain) == (-hour, False)
    assert stream.knots == ((0, START - hour), (3 * RATE, START - hour + 3_000_000))
