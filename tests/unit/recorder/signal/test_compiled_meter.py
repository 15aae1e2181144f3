"""The compiled meter against NumPy and a loop over frames, for any format, however the samples are split."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.recorder.signal.compiled_meter import Samples
from edge.recorder.signal.levels import FLOOR_DBFS, FULL_SCALE_16, FULL_SCALE_24, LevelMeter
from edge.recorder.signal.weighting import Coefficients, Floats, design

RATES = (8_000, 11_025, 44_100, 48_000, 192_000)
MOST_FRAMES = 10_000  # more than a second at the lowest rate


def weighted(filter_: Coefficients, samples: Floats) -> Floats:
    """Frame by frame, one first-order section after the other, as if the first sample had always been the input."""
    out = np.convolve(samples - samples[0], filter_.taps)[: len(samples)]  # neither weighting passes a constant
    for number, pole in enumerate(filter_.poles):
        before = last = 0.0
        for frame, value in enumerate(out):
            last = value - (before if number < filter_.dc_zeros else 0.0) + pole * last
            before = out[frame]
            out[frame] = last
    return out


def fast(squares: Floats, rate: int) -> Floats:
    keep = math.exp(-1 / (rate * 0.125))
    out, last = np.empty_like(squares), 0.0
    for frame, value in enumerate(squares):
        out[frame] = last = keep * last + (1 - keep) * value
    return out


def db(mean_square: float) -> float:
    return 10 * math.log10(max(mean_square, 10 ** (FLOOR_DBFS / 10)))


class Reference:
    """What each frame adds to the figures: arrays of (channels, frames)."""

    def __init__(self, samples: Samples, rate: int, full_scale: float) -> None:
        sound = samples.T * math.sqrt(2) / full_scale
        self.squares = np.array([weighted(design("A", rate), channel) ** 2 for channel in sound])
        self.loudest = np.array([fast(channel, rate) for channel in self.squares]).max(axis=0)
        self.peaks = np.array([np.abs(weighted(design("C", rate), channel)) for channel in sound]).max(axis=0)

    def laeq(self, part: slice) -> float:
        return db(float(self.squares[:, part].mean(axis=1).max()))

    def lafmax(self, part: slice) -> float:
        return db(float(self.loudest[part].max()))

    def lcpeak(self, part: slice) -> float:
        return db(float(self.peaks[part].max() ** 2))


@st.composite
def sounds(draw: st.DrawFn) -> tuple[Samples, int]:
    """Noise of any loudness, with an offset, silence and full scale in places; and its rate."""
    rate, channels, wide = draw(st.sampled_from(RATES)), draw(st.integers(1, 3)), draw(st.booleans())
    frames = draw(st.integers(1, MOST_FRAMES))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    limit = 2**31 - 1 if wide else 2**15 - 1
    amplitude = draw(st.sampled_from([0.0, 1.0, 1e-3 * limit, 0.3 * limit, 3.0 * limit]))
    sound = random.standard_normal((frames, channels)) * amplitude + draw(st.sampled_from([0.0, 0.3, -0.5])) * limit
    if draw(st.booleans()):
        sound[frames // 3 : frames // 2] = 0
    rounded = np.clip(np.rint(sound), -limit - 1, limit)
    return rounded.astype(np.int32) if wide else rounded.astype(np.int16), rate


@settings(max_examples=40, deadline=None)
@given(sound=sounds(), cuts=st.lists(st.integers(1, MOST_FRAMES), max_size=6))
def test_the_compiled_meter_equals_a_loop_over_frames(sound: tuple[Samples, int], cuts: list[int]) -> None:
    samples, rate = sound
    channels, full_scale = samples.shape[1], FULL_SCALE_16 if samples.dtype == np.int16 else FULL_SCALE_24
    meter, reference = LevelMeter(rate, channels, full_scale), Reference(samples, rate, full_scale)
    limit = int(full_scale * (1 - 2**-15))
    clipped = (samples >= limit) | (samples <= -limit)
    for start, end in pairwise(sorted({0, len(samples), *(cut for cut in cuts if cut < len(samples))})):
        part = slice(start, end)
        levels = meter.add(samples[part])
        assert (levels.first_frame, levels.frames) == (start, end - start)
        assert levels.laeq == pytest.approx(reference.laeq(part), abs=1e-6)
        assert levels.fast_max == pytest.approx(reference.lafmax(part), abs=1e-6)
        assert levels.clipped == np.count_nonzero(clipped[part])
        for second in levels.seconds:
            own = slice(second.end_frame - rate, second.end_frame)
            assert second.laeq == pytest.approx(reference.laeq(own), abs=0.0051)
            assert second.lcpeak == pytest.approx(reference.lcpeak(own), abs=0.0051)
            means = samples[own].sum(axis=0, dtype=np.int64) / rate / full_scale
            assert abs(second.offset) == pytest.approx(float(np.abs(means).max()), abs=1e-12)
    whole, chunk = slice(0, len(samples)), meter.take_chunk()
    assert chunk.laeq == pytest.approx(reference.laeq(whole), abs=0.0051)
    assert chunk.lafmax == pytest.approx(reference.lafmax(whole), abs=0.0051)
    assert chunk.lcpeak == pytest.approx(reference.lcpeak(whole), abs=0.0051)
    step = max(1, rate // 20)
    course = reference.loudest[step - 1 :: step]
    if len(course):
        expected = [db(float(part)) for part in np.percentile(course, (90, 50, 10), method="nearest")]
        assert [chunk.l10, chunk.l50, chunk.l90] == pytest.approx(expected, abs=0.0051)


def test_samples_in_any_order_of_memory_are_measured_alike() -> None:
    samples = np.random.default_rng(5).integers(-999, 999, (4_000, 2)).astype(np.int16)
    rows, columns = LevelMeter(8_000, 2, FULL_SCALE_16), LevelMeter(8_000, 2, FULL_SCALE_16)
    assert rows.add(samples) == columns.add(np.asfortranarray(samples))
