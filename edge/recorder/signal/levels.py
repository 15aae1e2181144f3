"""Sound levels after IEC 61672-1:2013 from blocks of samples: each block, each second, each chunk. docs/levels.md.

Levels are dB re a full-scale 1 kHz sine, which reads 0.00 dBFS (AES17), plus the calibration's offset. With several
channels each figure is that of the loudest one, so that a second microphone that is not plugged in changes nothing.
"""

from __future__ import annotations

import math
from array import array

import numpy as np
from msgspec import Struct

from edge.core.values import Levels, LevelUnit, Stream
from edge.recorder.signal.compiled_meter import CompiledMeter, MeasuredPart, Samples

FULL_SCALE_16 = 2**15  # int16
FULL_SCALE_24 = 2**31  # 24 bits in the upper three bytes of int32
FLOOR_DBFS = -120.0  # what digital silence reads: below the noise of any microphone
FAST_SAMPLES = 20  # per second, of the fast level, for L10, L50 and L90
_FLOOR_POWER = 10 ** (FLOOR_DBFS / 10)


class SecondLevels(Struct, frozen=True):
    """One full second; `end_frame` is the stream's frame after its last. Levels are rounded to 0.01 dB."""

    end_frame: int
    laeq: float
    lafmax: float
    lcpeak: float
    clipped: int  # samples at full scale, of all channels
    offset: float = 0.0  # the mean sample relative to full scale: of the channel that has the largest
    silent: bool = False  # digital silence: all samples of a channel are equal, in every channel


class BlockLevels(Struct, frozen=True):
    """One block: frames `first_frame` to `first_frame + frames` of the stream. `fast_max` is its highest LAF."""

    first_frame: int
    frames: int
    fast_max: float
    laeq: float
    clipped: int = 0
    seconds: tuple[SecondLevels, ...] = ()  # those that this block completed

    @property
    def end_frame(self) -> int:
        return self.first_frame + self.frames


class LevelMeter:
    """Measures one stream: `channels` channels at `rate` frames per second.

    `full_scale` is the magnitude of the most negative sample: 32768 for int16, 2**31 for 24 bits in the upper bytes of
    int32, 2**23 for 24 bits in the lower ones. `offset_db` is what the calibration adds; None: uncalibrated.
    """

    def __init__(self, rate: int, channels: int, full_scale: float, offset_db: float | None = None) -> None:
        self.rate, self.channels = rate, channels
        self.unit = level_unit(offset_db)
        self._offset = offset_db or 0.0
        self._full_scale = full_scale
        self._meter = CompiledMeter(rate, channels, full_scale)
        self._frames = 0
        self._second, self._chunk = _Tally(channels), _ChunkTally(rate, channels)

    def add(self, block: Samples) -> BlockLevels:
        """Measures the stream's next block, (frames, channels), of any length."""
        if block.ndim != 2 or block.shape[1] != self.channels:
            raise ValueError(f"a block of shape {block.shape} is not (frames, {self.channels})")
        if self._frames == 0 and len(block):
            # A sound card's constant offset would else begin as a step, which is a bang
            self._meter.settle(block[0])
        whole = _Tally(self.channels)
        seconds: list[SecondLevels] = []
        start = 0
        while start < len(block):
            part = block[start : start + self.rate - self._second.frames]
            measured = self._meter.measure(part, self._chunk.next_sample, self._chunk.step)
            self._chunk.fast_samples.extend(measured.course)
            for tally in (self._second, self._chunk, whole):
                tally.add(measured, len(part))
            self._frames += len(part)
            start += len(part)
            if self._second.frames == self.rate:
                seconds.append(self._end_second())
        first = self._frames - len(block)
        return BlockLevels(
            first, len(block), self._db(whole.fast_max), self._db(whole.mean_square), whole.clipped, tuple(seconds)
        )

    def take_chunk(self) -> Levels:
        """The chunk that ends with the last block added; the next chunk and its first second begin here.

        Call it where the chunk ends: split a block there first. A started second at the end is part of the chunk's
        figures, but has no entry in `per_second`.
        """
        chunk = self._chunk
        if not chunk.frames:
            raise ValueError("a chunk without samples has no levels")
        fast = np.array(chunk.fast_samples) if chunk.fast_samples else np.array([chunk.fast_max])
        l90, l50, l10 = (self._db(float(part)) for part in np.percentile(fast, (10, 50, 90), method="nearest"))
        levels = Levels(
            unit=self.unit,
            calibrated=self.unit == "dBA",
            laeq=_rounded(self._db(chunk.mean_square)),
            lafmax=_rounded(self._db(chunk.fast_max)),
            lcpeak=_rounded(self._db(chunk.peak**2)),
            l10=_rounded(l10),
            l50=_rounded(l50),
            l90=_rounded(l90),
            per_second=tuple(chunk.per_second),
        )
        self._second, self._chunk = _Tally(self.channels), _ChunkTally(self.rate, self.channels)
        return levels

    def _end_second(self) -> SecondLevels:
        second, self._second = self._second, _Tally(self.channels)
        laeq, lafmax, lcpeak = (
            _rounded(self._db(power)) for power in (second.mean_square, second.fast_max, second.peak**2)
        )
        self._chunk.per_second.append(laeq)
        return SecondLevels(
            self._frames, laeq, lafmax, lcpeak, second.clipped,
            offset=float(max(second.sums, key=abs)) / second.frames / self._full_scale,
            silent=second.peak**2 <= _FLOOR_POWER,
        )  # fmt: skip

    def _db(self, mean_square: float) -> float:
        return 10 * math.log10(max(mean_square, _FLOOR_POWER)) + self._offset


