"""A few seconds of a source at once, for calibration and for `imhearing doctor`."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from edge.core.errors import DeviceError
from edge.recorder.capture.blocks import EndOfSound, Samples, Source, SourceFormat
from edge.recorder.signal.levels import FULL_SCALE_16, FULL_SCALE_24

_POLL_SECONDS = 0.25
_OPENING_SECONDS = 4.0  # a sound server may take two to deliver its first block


class Heard(NamedTuple):
    """What a source delivered: `samples` of shape (frames, channels)."""

    form: SourceFormat
    samples: Samples

    @property
    def full_scale(self) -> float:
        return FULL_SCALE_16 if self.form.bits == 16 else FULL_SCALE_24


def listen(source: Source, seconds: float) -> Heard:
    """Opens `source`, takes `seconds` of sound, closes it. DeviceError when it cannot deliver as much."""
    form = source.open()
    wanted, frames = round(seconds * form.rate), 0
    pieces: list[Samples] = []
    deadline = time.monotonic() + seconds + _OPENING_SECONDS
    try:
        while frames < wanted:
            if time.monotonic() > deadline:
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
    return Heard(form, samples[:wanted])
