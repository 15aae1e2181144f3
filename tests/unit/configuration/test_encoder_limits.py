"""Exactly those formats are refused before recording that libsndfile's encoders refuse."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from msgspec.structs import replace

from edge.configuration.encoder_limits import WAV_BYTES, check_encodable
from edge.configuration.loader import load
from edge.configuration.settings import Recorder
from edge.core.errors import ConfigError, FileUnencodable
from edge.core.kernel_clock import KernelClock
from edge.core.values import AudioFormat
from edge.recorder.capture.sources import SourceChoice

_RATES = (1, 8_000, 65_535, 65_536, 65_537, 65_540, 96_001, 192_000, 655_350, 655_351, 655_360, 768_000)


def can_be_encoded(rate: int, channels: int, bits: int, audio_format: AudioFormat) -> bool:
    samples = np.ones((5_000, channels), np.int16 if bits == 16 else np.int32)
    try:
        with soundfile.SoundFile(
            io.BytesIO(), "w", rate, channels, f"PCM_{bits}", format=audio_format.upper()
        ) as writer:
            writer.write(samples)
    except soundfile.LibsndfileError:
        return False
    return True


@pytest.mark.parametrize("audio_format", ["flac", "wav"])
@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize(
    ("rate", "channels"), [*((rate, 1) for rate in _RATES), *((48_000, channels) for channels in (2, 8, 9, 10, 64))]
)
def test_formats_are_refused_exactly_if_the_encoder_refuses_them(
    rate: int, channels: int, bits: int, audio_format: AudioFormat
) -> None:
    refused = check_encodable(rate, channels, bits, audio_format, record_period=1)
    assert (refused is None) == can_be_encoded(rate, channels, bits, audio_format)


@pytest.mark.parametrize(("rate", "channels", "bits"), [(48_000, 10, 24), (768_000, 1, 16), (192_001, 64, 24)])
@pytest.mark.parametrize("period", [1.0, 3600.0])
def test_the_settings_suggested_by_a_refusal_are_accepted(rate: int, channels: int, bits: int, period: float) -> None:
    fault = check_encodable(rate, channels, bits, "flac", period)
    assert fault is not None
    named = dict(change.split("=") for change in fault.changes)
    assert named["format"] == "wav"
    assert check_encodable(rate, channels, bits, "wav", float(named.get("record_period", period))) is None


def test_a_wav_chunk_stays_below_the_4_gib_limit_of_its_header() -> None:
    seconds = WAV_BYTES // (192_000 * 8 * 3)
    assert check_encodable(192_000, 8, 24, "wav", seconds) is None
    fault = check_encodable(192_000, 8, 24, "wav", seconds + 1)
    assert fault is not None
    assert f"at most 4 GiB a chunk, which is {seconds} s" in str(fault)
    assert str(fault).endswith(f"set [recorder] record_period = {seconds}")


@pytest.mark.parametrize(
    ("channels", "rate", "limit"),
    [(10, 16_000, "at most 8 channels, not 10"), (1, 768_000, "at most 655350 Hz"), (1, 96_001, "in steps of 10 Hz")],
)
def test_a_source_file_that_flac_cannot_encode_is_refused_when_opened(
    tmp_path: Path, channels: int, rate: int, limit: str
) -> None:
    path = tmp_path / "played.wav"
    soundfile.write(path, np.zeros((1_000, channels), np.int16), rate)
    settings = load(tmp_path, overrides=[f"recorder.source={path}"], environ={}).recorder
    with pytest.raises(FileUnencodable, match=rf"played.wav: .*{limit}.*set \[recorder\] format = wav") as caught:
        SourceChoice(settings, KernelClock())().open()
    assert caught.value.changes == ("recorder.format=wav",)
    source = SourceChoice(replace(settings, format="wav"), KernelClock())()
    assert source.open().channels == channels
    source.close()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["recorder.sample_rate=96001"], "recorder.sample_rate: FLAC takes rates above 65535 Hz"),
        (
            [
                "recorder.format=wav",
                "recorder.channels=8",
                "recorder.sample_rate=192000",
                "recorder.record_period=3600",
            ],
            "recorder.record_period: WAV takes at most 4 GiB a chunk",
        ),
    ],
)
@pytest.mark.parametrize("source", ["auto", "microphone", "synthetic"])
def test_settings_that_no_encoder_accepts_are_a_configuration_fault(
    tmp_path: Path, overrides: list[str], words: str, source: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, overrides=[f"recorder.source={source}", *overrides], environ={})


def test_microphone_settings_are_not_checked_for_a_file_source(tmp_path: Path) -> None:
    overrides = [f"recorder.source={tmp_path / 'a.wav'}", "recorder.sample_rate=96001"]
    assert load(tmp_path, overrides=overrides, environ={}).recorder != Recorder()
