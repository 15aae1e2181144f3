"""A and C frequency weighting as digital filters: the design goal of IEC 61672-1:2013 Annex E, and coefficients for it.

The usual bilinear transform is 8 dB off at 16 kHz when sampling at 48 kHz. Here the poles are those of the analogue
design goal, carried over exactly (exp(-2 pi f / rate)), and a short numerator is fitted so that the gain is right up to
almost half the sampling rate: within 0.05 dB from 10 Hz to min(20 kHz, 0.4 rate) at 8 to 192 kHz.
"""

from __future__ import annotations

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
_FFT = 256  # the zeros lie within 0.5 of the origin, so what wraps around is smaller than 0.5 ** 128
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
    columns = _cosines(omega) / wanted[:, None]
    # By the normal equations: np.linalg.lstsq is no more accurate here (1e-15), and takes 0.6 MB more memory for good
    sums = np.linalg.solve(columns.T @ columns, columns.sum(axis=0))
    fitted = Coefficients(_minimum_phase(sums), poles, dc_zeros)
    return fitted._replace(taps=fitted.taps / 10 ** (fitted.gain_db(1000.0, rate) / 20))


def _minimum_phase(sums: Floats) -> Floats:
    """The taps whose power gain is sum(sums[k] cos(k omega)), with all zeros inside the unit circle: no added delay.

    By the folded cepstrum (Oppenheim and Schafer, Discrete-Time Signal Processing, ch. 13).
    """
    power = _cosines(2 * np.pi * np.arange(_FFT // 2 + 1) / _FFT) @ sums
    cepstrum = np.fft.irfft(np.log(power) / 2)
    cepstrum[1 : _FFT // 2] *= 2
    cepstrum[_FFT // 2 + 1 :] = 0
    response: Floats = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)))
    return response[: len(sums)]


def _cosines(omega: Floats) -> Floats:
    cosines: Floats = np.cos(np.outer(omega, np.arange(_TAPS_ORDER + 1)))
    return cosines


def _analogue_power(curve: Curve, frequencies: Floats) -> Floats:
    squared = frequencies**2
    power = squared ** _DC_ZEROS[curve]
    for pole in _POLES[curve]:
        power = power / (squared + pole**2)
    return np.asarray(power, dtype=np.float64)
