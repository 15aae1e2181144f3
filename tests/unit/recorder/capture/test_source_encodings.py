"""A sound file as a source: every encoding that libsndfile can write gives the right samples, or is refused plainly."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from edge.configuration.loader import load
from edge.core.errors import FileUnplayable
from edge.core.kernel_clock import KernelClock
from edge.recorder.capture.blocks import EndOfSound, SoundSource, SourceFormat
from edge.recorder.capture.sources import SourceChoice

_RATE = 8_000
_FULL_SCALE_24 = 2**23
_STEP_24 = 1 / _FULL_SCALE_24
_NO_ENCODER = {("AIFF", "DWVW_12"), ("MP3", "MPEG_LAYER_I"), ("MP3", "MPEG_LAYER_II"), ("WAV", "MPEG_LAYER_III")}
_NOT_BY_SOUNDFILE = {("AIFF", "DWVW_16"), ("AIFF", "DWVW_24")}  # whose read() seeks, which DWVW cannot
_ALL = [
    (container, subtype)
    for container in soundfile.available_formats()
    if container != "RAW"
    for subtype in soundfile.available_subtypes(container)
    if (container, subtype) not in _NO_ENCODER | _NOT_BY_SOUNDFILE
]


def source_of(path: Path) -> SoundSource:
    options = [f"recorder.source={path}", "recorder.pace=max"]
    return SourceChoice(load(path.parent, overrides=options, environ={}).recorder, KernelClock())()


def read_all(source: SoundSource) -> tuple[SourceFormat, npt.NDArray[np.float64]]:
    """What the recorder would get, as fractions of full scale, of all channels."""
    form = source.open()
    full_scale = 2**15 if form.bits == 16 else 2**31
    blocks = []
    try:
        while (block := source.read(1.0)) is not None:
            blocks.append(block.samples / full_scale)
    except EndOfSound:
        pass
    source.close()
    return form, np.concatenate(blocks)


def write_float(path: Path, samples: list[float], subtype: str = "FLOAT") -> Path:
    soundfile.write(path, np.array(samples), _RATE, subtype=subtype, format="WAV")
    return path


def tone(amplitude: float) -> npt.NDArray[np.float64]:
    return amplitude * np.sin(2 * np.pi * 440 * np.arange(_RATE) / _RATE)


@pytest.mark.parametrize(("container", "subtype"), _ALL)
def test_every_encoding_yields_the_samples_of_its_decoder(tmp_path: Path, container: str, subtype: str) -> None:
    path = tmp_path / "played"
    soundfile.write(path, tone(0.5), _RATE, subtype=subtype, format=container)
    with soundfile.SoundFile(path) as file:
        expected = file.read(2 * _RATE, dtype="float64", always_2d=True)
    form, got = read_all(source_of(path))
    assert np.abs(expected).max() > 0.45
    assert len(got) == len(expected)
    assert np.abs(got - expected).max() <= 2 / 2**form.bits


@pytest.mark.parametrize(("container", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
def test_a_lossy_file_that_decodes_above_full_scale_is_clipped(tmp_path: Path, container: str, subtype: str) -> None:
    """libsndfile wraps Vorbis and Opus around to the other sign: a bang instead of a peak."""
    path = tmp_path / "played"
    soundfile.write(path, np.sign(tone(1.0)) * 0.999, 48_000, subtype=subtype, format=container)
    expected = soundfile.read(path, dtype="float64", always_2d=True)[0]
    assert np.abs(expected).max() > 1.1
    assert np.abs(read_all(source_of(path))[1] - np.clip(expected, -1, 1)).max() <= 2 * _STEP_24


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_24_bit_samples_stored_as_floats_are_bit_exact(tmp_path: Path, subtype: str) -> None:
    integers = np.random.default_rng(1).integers(-_FULL_SCALE_24, _FULL_SCALE_24, 5_000)
    path = write_float(tmp_path / "played.wav", list(integers / _FULL_SCALE_24), subtype)
    form, got = read_all(source_of(path))
    assert form.bits == 24
    assert np.array_equal(got[:, 0] * _FULL_SCALE_24, integers)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_float_samples_above_full_scale_are_clipped_and_reported(
    tmp_path: Path, subtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    samples = [0.5, 1.5, -7.0, np.inf, -np.inf, np.nan, 1.0, -1.0, -0.25]
    path = write_float(tmp_path / "loud.wav", samples, subtype)
    with caplog.at_level(logging.WARNING):
        _, got = read_all(source_of(path))
    top = 1 - _STEP_24
    assert got[:, 0].tolist() == [0.5, top, -1.0, top, -1.0, 0.0, top, -1.0, -0.25]
    assert "loud.wav: 4 samples clipped at full scale, 1 NaN set to 0" in caplog.text


def test_float_samples_within_full_scale_cause_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read_all(source_of(write_float(tmp_path / "played.wav", [0.5, 1.0, -1.0])))
    assert not caplog.text


@pytest.mark.parametrize("subtype", ["PCM_32", "DOUBLE"])
def test_encodings_that_24_bits_cannot_represent_are_reported(
    tmp_path: Path, subtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        read_all(source_of(write_float(tmp_path / "fine.wav", [0.5, 0.25], subtype)))
    assert f"fine.wav: {subtype} samples are recorded as 24-bit integers" in caplog.text


def test_32_bit_samples_keep_their_upper_24_bits(tmp_path: Path) -> None:
    """What is measured is what is stored."""
    integers = np.random.default_rng(1).integers(-(2**31), 2**31, 5_000, dtype=np.int64).astype(np.int32)
    soundfile.write(tmp_path / "played.wav", integers, _RATE, subtype="PCM_32")
    _, got = read_all(source_of(tmp_path / "played.wav"))
    assert np.array_equal(got[:, 0] * _FULL_SCALE_24, integers >> 8)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "GSM610"),
        ("AU", "G721_32"),
        ("XI", "DPCM_16"),
        ("AU", "ULAW"),
        ("FLAC", "PCM_24"),
        ("W64", "DOUBLE"),
        ("MP3", "MPEG_LAYER_III"),
        ("OGG", "VORBIS"),
    ],
)
def test_a_file_resumes_after_a_pause_with_its_next_sample(tmp_path: Path, container: str, subtype: str) -> None:
    path = tmp_path / "played"
    soundfile.write(path, np.tile(tone(0.5), 3), 16_000, subtype=subtype, format=container)
    _, expected = read_all(source_of(path))
    options = [f"recorder.source={path}", "recorder.pace=max"]
    choose = SourceChoice(load(tmp_path, overrides=options, environ={}).recorder, KernelClock())
    source = choose()
    form = source.open()
    blocks = [source.read(1.0) for _ in range(2)]
    source.close()
    before = [block.samples / (2**15 if form.bits == 16 else 2**31) for block in blocks if block is not None]
    _, after = read_all(choose())
    assert np.array_equal(np.concatenate([*before, after]), expected)


@pytest.mark.parametrize(("subtype", "step"), [("DWVW_16", 2**-15), ("DWVW_24", 2**-23)])
def test_dwvw_files_yield_the_samples_that_were_written(tmp_path: Path, subtype: str, step: float) -> None:
    soundfile.write(tmp_path / "played", tone(0.5), _RATE, subtype=subtype, format="AIFF")
    _, got = read_all(source_of(tmp_path / "played"))
    assert np.abs(got[:_RATE, 0] - tone(0.5)).max() <= step


def test_a_file_that_cannot_be_decoded_is_refused_when_opened(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "whole.flac", tone(0.5), _RATE, subtype="PCM_16")
    whole = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "played.flac").write_bytes(whole[:100] + bytes(len(whole) - 100))
    with pytest.raises(FileUnplayable, match=r"cannot be decoded.*set .recorder. source"):
        source_of(tmp_path / "played.flac").open()


def test_raw_samples_without_a_header_are_refused(tmp_path: Path) -> None:
    (tmp_path / "played.raw").write_bytes(bytes(8_000))
    with pytest.raises(FileUnplayable, match=r"it has no header.*set .recorder. source"):
        source_of(tmp_path / "played.raw").open()
