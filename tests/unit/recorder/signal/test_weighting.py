"""The frequency weightings against the closed formulas of IEC 61672-1:2013 Annex E, and the filter against a loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.recorder.signal.block_filter import BlockFilter, cascade, side_by_side
from edge.recorder.signal.weighting import F1, F2, F3, F4, Coefficients, Curve, Floats, design, design_goal_db

RATES = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000)


def annex_e(curve: Curve, f: float) -> float:
    """E.2 and E.3 written out, with the normalisation constants of E.4.2."""
    c = f**2 * F4**2 / ((f**2 + F1**2) * (f**2 + F4**2))
    if curve == "C":
        return 20 * math.log10(c) + 0.062
    return 20 * math.log10(c * f**2 / math.sqrt((f**2 + F2**2) * (f**2 + F3**2))) + 2.000


@pytest.mark.parametrize("curve", ["A", "C"])
@pytest.mark.parametrize("rate", RATES)
def test_the_filter_gain_matches_iec_61672(curve: Curve, rate: int) -> None:
    filter_ = design(curve, rate)
    for f in np.geomspace(10, min(20_000, 0.4 * rate), 300):
        assert filter_.gain_db(f, rate) == pytest.approx(annex_e(curve, f), abs=0.06)
        assert design_goal_db(curve, f) == pytest.approx(annex_e(curve, f), abs=0.001)
    assert filter_.gain_db(1000, rate) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("curve", ["A", "C"])
def test_the_filters_are_minimum_phase_and_stable(curve: Curve) -> None:
    for rate in RATES:
        assert np.all(np.abs(np.roots(design(curve, rate).taps)) < 1)
        assert all(0 < pole < 1 for pole in design(curve, rate).poles)


def design_by_roots(curve: Curve, rate: int) -> Floats:
    """The taps as the textbook finds them: by LAPACK's least squares, and by the roots of the power gain."""
    filter_ = design(curve, rate)
    omega = 2 * np.pi * 0.46 * (np.arange(2000) + 0.5) / 2000
    z = np.exp(1j * omega)
    wanted = np.array([10 ** (design_goal_db(curve, f) / 10) for f in omega * rate / (2 * np.pi)])
    for pole in filter_.poles:
        wanted *= np.abs(z - pole) ** 2
    wanted /= np.abs(z - 1) ** (2 * filter_.dc_zeros)
    cosines = np.cos(np.outer(omega, np.arange(len(filter_.taps))))
    sums = np.linalg.lstsq(cosines / wanted[:, None], np.ones_like(omega), rcond=None)[0]
    roots = np.roots(np.concatenate([sums[:0:-1] / 2, sums[:1], sums[1:] / 2]))
    taps = np.real(np.poly(roots[np.abs(roots) < 1]))
    raw = filter_._replace(taps=np.asarray(taps, np.float64))
    return np.asarray(raw.taps / 10 ** (raw.gain_db(1000.0, rate) / 20))


@pytest.mark.parametrize("curve", ["A", "C"])
@pytest.mark.parametrize("rate", RATES)
def test_the_taps_equal_a_least_squares_design(curve: Curve, rate: int) -> None:
    np.testing.assert_allclose(design(curve, rate).taps, design_by_roots(curve, rate), rtol=0, atol=1e-12)


def loop(filter_: Coefficients, samples: Floats) -> Floats:
    """Frame by frame, one first-order section after the other."""
    out = np.convolve(samples, filter_.taps)[: len(samples)]
    for number, pole in enumerate(filter_.poles):
        before = last = 0.0
        for frame, value in enumerate(out):
            last = value - (before if number < filter_.dc_zeros else 0.0) + pole * last
            before = out[frame]
            out[frame] = last
    return out


@settings(max_examples=30, deadline=None)
@given(
    rate=st.sampled_from(RATES),
    channels=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 700) | st.sampled_from([63, 64, 65, 128, 2048]), min_size=1, max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_block_filter_equals_a_sample_by_sample_loop(
    rate: int, channels: int, lengths: list[int], seed: int
) -> None:
    filters = [design("A", rate), design("C", rate)]
    blocks = BlockFilter(side_by_side([cascade(filter_) for filter_ in filters]), channels)
    samples = np.random.default_rng(seed).standard_normal((channels, sum(lengths)))
    ends = np.cumsum(lengths)
    out = np.concatenate([blocks.run(samples[:, end - n : end]) for n, end in zip(lengths, ends, strict=True)], axis=2)
    for output, filter_ in enumerate(filters):
        for channel in range(channels):
            np.testing.assert_allclose(out[output, channel], loop(filter_, samples[channel]), rtol=0, atol=1e-8)


@pytest.mark.parametrize("rate", [8_000, 48_000, 192_000])
def test_a_filter_settled_on_a_constant_outputs_nothing(rate: int) -> None:
    blocks = BlockFilter(cascade(design("A", rate)), 2)
    blocks.settle(np.array([0.7, -0.3]))
    out = blocks.run(np.repeat([[0.7], [-0.3]], rate, axis=1))
    assert np.abs(out).max() < 1e-6


@pytest.mark.parametrize("rate", [8_000, 48_000, 192_000])
def test_settling_sets_the_steady_state_of_a_constant_input(rate: int) -> None:
    space = side_by_side([cascade(design("A", rate)), cascade(design("C", rate))])
    blocks = BlockFilter(space, 1)
    blocks.settle(np.array([0.7]))
    decay = blocks.run(np.zeros((1, 100)))
    state = 0.7 * np.linalg.solve(np.eye(len(space.b)) - space.a, space.b)
    for frame in range(100):
        np.testing.assert_allclose(decay[:, 0, frame], space.c @ state, rtol=0, atol=1e-8)
        state = space.a @ state
