"""A sound file as a source is played exactly once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.configuration.loader import load
from edge.configuration.settings import Recorder
from edge.core.errors import FileUnplayable
from edge.core.kernel_clock import KernelClock
from edge.recorder.capture.blocks import EndOfSound, Samples, SoundSource, block_frames
from edge.recorder.capture.sources import SourceChoice
from tests.support.recording.microphone import write_noise


def recorder_settings(folder: Path, source: Path) -> Recorder:
    options = [f"recorder.source={source}", "recorder.pace=max", "recorder.block_ms=80"]
    return load(folder, overrides=options, environ={}).recorder


def read(source: SoundSource, blocks: int) -> list[Samples]:
    found = [source.read(1.0) for _ in range(blocks)]
    return [block.samples for block in found if block is not None]


def test_a_source_file_resumes_after_a_pause_where_it_stopped(tmp_path: Path) -> None:
    played = write_noise(tmp_path / "a.wav", 0.5, seed=1)
    choose = SourceChoice(recorder_settings(tmp_path, tmp_path / "a.wav"), KernelClock())
    source = choose()
    source.open()
    before = read(source, 2)
    source.close()
    source = choose()
    source.open()
    block = source.read(1.0)
    assert block is not None
    after = read(source, 4)
    with pytest.raises(EndOfSound):
        source.read(1.0)
    source.close()
    assert np.array_equal(np.concatenate([*before, block.samples, *after])[:, 0], played)


@pytest.mark.parametrize("kind", ["missing", "text", "folder", "device"])
def test_an_unplayable_source_file_is_reported_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.wav"
    if kind == "text":
        path.write_text("no sound")
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/null")
    words = {
        "missing": "No such file", "text": "is no sound file", "folder": "Is a directory",
        "device": "Not a regular file",
    }[kind]  # fmt: skip
    with pytest.raises(FileUnplayable, match=f"{words}.*set .recorder. source") as caught:
        SourceChoice(recorder_settings(tmp_path, path), KernelClock())().open()
    assert "\n" not in str(caught.value)


def test_a_named_pipe_as_a_source_is_refused_instead_of_awaiting_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    source = SourceChoice(recorder_settings(tmp_path, tmp_path / "a.wav"), KernelClock())()
    with ThreadPoolExecutor() as pool:
        opened = pool.submit(source.open)
        try:
            problem = opened.exception(timeout=20)
        finally:
            os.close(os.open(tmp_path / "a.wav", os.O_RDWR))  # ends the wait of a thread that hangs
    assert isinstance(problem, FileUnplayable)
    assert "Not a regular file" in str(problem)


@pytest.mark.parametrize("what", ["shorter", "gone", "no sound"])
def test_a_source_file_damaged_during_a_pause_counts_as_ended(tmp_path: Path, what: str) -> None:
    """An error would end the process, and the next one would play the file from its first sample, once more."""
    path = tmp_path / "a.wav"
    write_noise(path, 0.5, seed=1)
    choose = SourceChoice(recorder_settings(tmp_path, path), KernelClock())
    source = choose()
    form = source.open()
    read(source, 3)
    source.close()
    if what == "shorter":
        write_noise(path, 0.1, seed=2)
    elif what == "gone":
        path.unlink()
    else:
        path.write_text("no sound")
    source = choose()
    assert source.open() == form
    with pytest.raises(EndOfSound):
        source.read(1.0)
    source.close()


@pytest.mark.parametrize(
    "rate", [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000]
)
@pytest.mark.parametrize("milliseconds", [40, Recorder().block_ms, 400])
def test_block_lengths_are_whole_microseconds_at_every_usual_rate(milliseconds: int, rate: int) -> None:
    """Else PulseAudio hands over two blocks each second time, half of them a block late."""
    frames = block_frames(milliseconds, rate)
    assert frames * 1_000_000 % rate == 0
    assert abs(frames - milliseconds * rate / 1000) <= 0.02 * rate


@given(milliseconds=st.integers(20, 400), rate=st.integers(8_000, 192_000))
def test_a_block_is_about_as_long_as_requested(milliseconds: int, rate: int) -> None:
    wanted = milliseconds / 1000
    assert wanted / 2 <= block_frames(milliseconds, rate) / rate <= wanted * 2
