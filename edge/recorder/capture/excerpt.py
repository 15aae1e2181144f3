"""Captures a few seconds of a source, for calibration and for `imhearing doctor`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edge.core.errors import DeviceError
from edge.core.instant import MICROSECONDS
from edge.core.kernel_clock import KernelClock
from edge.recorder.capture.blocks import EndOfSound, Samples, SoundSource, SourceFormat
from edge.recorder.signal.levels import FULL_SCALE_16, FULL_SCALE_24

_POLL_SECONDS = 0.25
_OPENING_SECONDS = 4.0  # a sound server may take two to deliver its first block


class Excerpt(NamedTuple):
    """A few seconds of what a source delivered: `samples` of shape (frames, channels)."""

    form: SourceFormat
    samples: Samples

    @property
    def full_scale(self) -> float:
        return FULL_SCALE_16 if self.form.bits == 16 else FULL_SCALE_24


def record_excerpt(source: SoundSource, seconds: float, clock: KernelClock | None = None) -> Excerpt:
    """Opens `source`, captures `seconds` of sound, closes it. DeviceError when it cannot deliver as much."""
    clock = clock or KernelClock()
    form = source.open()
    wanted, frames = round(seconds * form.rate), 0
    pieces: list[Samples] = []
    deadline = clock.monotonic() + round((seconds + _OPENING_SECONDS) * MICROSECONDS)
    try:
        while frames < wanted:
            if clock.monotonic() > deadline:
                raise DeviceError(
                    f"{form.device!r} delivered only {frames / form.rate:.1f} s of sound meanwhile;"
                    " plug it in again, and see that nothing else records from it"
                )
            block = source.read(_POLL_SECONDS)
            if block is not None:
                pieces.append(block.samples)
                frames += len(block.samples)
    except EndOfSound:
        if not pieces:
            raise DeviceError(f"{form.device!r} holds no sound") from None
    finally:
        source.close()
    samples: Samples = np.concatenate(pieces)  # type: ignore[assignment]  # all of one type
    return Excerpt(form, samples[:wanted])
