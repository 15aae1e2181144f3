"""A and C frequency weighting as digital filters: the design goal of IEC 61672-1:2013 Annex E, and coefficients for it.

The usual bilinear transform is 8 dB off at 16 kHz when sampling at 48 kHz. Here the poles are those of the analogue
design goal, carried over exactly (exp(-2 pi f / rate)), and a short numerator is fitted so that the gain is right up to
almost half the sampling rate: within 0.05 dB from 10 Hz to min(20 kHz, 0.4 rate) at 8 to 192 kHz.
"""

from __future__ import annotations

import cmath
import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Curve = Literal["A", "C"]

# IEC 61672-1:2013 Annex E, E.2 and E.3: the pole frequencies in Hz
F1, F2, F3, F4 = 20.598997, 107.65265, 737.86223, 12194.217
_POLES: dict[Curve, tuple[float, ...]] = {"A": (F1, F1, F2, F3, F4, F4), "C": (F1, F1, F4, F4)}
_DC_ZEROS: dict[Curve, int] = {"A": 4, "C": 2}
_TAPS_ORDER = 4
_ROOT_STEPS = 200  # far more than it takes; once there they change nothing
_FITTED = 0.46  # of the sampling rate: beyond, the fit would pay for what no sound card's filter lets through


class Coefficients(NamedTuple):
    """H(z) = (taps[0] + taps[1]/z + ...) * (1 - 1/z)^dc_zeros / product(1 - pole/z). Poles ascending with frequency."""

    taps: Floats
    poles: tuple[float, ...]
    dc_zeros: int

    def gain_db(self, frequency: float, rate: int) -> float:
        """The filter's gain at `frequency` (Hz)."""
        back = np.exp(-2j * np.pi * frequency / rate)
        gain = np.polyval(self.taps[::-1], back) * (1 - back) ** self.dc_zeros
        for pole in self.poles:
            gain /= 1 - pole * back
        return float(20 * np.log10(abs(gain)))


def design_goal_db(curve: Curve, frequency: float) -> float:
    """The weighting at `frequency` (Hz) in dB, 0 at 1 kHz (IEC 61672-1:2013 5.5 and Annex E)."""
    power = _analogue_power(curve, np.array([frequency, 1000.0]))
    return float(10 * np.log10(power[0] / power[1]))


def design(curve: Curve, rate: int) -> Coefficients:
    """Coefficients of the A or C weighting at `rate` frames per second."""
    poles = tuple(float(np.exp(-2 * np.pi * pole / rate)) for pole in _POLES[curve])
    dc_zeros = _DC_ZEROS[curve]
    omega = 2 * np.pi * _FITTED * (np.arange(2000) + 0.5) / 2000
    z = np.exp(1j * omega)
    wanted = _analogue_power(curve, omega * rate / (2 * np.pi)) / _analogue_power(curve, np.array([1000.0]))
    for pole in poles:
        wanted = wanted * np.abs(z - pole) ** 2
    wanted /= np.abs(z - 1) ** (2 * dc_zeros)
    # The power gain of the taps is a sum of cosines, so the fit is linear; dividing by `wanted` makes it one in dB.
    cosines = np.cos(np.outer(omega, np.arange(_TAPS_ORDER + 1)))
    sums = _least_squares(cosines / wanted[:, None], np.ones_like(omega))
    fitted = Coefficients(_minimum_phase(sums), poles, dc_zeros)
    return fitted._replace(taps=fitted.taps / 10 ** (fitted.gain_db(1000.0, rate) / 20))


def _least_squares(columns: Floats, wanted: Floats) -> Floats:
    """The factors with which `columns`, (many, few), come nearest to `wanted`: by Gram and Schmidt, twice over.

    As np.linalg does it, but LAPACK alone would take 2 MB of memory for as long as the process lives.
    """
    count = columns.shape[1]
    basis, factors = np.zeros_like(columns), np.eye(count)  # columns = basis @ factors, which is upper triangular
    for number in range(count):
        rest = columns[:, number]
        for _ in range(2):
            parts = rest @ basis[:, :number]
            factors[:number, number] += parts
            rest = rest - basis[:, :number] @ parts
        factors[number, number] = math.sqrt(rest @ rest)
        basis[:, number] = rest / factors[number, number]
    solution, right = np.zeros(count), wanted @ basis
    for number in reversed(range(count)):
        solution[number] = (right[number] - factors[number] @ solution) / factors[number, number]
    return solution


def _minimum_phase(sums: Floats) -> Floats:
    """The taps whose power gain is sum(sums[k] cos(k omega)), with all zeros inside the unit circle: no added delay."""
    taps = np.ones(1, np.complex128)
    for cosine in _roots(_in_powers(sums)):
        # cos(omega) = (z + 1/z) / 2: of the two z, the one inside the unit circle
        offset = cmath.sqrt(cosine * cosine - 1)
        zero = min(cosine + offset, cosine - offset, key=abs)
        taps = np.append(taps, 0) - zero * np.append(0, taps)
    return np.asarray(taps.real * np.sqrt(sums.sum()) / abs(taps.real.sum()), dtype=np.float64)


def _in_powers(sums: Floats) -> Floats:
    """sum(sums[k] cos(k omega)) as a polynomial in cos(omega), constant first: Chebyshev's recursion."""
    power = np.zeros(len(sums))
    before, current = np.zeros(len(sums)), np.eye(1, len(sums))[0]
    for number, factor in enumerate(sums):
        power += factor * current
        before, current = current, (1 if number == 0 else 2) * np.append(0, current[:-1]) - before
    return power


def _roots(power: Floats) -> list[complex]:
    """The roots of a polynomial, constant first, none of them double: by Durand and Kerner."""
    monic = [complex(factor / power[-1]) for factor in reversed(power)]
    roots = [(0.4 + 0.9j) ** number for number in range(len(power) - 1)]
    for _ in range(_ROOT_STEPS):
        for number, root in enumerate(roots):
            value: complex = 0
            for factor in monic:
                value = value * root + factor
            roots[number] -= value / math.prod(root - other for other in roots if other is not root)
    return roots


def _analogue_power(curve: Curve, frequencies: Floats) -> Floats:
    squared = frequencies**2
    power = squared ** _DC_ZEROS[curve]
    for pole in _POLES[curve]:
        power = power / (squared + pole**2)
    return np.asarray(power, dtype=np.float64)
