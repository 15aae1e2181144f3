"""A recursive filter over blocks of samples as matrix products: equal to a loop over samples, and 100 times faster.

With the state s, one frame is  s' = A s + b x,  y = C s + d x.  Over a row of `ROW` frames the outputs are a matrix
times the inputs plus a matrix times the state before; the states before all rows come from a prefix sum that doubles
its stride. So a block of any length costs about ten matrix products, and leaves the exact state behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge.recorder.signal.weighting import Coefficients, Floats

ROW = 64  # frames: cheapest between 32 and 128 at blocks of 2,048
_TINY = 1e-60  # what decays below this during digital silence would become denormal, and slow


class StateSpace(NamedTuple):
    """s' = A s + b x, y = C s + d x, for n states and m outputs of one input: A (n, n), b (n), C (m, n), d (m)."""

    a: Floats
    b: Floats
    c: Floats
    d: Floats


def cascade(filter_: Coefficients) -> StateSpace:
    """One filter as taps and first-order sections in a row, which keeps double poles next to 1 accurate."""
    delays = len(filter_.taps) - 1
    count = delays + len(filter_.poles)
    basis = np.eye(count + 1)  # a signal is a row of factors of the states and, last, of the input
    following = np.zeros((count, count + 1))
    for delay in range(delays):
        following[delay] = basis[delay - 1]  # the first takes the input, which is basis[-1]
    signal = filter_.taps[0] * basis[-1] + filter_.taps[1:] @ basis[:delays]
    for number, pole in enumerate(filter_.poles):
        own = basis[delays + number]
        following[delays + number] = signal + pole * own
        signal = signal + pole * own - (own if number < filter_.dc_zeros else 0)
    return StateSpace(following[:, :-1], following[:, -1], signal[None, :-1], signal[-1:])


def side_by_side(spaces: Sequence[StateSpace]) -> StateSpace:
    """Several filters of the same input as one with several outputs."""
    count = sum(len(space.b) for space in spaces)
    a = np.zeros((count, count))
    c = np.zeros((len(spaces), count))
    start = 0
    for output, space in enumerate(spaces):
        part = slice(start, start + len(space.b))
        a[part, part], c[output, part] = space.a, space.c[0]
        start += len(space.b)
    return StateSpace(a, np.concatenate([s.b for s in spaces]), c, np.concatenate([s.d for s in spaces]))


class BlockFilter:
    """Filters each of `channels` channels; its state carries over from call to call, however the samples are split."""

    def __init__(self, space: StateSpace, channels: int) -> None:
        states, outputs = len(space.b), len(space.d)
        self._space = space
        self._outputs = outputs
        self._state = np.zeros((channels, states))
        reach = np.zeros((ROW, states))  # what each frame of a row adds to the state after it
        free = np.zeros((states, outputs, ROW))  # what the state before a row adds to each frame
        answer = np.zeros((outputs, ROW))  # the impulse response
        answer[:, 0] = space.d
        power, driven = np.eye(states), space.b
        for frame in range(ROW):
            free[:, :, frame] = (space.c @ power).T
            reach[ROW - 1 - frame] = driven
            if frame + 1 < ROW:
                answer[:, frame + 1] = space.c @ driven
            power, driven = space.a @ power, space.a @ driven
        direct = np.zeros((ROW, outputs, ROW))
        for frame in range(ROW):
            direct[frame, :, frame:] = answer[:, : ROW - frame]
        self._reach = _flushed(reach)
        self._free = _flushed(free.reshape(states, -1))
        self._direct = _flushed(direct.reshape(ROW, -1))
        self._strides = [_flushed(power.T)]  # A to the power of ROW, 2 ROW, 4 ROW ...; transposed, as states are rows

    def settle(self, values: Floats) -> None:
        """Sets the state as if `values`, one per channel, had always been the input: an offset makes no click."""
        space = self._space
        self._state = np.outer(values, np.linalg.solve(np.eye(len(space.b)) - space.a, space.b))

    def run(self, samples: Floats) -> Floats:
        """(channels, frames) -> (outputs, channels, frames)."""
        channels, frames = samples.shape
        full, rest = divmod(frames, ROW)
        count = full + (rest > 0)
        rows = np.zeros((channels, count * ROW))
        rows[:, :frames] = samples
        rows = rows.reshape(channels, count, ROW).transpose(1, 0, 2).reshape(count * channels, ROW)
        states = self._states_before(rows[: full * channels], full, channels)
        out = rows @ self._direct
        out += states[: count * channels] @ self._free
        last = states[full * channels :]
        if rest:
            last = last @ np.linalg.matrix_power(self._space.a, rest).T
            last = last + rows[full * channels :, :rest] @ self._reach[ROW - rest :]
        self._state = _flushed(last)
        out = out.reshape(count, channels, self._outputs, ROW).transpose(2, 1, 0, 3)
        return out.reshape(self._outputs, channels, count * ROW)[:, :, :frames]

    def _states_before(self, rows: Floats, full: int, channels: int) -> Floats:
        """The states before each of `full` rows and after the last: ((full + 1) * channels, states), time first."""
        states = np.concatenate([self._state, rows @ self._reach])
        step = 1
        for power in self._powers(full):
            states[step * channels :] += states[: -step * channels] @ power
            step *= 2
        return states

    def _powers(self, full: int) -> list[Floats]:
        needed = full.bit_length()
        while len(self._strides) < needed:
            self._strides.append(_flushed(self._strides[-1] @ self._strides[-1]))
        return self._strides[:needed]


def _flushed(values: Floats) -> Floats:
    return np.where(np.abs(values) < _TINY, 0.0, values)
