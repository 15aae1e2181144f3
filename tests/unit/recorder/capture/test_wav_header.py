"""A WAV file whose header states fewer samples than the file holds: all are recorded where possible, and reported."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge.configuration.loader import load
from edge.core.kernel_clock import KernelClock
from edge.recorder.capture.sources import SourceChoice
from tests.unit.recorder.capture.test_source_encodings import read_all, source_of, tone

_RATE = 8_000
_SUBTYPES = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]


def write_wav(path: Path, subtype: str = "PCM_16", container: str = "WAV", endian: str = "FILE") -> None:
    stereo = np.column_stack([tone(0.5), tone(0.25)])
    soundfile.write(path, stereo, _RATE, subtype=subtype, format=container, endian=endian)


def state(path: Path, frames: int) -> None:
    """Changes the header alone: it then states so many frames."""
    data = bytearray(path.read_bytes())
    order = ">" if data[:4] == b"RIFX" else "<"
    place = data.index(b"data") + 4
    block_align = struct.unpack_from(f"{order}H", data, data.index(b"fmt ") + 20)[0]
    struct.pack_into(f"{order}I", data, place, frames * block_align)
    path.write_bytes(data)


@pytest.mark.parametrize("stated", [0, 1, 3_999])
@pytest.mark.parametrize("subtype", _SUBTYPES)
def test_a_header_that_states_too_few_frames_hides_no_sound(
    tmp_path: Path, subtype: str, stated: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "killed.wav"
    write_wav(path, subtype)
    form, expected = read_all(source_of(path))
    state(path, stated)
    with caplog.at_level(logging.WARNING):
        assert read_all(source_of(path))[0] == form
    assert f"killed.wav: its header states {stated} frames, it holds {_RATE}; all of them are recorded" in caplog.text
    assert np.array_equal(read_all(source_of(path))[1], expected)


@pytest.mark.parametrize(("container", "endian"), [("WAV", "BIG"), ("WAVEX", "FILE"), ("RF64", "FILE")])
def test_other_kinds_of_wav_hide_no_sound_either(tmp_path: Path, container: str, endian: str) -> None:
    path = tmp_path / "killed.wav"
    write_wav(path, container=container, endian=endian)
    _, expected = read_all(source_of(path))
    state(path, 5)
    assert np.array_equal(read_all(source_of(path))[1], expected)


def test_an_empty_file_that_was_never_closed_is_reported_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """libsndfile repairs this one itself, silently."""
    path = tmp_path / "killed.wav"
    write_wav(path)
    state(path, 0)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 4, 8)
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        _, got = read_all(source_of(path))
    assert len(got) == _RATE
    assert f"states 0 frames, it holds {_RATE}" in caplog.text


@pytest.mark.parametrize(
    "after",
    [
        b"LIST\x04\x00\x00\x00INFO",
        b"abcd\x03\x00\x00\x00xyz\x00",
        b"TAG" + bytes(125),
        b"LIST\xff\x00\x00\x00INFO",
        b"\x00",
    ],
    ids=["chunk", "unknown chunk", "ID3v1", "chunk cut off", "one byte"],
)
def test_what_follows_the_samples_is_not_recorded(
    tmp_path: Path, after: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "whole.wav"
    write_wav(path)
    path.write_bytes(path.read_bytes() + after)
    with caplog.at_level(logging.WARNING):
        _, got = read_all(source_of(path))
    assert len(got) == _RATE
    assert not caplog.text


def test_compressed_samples_that_the_header_does_not_state_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "killed.wav"
    soundfile.write(path, tone(0.5), _RATE, subtype="IMA_ADPCM")
    stated = len(read_all(source_of(path))[1])
    path.write_bytes(path.read_bytes() + b"\xff" * 10_000)
    with caplog.at_level(logging.WARNING):
        _, got = read_all(source_of(path))
    assert len(got) == stated
    assert "only those stated are recorded" in caplog.text


def test_a_file_with_a_wrong_header_resumes_after_a_pause_with_its_next_sample(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "killed.wav"
    write_wav(path)
    _, expected = read_all(source_of(path))
    state(path, 0)
    settings = load(tmp_path, overrides=[f"recorder.source={path}", "recorder.pace=max"], environ={}).recorder
    choose = SourceChoice(settings, KernelClock())
    source = choose()
    source.open()
    first = source.read(1.0)
    source.close()
    assert first is not None
    assert caplog.text.count("its header states") == 1
    _, after = read_all(choose())
    assert np.array_equal(np.concatenate([first.samples / 2**15, after]), expected)
    assert caplog.text.count("its header states") == 1
