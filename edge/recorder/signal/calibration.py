"""Calibrates dBFS to dBA: finds the offset from a recording of a known level or of a sound calibrator. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from edge.configuration.calibration_file import Calibration, Method
from edge.core.errors import CalibrationError
from edge.core.instant import Instant
from edge.recorder.signal.compiled_meter import Samples
from edge.recorder.signal.levels import LevelMeter
from edge.recorder.signal.weighting import Floats

SHORTEST_KNOWN = 5  # seconds
SHORTEST_STEADY = 3.0  # seconds of the calibrator's tone
_WINDOWS_PER_SECOND = 4
_QUIETEST_DBFS = -70.0  # below, the sound card's own noise counts
_LARGEST_DEVIATION = 1.5  # dB, of the seconds at a known level
_STEADY_DB = 0.3  # the calibrator's tone may wander by this
_FREQUENCY_TOLERANCE = 0.02  # of a calibrator and a sound card's clock together
_PURE = 0.9  # of the power must be in the tone: it then reads 0.5 dB too low at the most

# Standard uncertainties in dB. Calibrator: IEC 60942:2017 class 2 (0.4 dB, rectangular). The other meter: class 2,
# about 1.4 dB expanded. Ours: what the weighting filter may be off.
_OF_CALIBRATOR, _OF_OTHER_METER, _OF_OURS = 0.4 / math.sqrt(3), 0.7, 0.03


class CalibrationResult(Struct, frozen=True):
    """What a recording yields: dBA = dBFS + `offset_db`, give or take `uncertainty_db` (expanded, k = 2)."""

    method: Method
    offset_db: float
    uncertainty_db: float
    level_dbfs: float
    seconds: float  # of the recording that counted

    def of(self, device: str, at: Instant) -> Calibration:
        return Calibration(
            device=device,
            at=at,
            method=self.method,
            offset_db=self.offset_db,
            uncertainty_db=self.uncertainty_db,
        )


def from_known_level(samples: Samples, rate: int, full_scale: float, laeq: float) -> CalibrationResult:
    """From a recording, (frames, channels), of a sound whose LAeq over that time another meter gave in dBA.

    CalibrationError says why the recording is unusable.
    """
    _check_level(laeq)
    if len(samples) < SHORTEST_KNOWN * rate:
        raise CalibrationError(f"the recording has {len(samples) / rate:.1f} s; record {SHORTEST_KNOWN} s or more")
    block = LevelMeter(rate, samples.shape[1], full_scale).add(samples)
    _check_clipped(block.clipped)
    _check_quiet(block.laeq)
    deviation = float(np.std([second.laeq for second in block.seconds], ddof=1))
    if deviation > _LARGEST_DEVIATION:
        raise CalibrationError(
            f"the level is unsteady: its seconds differ by {deviation:.1f} dB (standard deviation),"
            f" above {_LARGEST_DEVIATION}; use a steady sound, such as a fan or noise from a loudspeaker"
        )
    uncertainty = _expanded(_OF_OTHER_METER, deviation / math.sqrt(len(block.seconds)))
    return _measured("known_level", laeq, block.laeq, uncertainty, len(samples) / rate)


def from_calibrator(
    samples: Samples, rate: int, full_scale: float, level: float = 94.0, frequency: float = 1000.0
) -> CalibrationResult:
    """From a recording, (frames, channels), in which a sound calibrator was on for 3 seconds or more, at any time.

    The channel where its tone is loudest counts. CalibrationError says why the recording is unusable.
    """
    _check_level(level)
    windows = _windows(samples, rate, full_scale)
    pure = [window for window in windows if window.purity >= _PURE]
    tones = [window for window in pure if abs(window.frequency / frequency - 1) <= _FREQUENCY_TOLERANCE]
    if not tones:
        _check_clipped(max(windows, key=lambda window: window.level).clipped)  # a clipped sine is no pure tone
        raise CalibrationError(_why_no_tone(windows, pure, frequency))
    _check_quiet(max(tone.level for tone in tones))
    run = _longest_steady(tones)
    seconds = len(run) / _WINDOWS_PER_SECOND
    if seconds < SHORTEST_STEADY:
        raise CalibrationError(
            f"the {frequency:g} Hz tone was steady (within {_STEADY_DB} dB) for {seconds:.1f} s only,"
            f" {SHORTEST_STEADY:g} s are needed; seat the calibrator tightly and hold it still"
        )
    _check_clipped(sum(window.clipped for window in run))
    _check_quiet(run[0].level)
    levels = np.array([window.level for window in run])
    mean = 10 * math.log10(float(np.mean(10 ** (levels / 10))))
    uncertainty = _expanded(_OF_CALIBRATOR, float(levels.std(ddof=1)) / math.sqrt(len(run)))
    return _measured("calibrator", level, mean, uncertainty, seconds)


class _Window(NamedTuple):
    """A quarter of a second: its strongest tone."""

    number: int
    frequency: float
    level: float  # of the tone, dB re a full-scale sine
    purity: float  # power of the tone / all power above 50 Hz
    clipped: int


def _windows(samples: Samples, rate: int, full_scale: float) -> list[_Window]:
    count = rate // _WINDOWS_PER_SECOND
    by_channel = [
        [
            _window(number, samples[number * count : (number + 1) * count, channel], rate, full_scale)
            for number in range(len(samples) // count)
        ]
        for channel in range(samples.shape[1])
    ]
    if not by_channel[0]:
        raise CalibrationError(f"the recording is empty; record {SHORTEST_STEADY:g} s or more of the calibrator")
    return max(by_channel, key=lambda windows: max(window.level for window in windows))


def _window(number: int, samples: Samples, rate: int, full_scale: float) -> _Window:
    """The strongest tone by a Hann window: its power is that of the four bins about the peak and either side."""
    count = len(samples)
    hann: Floats = np.hanning(count + 1)[:-1]
    sound = samples * (math.sqrt(2) / full_scale)
    power: Floats = np.abs(np.fft.rfft((sound - sound.mean()) * hann)) ** 2
    power *= 2 / (count * float(np.sum(hann**2)))  # sums to the mean square (Parseval)
    power[: math.ceil(50 * count / rate)] = 0
    peak = int(power.argmax())
    near = power[max(0, peak - 4) : peak + 5]
    tone, everything = float(near.sum()), float(power.sum())
    centre = float(near @ np.arange(max(0, peak - 4), max(0, peak - 4) + len(near))) / (tone or 1.0)
    clipped = int(np.count_nonzero(np.abs(sound) >= math.sqrt(2) * (1 - 2**-14)))
    level = 10 * math.log10(max(tone, 1e-12))
    return _Window(number, centre * rate / count, level, tone / everything if everything else 0.0, clipped)


def _longest_steady(tones: list[_Window]) -> list[_Window]:
    """The longest run of windows without a hole whose levels lie within `_STEADY_DB`; the later of equals."""
    best: list[_Window] = []
    start = 0
    for end in range(1, len(tones) + 1):
        if end > 1 and tones[end - 1].number != tones[end - 2].number + 1:
            start = end - 1
        while _spread(tones[start:end]) > _STEADY_DB:
            start += 1
        if end - start >= len(best):
            best = tones[start:end]
    return best


def _spread(windows: list[_Window]) -> float:
    levels = [window.level for window in windows]
    return max(levels) - min(levels)


def _why_no_tone(windows: list[_Window], pure: list[_Window], frequency: float) -> str:
    if pure:
        heard = max(pure, key=lambda window: window.level)
        return (
            f"heard a tone of {heard.frequency:.0f} Hz, not {frequency:g} Hz"
            f" (within {_FREQUENCY_TOLERANCE:.0%}); set the calibrator to {frequency:g} Hz"
        )
    loudest = max(windows, key=lambda window: window.level)
    return (
        f"heard no tone: the strongest, of {loudest.frequency:.0f} Hz at {loudest.level:.0f} dBFS, is"
        f" {loudest.purity:.0%} of the sound; switch the calibrator on, and seat it on the microphone"
    )


def _check_level(level: float) -> None:
    if not 20 <= level <= 160:
        raise CalibrationError(f"a level of {level:g} dB is implausible; give 20 to 160 dB, such as 94")


def _check_clipped(clipped: int) -> None:
    if clipped:
        raise CalibrationError(f"{clipped} samples are at full scale; turn the input's gain down and record again")


def _check_quiet(level: float) -> None:
    if level < _QUIETEST_DBFS:
        raise CalibrationError(
            f"the sound is too quiet: {level:.0f} dBFS, {_QUIETEST_DBFS:g} is the least; turn the input's gain up"
        )


def _expanded(*standard: float) -> float:
    """Independent standard uncertainties and our own together, k = 2 (JCGM 100:2008, 5.1.2 and 6.2)."""
    return 2 * math.hypot(_OF_OURS, *standard)


def _measured(method: Method, level: float, dbfs: float, uncertainty: float, seconds: float) -> CalibrationResult:
    return CalibrationResult(method, round(level - dbfs, 2), round(uncertainty, 2), round(dbfs, 2), seconds)
