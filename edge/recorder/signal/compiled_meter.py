"""The inner loop of the level meter, compiled: meter.c, which `scripts/setup` builds, and its structures for ctypes.

A loop over samples in C costs a third of what the same filters cost as matrix products in NumPy.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from ctypes import POINTER, Structure, c_double, c_int, c_int64, c_void_p
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge.core.errors import ImHearingError
from edge.recorder.signal.weighting import design

Samples = npt.NDArray[np.int16] | npt.NDArray[np.int32]

FAST_SECONDS = 0.125  # time weighting F: the exponential mean of squares (IEC 61672-1:2013 5.8)


class _Constants(Structure):
    _fields_ = (
        ("a_taps", c_double * 5),
        ("a_poles", c_double * 6),
        ("c_taps", c_double * 5),
        ("c_poles", c_double * 4),
        ("factor", c_double),
        ("keep", c_double),
        ("clip", c_int64),
    )


class _Channel(Structure):
    _fields_ = (
        ("past", c_double * 4),
        ("a", c_double * 6),
        ("c", c_double * 4),
        ("fast", c_double),
        ("energy", c_double),
        ("sum", c_int64),
    )


class _Measured(Structure):
    _fields_ = (("fast_max", c_double), ("peak", c_double), ("clipped", c_int64))


class MeasuredPart(NamedTuple):
    """What was measured of some frames; squares and magnitudes are relative to the RMS of a full-scale sine."""

    energy: list[float]  # by channel: the sum of A-weighted squares
    sums: list[int]  # by channel, of the raw samples
    fast_max: float  # the highest fast-weighted square
    peak: float  # the highest C-weighted magnitude
    clipped: int  # samples at full scale
    course: list[float]  # fast-weighted squares of the loudest channel


class CompiledMeter:
    """Filters one stream, however its samples are split. `full_scale`: the magnitude of the most negative sample."""

    def __init__(self, rate: int, channels: int, full_scale: float) -> None:
        self._measure = _compiled()
        a, c = design("A", rate), design("C", rate)
        self._constants = _Constants(
            a_taps=tuple(a.taps), a_poles=a.poles, c_taps=tuple(c.taps), c_poles=c.poles,
            factor=math.sqrt(2) / full_scale,  # a full-scale sine gets a mean square of 1
            keep=math.exp(-1 / (rate * FAST_SECONDS)),
            # 16-bit converters often stop a step short of the limit, at 32767 on both sides
            clip=int(full_scale * (1 - 2**-15)),
        )  # fmt: skip
        self._channels = (_Channel * channels)()
        self._measured = _Measured()

    def settle(self, frame: Samples) -> None:
        """Sets the state as if this frame, a sample of each channel, had always been the input."""
        by = self._constants
        for channel, sample in zip(self._channels, frame.tolist(), strict=True):
            constant = sample * by.factor
            channel.past[:] = [constant] * len(channel.past)
            # behind its first section, which passes nothing constant, each weighting is at rest
            channel.a[0] = constant * sum(by.a_taps) / (1 - by.a_poles[0])
            channel.c[0] = constant * sum(by.c_taps) / (1 - by.c_poles[0])

    def measure(self, samples: Samples, first: int, step: int) -> MeasuredPart:
        """The stream's next frames, (frames, channels); the course begins with frame `first` and has each `step`th."""
        samples = np.ascontiguousarray(samples)  # type: ignore[assignment]  # NumPy's stubs forget the element type
        frames = len(samples)
        course = (c_double * (frames // step + 1))()
        self._measure(
            self._constants, self._channels, len(self._channels), samples.ctypes.data, samples.dtype == np.int32,
            frames, first, step, course, self._measured,
        )  # fmt: skip
        return MeasuredPart(
            [channel.energy for channel in self._channels],
            [channel.sum for channel in self._channels],
            self._measured.fast_max,
            self._measured.peak,
            self._measured.clipped,
            course[: max(0, frames - first + step - 1) // step],
        )


@functools.cache
def _compiled() -> Callable[..., None]:
    found = find_spec("edge.recorder.signal._meter")
    if found is None or found.origin is None:
        raise ImHearingError("the level meter has not been compiled; run scripts/setup")
    measure = ctypes.CDLL(found.origin).measure
    measure.restype = None
    measure.argtypes = (
        POINTER(_Constants), POINTER(_Channel), c_int, c_void_p, c_int, c_int64,
        c_int64, c_int64, POINTER(c_double), POINTER(_Measured),
    )  # fmt: skip
    return measure
