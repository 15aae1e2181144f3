"""The frequency weightings against the closed formulas of IEC 61672-1:2013 Annex E."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge.recorder.signal.weighting import F1, F2, F3, F4, Curve, Floats, design, design_goal_db

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