class _Tally:
    """What adds up over a stretch of sound; squares and peaks are relative to the RMS of a full-scale sine."""

    __slots__ = ("clipped", "energy", "fast_max", "frames", "peak", "sums")

    def __init__(self, channels: int) -> None:
        self.frames = 0
        self.energy = [0.0] * channels  # sum of A-weighted squares
        self.fast_max = 0.0  # highest fast-weighted square
        self.peak = 0.0  # highest C-weighted magnitude
        self.clipped = 0
        self.sums = [0] * channels  # of the raw samples

    @property
    def mean_square(self) -> float:
        """Of the loudest channel."""
        return max(self.energy) / self.frames if self.frames else 0.0

    def add(self, part: MeasuredPart, frames: int) -> None:
        self.frames += frames
        self.energy = [own + more for own, more in zip(self.energy, part.energy, strict=True)]
        self.fast_max = max(self.fast_max, part.fast_max)
        self.peak = max(self.peak, part.peak)
        self.clipped += part.clipped
        self.sums = [own + more for own, more in zip(self.sums, part.sums, strict=True)]


class _ChunkTally(_Tally):
    """A chunk's tally, with its course: the LAeq of each full second, and the fast level 20 times a second."""

    __slots__ = ("fast_samples", "per_second", "step")

    def __init__(self, rate: int, channels: int) -> None:
        super().__init__(channels)
        self.step = max(1, rate // FAST_SAMPLES)
        self.per_second: list[float] = []
        self.fast_samples = array("d")

    @property
    def next_sample(self) -> int:
        """Of the frames that follow, the first one whose fast-weighted square is a sample of the course."""
        return (self.step - 1 - self.frames) % self.step


def meter_for(stream: Stream) -> LevelMeter:
    """A meter of the stream's format and calibration."""
    full_scale = FULL_SCALE_16 if stream.bits == 16 else FULL_SCALE_24
    return LevelMeter(stream.rate, stream.channels, full_scale, stream.calibration_db)


def level_unit(offset_db: float | None) -> LevelUnit:
    """The unit of levels with this calibration; None: uncalibrated."""
    return "dBFS" if offset_db is None else "dBA"


def _rounded(level: float) -> float:
    return round(level, 2) + 0.0  # never -0.0
