"""The sounds in what is recovered after a crash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from edge.configuration.loader import load
from edge.configuration.settings import Settings
from edge.core.ids import chunk_id
from edge.core.values import EndedSound, SoundSpan
from edge.recorder.capture.blocks import block_frames
from edge.recorder.durable.repair import repair
from edge.spool import limits
from edge.spool.spool import Spool
from edge.spool.thresholds import Limits
from tests.support.spool.chunks import RATE, START, STREAM, at, audio_bytes, make_chunk, make_stream, put_chunk
from tests.unit.recorder.durable.crashed_spool import KERNEL, leave_recording_state, part_bytes


def test_an_open_sound_ends_with_the_recovered_chunk(spool: Spool) -> None:
    spool.streams.write(make_stream())
    data = audio_bytes(0)
    lasting = SoundSpan(f"{STREAM}-s6000", 6_000, None, -20.0, -30.0)
    put_chunk(spool, make_chunk(0, data, sounds=(lasting,)), data)
    leave_recording_state(spool, (RATE, at(1)))
    spool.layout.part_path(chunk_id(STREAM, 1), "flac").write_bytes(part_bytes(spool.path, 5_000))
    [chunk] = repair(spool, KERNEL)[1]
    [sound] = chunk.sounds
    assert (sound.sound_id, sound.first_frame, sound.frames) == (lasting.sound_id, 6_000, RATE + 4_096 - 6_000)


def listening(*overrides: str) -> Settings:
    wishes = ["node.name=porch", "thresholds.sound_level=-30", "levels.hold_seconds=0.2", *overrides]
    return load(Path("/nonexistent"), overrides=wishes, environ={})


def part_of(spool: Spool, seq: int, *loud: tuple[int, int], frames: int = RATE) -> None:
    """A part of which a crash kept all: quiet, but for these frames."""
    samples = np.random.default_rng(seq).integers(-3, 4, (frames, 1), dtype=np.int16)
    for begin, end in loud:
        samples[begin:end, 0] = 20_000 * np.sin(2 * np.pi * 1_000 * np.arange(end - begin) / RATE)
    path = spool.layout.part_path(chunk_id(STREAM, seq), "flac")
    soundfile.write(path, samples, RATE, format="FLAC", subtype="PCM_16")


def test_sounds_within_a_recovered_chunk_are_detected(spool: Spool) -> None:
    spool.streams.write(make_stream(chunk_frames=10 * RATE))
    leave_recording_state(spool, (0, START))
    part_of(spool, 0, (8_000, 12_000), (28_000, 32_000), frames=32_000)
    [chunk] = repair(spool, KERNEL, None, listening())[1]
    first, second = chunk.sounds
    block = block_frames(listening().recorder.block_ms, RATE)
    assert first.first_frame == 8_000 // block * block  # the block in which the recorder heard it: so one id
    assert first.sound_id == f"{STREAM}-s{first.first_frame}"
    assert first.frames is not None
    assert 4_000 < first.frames < 16_000  # the fast level takes its time to fall
    assert second.frames == 32_000 - second.first_frame


def test_a_limit_set_at_run_time_applies_to_recovered_chunks(spool: Spool) -> None:
    spool.streams.write(make_stream())
    leave_recording_state(spool, (0, START))
    limits.save(spool.path, Limits(sound_level=-30.0))
    part_of(spool, 0, (2_000, 4_000), frames=7_000)
    [chunk] = repair(spool, KERNEL, None, listening("thresholds.sound_level=0"))[1]
    assert len(chunk.sounds) == 1


def test_an_open_sound_can_end_within_a_recovered_chunk(spool: Spool) -> None:
    whole = 4 * RATE
    spool.streams.write(make_stream(chunk_frames=whole))
    data = audio_bytes(0)
    lasting = SoundSpan(f"{STREAM}-s6000", 6_000, None, -4.0, -5.0)
    put_chunk(spool, make_chunk(0, data, seconds=4, sounds=(lasting,)), data)
    leave_recording_state(spool, (whole, at(4)))
    part_of(spool, 1, (0, 2_000), (20_000, 22_000), frames=22_000)
    [chunk] = repair(spool, KERNEL, None, listening())[1]
    first, second = chunk.sounds
    assert (first.sound_id, first.first_frame) == (lasting.sound_id, 6_000)
    assert first.frames is not None
    assert whole + 2_000 < 6_000 + first.frames < second.first_frame
    assert second.frames == whole + 22_000 - second.first_frame


def test_a_sound_continues_from_one_recovered_chunk_into_the_next(spool: Spool) -> None:
    spool.streams.write(make_stream())
    leave_recording_state(spool, (0, START))
    part_of(spool, 0, (6_000, 8_000))
    part_of(spool, 1, (0, 5_000), frames=5_000)
    first, second = repair(spool, KERNEL, None, listening())[1]
    [lasting], [ended] = first.sounds, second.sounds
    assert lasting.frames is None
    assert (ended.sound_id, ended.first_frame) == (lasting.sound_id, lasting.first_frame)
    assert ended.frames == RATE + 5_000 - lasting.first_frame


def test_a_quiet_chunk_is_recovered_without_sounds(spool: Spool) -> None:
    spool.streams.write(make_stream())
    leave_recording_state(spool, (0, START))
    part_of(spool, 0, frames=7_000)
    [chunk] = repair(spool, KERNEL, None, listening())[1]
    assert chunk.sounds == ()


def test_the_note_about_sounds_of_the_chunk_being_written_is_removed_once_that_is_repaired(spool: Spool) -> None:
    spool.streams.write(make_stream(chunk_frames=10 * RATE))
    leave_recording_state(spool, (0, START))
    part_of(spool, 0, (8_000, 12_000), frames=32_000)
    noted = EndedSound(
        sound_id=f"{STREAM}-s8000", chunk_id=chunk_id(STREAM, 0), started_at=at(1), ended_at=at(2),
        lafmax=-20.0, laeq=-30.0, unit="dBFS",
    )  # fmt: skip
    spool.ended_sounds.write([noted])
    [chunk] = repair(spool, KERNEL, None, listening())[1]
    assert chunk.sounds
    assert spool.ended_sounds.read() == ()
