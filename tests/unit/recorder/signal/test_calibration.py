"""Calibration from made-up recordings: the offset found, and every reason to refuse one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edge.configuration.calibration_file import Calibration
from edge.core import wire
from edge.core.errors import CalibrationError, WireError
from edge.core.instant import Instant
from edge.recorder.signal.calibration import from_calibrator, from_known_level
from edge.recorder.signal.levels import FULL_SCALE_16, LevelMeter

RATE = 48_000
Sound = npt.NDArray[np.float64]


def tone(frequency: float, level: float, seconds: float) -> Sound:
    return np.asarray(
        10 ** (level / 20) * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE), dtype=np.float64
    )


def noise(level: float, seconds: float, seed: int = 1) -> Sound:
    dice = np.random.default_rng(seed).standard_normal(int(seconds * RATE))
    return np.asarray(dice * 10 ** (level / 20) / np.sqrt(2), dtype=np.float64)


def narrow(*channels: Sound) -> npt.NDArray[np.int16]:
    scaled = np.stack(channels, axis=1) * 2**15
    return np.asarray(np.clip(np.rint(scaled), -(2**15), 2**15 - 1), dtype=np.int16)


def held(level: float = -26.0, frequency: float = 1000.0, seconds: float = 6.0) -> Sound:
    """A quiet room, the calibrator put on with a knock, its tone, and off again."""
    quiet = noise(-60, 2.0)
    knock = noise(-10, 0.3)
    return np.concatenate([quiet, knock, tone(frequency, level, seconds) + noise(-70, seconds, 2), knock, quiet])


def test_the_calibrator_tone_is_found_in_the_recording() -> None:
    found = from_calibrator(narrow(held()), RATE, FULL_SCALE_16)
    assert found.offset_db == pytest.approx(120.0, abs=0.05)
    assert found.level_dbfs == pytest.approx(-26.0, abs=0.05)
    assert 0.3 < found.uncertainty_db < 0.7
    assert 5.0 <= found.seconds <= 6.0
    meter = LevelMeter(RATE, 1, FULL_SCALE_16, found.offset_db)
    assert meter.add(narrow(tone(1000, -26, 2))).seconds[-1].laeq == pytest.approx(94.0, abs=0.05)


def test_a_calibrator_of_114_db_and_a_slightly_wrong_frequency_is_accepted() -> None:
    samples = narrow(held(-10.0, 1009.0))
    assert from_calibrator(samples, RATE, FULL_SCALE_16, level=114.0).offset_db == pytest.approx(124.0, abs=0.05)


def test_the_channel_with_the_calibrator_is_used() -> None:
    recording = held()
    samples = narrow(noise(-50, len(recording) / RATE), recording)
    assert from_calibrator(samples, RATE, FULL_SCALE_16).offset_db == pytest.approx(120.0, abs=0.05)


def test_low_frequency_rumble_does_not_hide_the_tone() -> None:
    recording = held()
    rumble = tone(20, -22, len(recording) / RATE)
    found = from_calibrator(narrow(recording + rumble[: len(recording)]), RATE, FULL_SCALE_16)
    assert found.offset_db == pytest.approx(120.0, abs=0.1)


def swaying() -> Sound:
    sway = 10 ** (1.0 * np.sin(2 * np.pi * 0.7 * np.arange(8 * RATE) / RATE) / 20)
    return np.asarray(tone(1000, -26, 8) * sway, dtype=np.float64)


@pytest.mark.parametrize(
    ("recording", "reason"),
    [
        (held(frequency=250.0), "tone of 250 Hz, not 1000 Hz"),
        (held(frequency=1030.0), "tone of 1030 Hz"),
        (held(level=-75.0), "no tone|too quiet"),
        (tone(1000, -75, 6), "too quiet: -75 dBFS"),
        (held(level=6.0), "full scale; turn the input's gain down"),
        (held(level=0.2), "full scale"),
        (held(seconds=1.5), "steady .* for 1.[0-5] s only"),
        (swaying(), "seat the calibrator tightly"),
        (noise(-30, 6), "heard no tone"),
        (noise(-200, 6), "heard no tone"),
        (noise(-30, 0.1), "is empty"),
    ],
)
def test_an_unsuitable_calibrator_recording_is_refused_with_the_reason(recording: Sound, reason: str) -> None:
    with pytest.raises(CalibrationError, match=reason):
        from_calibrator(narrow(recording), RATE, FULL_SCALE_16)


def test_calibration_with_a_known_level_gives_that_level() -> None:
    samples = narrow(noise(-40, 8))
    found = from_known_level(samples, RATE, FULL_SCALE_16, 65.3)
    meter = LevelMeter(RATE, 1, FULL_SCALE_16, found.offset_db)
    assert meter.add(samples).laeq == pytest.approx(65.3, abs=0.01)
    assert 1.4 <= found.uncertainty_db < 1.6
    assert (found.method, found.seconds) == ("known_level", 8.0)


@pytest.mark.parametrize(
    ("recording", "level", "reason"),
    [
        (noise(-40, 4), 65, "record 5 s or more"),
        (noise(-85, 6), 65, "too quiet"),
        (tone(1000, 3, 6), 94, "full scale"),
        (np.concatenate([noise(-50, 3), noise(-30, 3)]), 65, "unsteady"),
        (noise(-40, 6), 650, "implausible"),
    ],
)
def test_an_unsuitable_known_level_recording_is_refused_with_the_reason(
    recording: Sound, level: float, reason: str
) -> None:
    with pytest.raises(CalibrationError, match=reason):
        from_known_level(narrow(recording), RATE, FULL_SCALE_16, level)


def test_a_calibration_survives_encoding_and_is_validated() -> None:
    at = Instant.parse("2026-03-03T22:00:00Z")
    kept = from_calibrator(narrow(held()), RATE, FULL_SCALE_16).of("USB microphone", at)
    assert wire.decode(wire.encode(kept), Calibration) == kept
    with pytest.raises(WireError, match="offset_db"):
        wire.decode(wire.encode(kept).replace(b'"offset_db":1', b'"offset_db":9'), Calibration)
