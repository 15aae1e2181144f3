"""A made-up garden for machines without a microphone: quiet noise, a mains hum, and birds every few seconds. Pure.

Any frame is a function of its number alone, so however the stream is cut into blocks, the samples are the same.
"""

from __future__ import annotations

import math
import random

import numpy as np
import numpy.typing as npt

from edge.recorder.capture.blocks import Samples

Tone = npt.NDArray[np.float32]  # relative to full scale

_LOOP_FRAMES = 960_000  # of the noise: 20 s at 48 kHz, whole seconds at any rate, so that the hum closes the loop
_NOISE_DBFS = -55.0
_HUM = ((50, -50.0), (100, -56.0), (150, -60.0))  # Hz, dBFS
_SLOT_SECONDS = 5  # one song begins in each
_SONGS = 8
_QUIETEST, _LOUDEST = -40.0, -15.0  # fast level of a song, dBFS
_FAST_SECONDS = 0.125


class Scene:
    """`bits` 16 renders int16; 24 renders int32, left-justified. The same seed and format give the same scene."""

    def __init__(self, rate: int, channels: int, bits: int, seed: int = 19) -> None:
        self._rate, self._channels, self._bits, self._seed = rate, channels, bits, seed
        self._background = _background(rate, seed)
        self._songs = [_song(rate, random.Random(f"song {seed} {number}")) for number in range(_SONGS)]  # noqa: S311

    def render(self, first_frame: int, frames: int) -> Samples:
        """Frames `first_frame` to `first_frame + frames`, of shape (frames, channels)."""
        sound = np.empty((frames, self._channels), np.float32)
        for channel in range(self._channels):
            # The air around each microphone is its own; a bird is heard by the next one 0.2 ms later
            places = np.arange(frames) + (first_frame + channel * 77_777) % len(self._background)
            sound[:, channel] = self._background.take(places, mode="wrap")
            self._add_songs(sound[:, channel], first_frame - channel * self._rate // 5000)
        if self._bits == 16:
            narrow: npt.NDArray[np.int16] = np.rint(sound * 2**15).astype(np.int16)
            return narrow
        wide: npt.NDArray[np.int32] = np.rint(sound * 2**23).astype(np.int32) * 2**8
        return wide

    def _add_songs(self, sound: Tone, first: int) -> None:
        slot_frames = _SLOT_SECONDS * self._rate
        for slot in range(max(0, first // slot_frames), (first + len(sound) - 1) // slot_frames + 1):
            dice = random.Random(f"slot {self._seed} {slot}")  # noqa: S311
            song = self._songs[dice.randrange(_SONGS)]
            gain = np.float32(10 ** (dice.uniform(_QUIETEST, _LOUDEST) / 20))
            begin = slot * slot_frames + int(dice.random() * (slot_frames - len(song))) - first
            low, high = max(0, begin), min(len(sound), begin + len(song))
            if low < high:
                sound[low:high] += gain * song[low - begin : high - begin]


def _background(rate: int, seed: int) -> Tone:
    """Pink noise that swells like wind, and the hum; it can be repeated without a seam."""
    seconds = max(1, min(20, _LOOP_FRAMES // rate))
    count = seconds * rate
    dice = np.random.default_rng(seed)
    spectrum = dice.standard_normal((count // 2 + 1, 2), np.float32).view(np.complex64)[:, 0]
    frequencies = np.fft.rfftfreq(count, 1 / rate).astype(np.float32)
    spectrum[frequencies < 20] = 0
    spectrum /= np.sqrt(np.maximum(frequencies, 20))
    noise = np.fft.irfft(spectrum, count)
    noise *= _amplitude(_NOISE_DBFS) / math.sqrt(2 * float(np.mean(noise**2)))
    turn = 2 * np.pi * np.arange(count) / count
    noise *= 10 ** ((2.5 * np.sin(2 * turn) + 1.5 * np.sin(5 * turn + 1)) / 20)
    for frequency, level in _HUM:
        noise += _amplitude(level) * np.sin(frequency * seconds * turn)
    return noise.astype(np.float32)


def _song(rate: int, dice: random.Random) -> Tone:
    """A few chirps of one bird, 0.3 to 2.5 s, whose highest fast level is 0 dBFS before it is turned down."""
    chirp_seconds, pause_seconds = dice.uniform(0.06, 0.22), dice.uniform(0.03, 0.12)
    base = min(dice.uniform(2000, 5000), 0.25 * rate)
    sweep, trill = dice.uniform(0.6, 1.5), dice.uniform(15, 60)
    parts = []
    for number in range(dice.randint(3, 7)):
        time = np.arange(int(chirp_seconds * rate)) / rate
        along = time / chirp_seconds
        frequency = base * dice.uniform(0.9, 1.1) * sweep**along + 0.04 * base * np.sin(2 * np.pi * trill * time)
        tone = np.sin(2 * np.pi * np.cumsum(frequency) / rate) * np.sin(np.pi * along) ** 2
        parts += [tone * (1 - 0.06 * number), np.zeros(int(pause_seconds * rate))]
    song = np.concatenate(parts)
    return (song / math.sqrt(2 * _highest_fast(song, rate))).astype(np.float32)


def _highest_fast(tone: npt.NDArray[np.float64], rate: int) -> float:
    """The highest exponential mean of squares over 125 ms, in steps of 5 ms: near enough for a made-up bird."""
    step = rate // 200
    keep = math.exp(-0.005 / _FAST_SECONDS)
    mean = highest = 0.0
    for start in range(0, len(tone), step):
        mean = keep * mean + (1 - keep) * float(np.mean(tone[start : start + step] ** 2))
        highest = max(highest, mean)
    return highest


def _amplitude(level: float) -> float:
    """Of a sine at `level` dBFS."""
    return float(10 ** (level / 20))
