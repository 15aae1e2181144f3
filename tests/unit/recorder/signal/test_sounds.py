"""The sound detector against an oracle that looks at every frame, and its events."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.values import SoundSpan
from edge.recorder.capture.scene import Scene
from edge.recorder.signal.levels import FULL_SCALE_16, BlockLevels, LevelMeter
from edge.recorder.signal.sounds import SoundChange, SoundDetector

STREAM = "20260303T220000Z-k3f9"
RATE = 10
LEVEL, HYSTERESIS = -40.0, 3.0

Blocks = list[tuple[int, float]]  # frames, fast level
blocks_of_sound = st.lists(
    st.tuples(st.integers(1, 35), st.sampled_from([-70.0, -50.0, -43.01, -43.0, -41.5, -40.0, -20.0])), max_size=40
)
holds = st.sampled_from([0.0, 0.1, 0.5, 2.0, 5.0])


def detector(hold: float = 2.0) -> SoundDetector:
    return SoundDetector(STREAM, RATE, LEVEL, HYSTERESIS, hold)


def as_levels(blocks: Blocks) -> list[BlockLevels]:
    starts = itertools.accumulate((frames for frames, _ in blocks), initial=0)
    return [BlockLevels(start, n, level, level - 5) for start, (n, level) in zip(starts, blocks, strict=False)]


def oracle(blocks: Blocks, hold: float) -> list[SoundSpan]:
    """Frame by frame: a sound is over once `hold` seconds of frames, and one at least, were too quiet."""
    levels = [level for frames, level in blocks for _ in range(frames)]
    found, first, quiet = [], -1, 0
    for frame, level in enumerate([*levels, -math.inf]):
        if first < 0:
            if level >= LEVEL:
                first, quiet = frame, 0
            continue
        quiet = 0 if level >= LEVEL - HYSTERESIS else quiet + 1
        at_end = frame == len(levels)
        if at_end or quiet >= max(hold * RATE, 1):
            end = frame if at_end else frame + 1 - quiet + round(hold * RATE)
            part = levels[first:end]
            energy = sum(10 ** ((level - 5) / 10) for level in part) / len(part)
            laeq = 10 * math.log10(energy)
            found.append(SoundSpan(f"{STREAM}-s{first}", first, end - first, max(part), laeq))
            first = -1
    return found


@given(blocks_of_sound, holds)
def test_detected_sounds_equal_those_of_the_oracle(blocks: Blocks, hold: float) -> None:
    detecting = detector(hold)
    changes = [change for block in as_levels(blocks) for change in detecting.add(block)]
    changes += detecting.finish()
    ended = [change.span for change in changes if change.event == "ended"]
    expected = oracle(blocks, hold)
    assert [(span.sound_id, span.first_frame, span.frames) for span in ended] == [
        (span.sound_id, span.first_frame, span.frames) for span in expected
    ]
    for span, wanted in zip(ended, expected, strict=True):
        assert (span.lafmax, span.laeq) == pytest.approx((wanted.lafmax, wanted.laeq), abs=0.011)
    assert list(detecting.take_chunk()) == ended


@given(blocks_of_sound, holds)
def test_sound_events_are_ordered_and_updated_every_second(blocks: Blocks, hold: float) -> None:
    detecting = detector(hold)
    changes: list[tuple[int, SoundChange]] = []  # with the number of the block
    for number, block in enumerate(as_levels(blocks)):
        found = detecting.add(block)
        assert len(found) <= 1
        changes += [(number, change) for change in found]
    changes += [(len(blocks), change) for change in detecting.finish()]
    ends = list(itertools.accumulate(frames for frames, _ in blocks))
    for identity, group in itertools.groupby(changes, lambda item: item[1].span.sound_id):
        own = list(group)
        assert [change.event for _, change in own] == ["started", *["updated"] * (len(own) - 2), "ended"]
        assert {change.span.sound_id for _, change in own} == {identity}
        assert all(change.span.frames is None for _, change in own[:-1])
        first, due, wanted = own[0][1].span.first_frame, RATE, []
        for number in range(own[0][0] + 1, own[-1][0]):
            if ends[number] - first >= due:  # the first block that ends in a new second of the sound
                wanted.append(number)
                due = ((ends[number] - first) // RATE + 1) * RATE
        assert [number for number, _ in own[1:-1]] == wanted


@given(blocks_of_sound, holds, st.sets(st.integers(0, 40)))
def test_each_chunk_lists_its_sounds_and_the_last_chunk_has_the_final_values(
    blocks: Blocks, hold: float, cuts: set[int]
) -> None:
    detecting = detector(hold)
    chunks: list[tuple[int, int, tuple[SoundSpan, ...]]] = []
    start = 0
    for number, block in enumerate(as_levels(blocks)):
        detecting.add(block)
        if number in cuts and number < len(blocks) - 1:
            chunks.append((start, block.end_frame, detecting.take_chunk()))
            start = block.end_frame
    detecting.finish()
    chunks.append((start, sum(n for n, _ in blocks), detecting.take_chunk()))
    expected = {span.sound_id: span for span in oracle(blocks, hold)}
    last = {span.sound_id: span for _, _, spans in chunks for span in spans}
    assert {identity: span.frames for identity, span in last.items()} == {i: s.frames for i, s in expected.items()}
    for begin, end, spans in chunks:
        listed = [span.sound_id for span in spans]
        assert len(listed) == len(set(listed))
        inside = [i for i, s in expected.items() if s.first_frame < end and s.first_frame + (s.frames or 0) > begin]
        assert set(inside) <= set(listed)
        assert all(span.first_frame == expected[span.sound_id].first_frame for span in spans)


def test_a_sound_level_of_0_detects_nothing() -> None:
    detecting = SoundDetector(STREAM, RATE, 0.0)
    assert detecting.add(BlockLevels(0, 10, 3.0, 0.0)) == ()
    assert detecting.take_chunk() == ()


def test_the_sound_level_can_change_during_a_sound() -> None:
    detecting = detector(hold=1.0)
    blocks = as_levels([(10, -30.0)] * 5)
    assert detecting.add(blocks[0])[0].event == "started"
    detecting.set_level(0.0)
    assert detecting.threshold_level(blocks[0]) == -30.0
    (ended,) = detecting.add(blocks[1])
    assert (ended.event, ended.span.frames) == ("ended", 20)
    assert detecting.add(blocks[2]) == ()
    detecting.set_level(-35.0)
    assert detecting.add(blocks[3])[0].span.sound_id == f"{STREAM}-s30"


def test_the_threshold_metric_stays_up_during_a_sound() -> None:
    detecting = detector(hold=2.0)
    seen = []
    for block in as_levels([(5, -60.0), (5, -38.0), (10, -70.0), (5, -39.0), (10, -70.0), (10, -70.0), (10, -70.0)]):
        detecting.add(block)
        seen.append(detecting.threshold_level(block))
    assert seen == [-60.0, -38.0, -40.0, -39.0, -40.0, -70.0, -70.0]


def test_an_open_sound_of_a_crashed_stream_can_be_resumed_and_ended() -> None:
    span = SoundSpan(f"{STREAM}-s100", 100, None, -20.0, -30.0)
    detecting = detector()
    detecting.resume(span, 350)
    (ended,) = detecting.finish()
    assert ended.span == SoundSpan(f"{STREAM}-s100", 100, 250, -20.0, -30.0)


def test_a_block_without_frames_changes_nothing() -> None:
    detecting = detector()
    assert detecting.add(BlockLevels(0, 0, -10.0, -10.0, 0)) == ()
    assert detecting.finish() == ()


def test_birds_in_the_synthetic_scene_are_detected_across_chunks() -> None:
    rate, chunk_frames, total = 8_000, 20_000, 60 * 8_000
    scene, meter = Scene(rate, 1, 16), LevelMeter(rate, 1, FULL_SCALE_16)
    detecting = SoundDetector(STREAM, rate, LEVEL, HYSTERESIS, 0.5)
    spans: dict[str, SoundSpan] = {}
    frame = 0
    while frame < total:
        frames = min(2048, chunk_frames - frame % chunk_frames)
        detecting.add(meter.add(scene.render(frame, frames)))
        frame += frames
        if frame % chunk_frames == 0:
            if frame == total:
                detecting.finish()
            spans |= {span.sound_id: span for span in detecting.take_chunk()}
    assert 6 <= len(spans) <= 30
    assert all(span.frames and rate // 2 < span.frames < 10 * rate for span in spans.values())
    assert max(span.lafmax for span in spans.values()) > -25
