"""Frames -> UTC, and how far to trust the wall clock. Pure: times are integer µs, and no clock is read here.

Within a stream the mapping is piecewise linear: a knot (frame, UTC) at each chunk boundary. The rate of the sound card
is fitted against the monotonic clock; a knot is moved towards the true time by at most 500 ppm of the time since the
one before, so that time in a stream never jumps and never runs backwards.

The wall clock lies after a boot without network, and jumps when it is set. So what turns monotonic time into UTC is
believed, not read (`Belief`): one offset for the whole boot until the kernel says that the clock is synchronised.
"""

from __future__ import annotations

from collections import deque
from typing import Literal, NamedTuple

from edge.core.instant import Instant

SLEW_PPM = 500  # at most; a USB sound card drifts by up to 100
_WINDOW_SECONDS = 10
_FITTED_WINDOWS = 60
_FEWEST_WINDOWS = 6  # before that the nominal rate is nearer the truth than a fit
_STEP = 1_000_000  # µs: a clock that moves by more between two readings was set, not slewed

Revision = Literal["followed", "set", "corrected", "moved"]


class Belief(NamedTuple):
    """UTC is the boot's monotonic time plus `offset`, µs. `trusted` once the kernel was synchronised in this boot."""

    offset: int
    trusted: bool

    def revised(self, wall_offset: int, synchronised: bool) -> tuple[Belief, Revision | None]:
        """The belief after reading the kernel's clocks, and what the change means; None: nothing changed.

        `followed`: the synchronised clock kept its own pace. `set`: somebody set a clock that is not synchronised;
        all times of this boot move with it, and stay uncertain. `corrected`: they move to true times. `moved`: the
        synchronised clock itself jumped; times recorded with trust stand, and new ones follow the new clock.

        Once trusted, an offset is held while the kernel is not synchronised: the crystal is better than a guess.
        """
        step = abs(wall_offset - self.offset) > _STEP
        if synchronised:
            revision: Revision = ("moved" if step else "followed") if self.trusted else "corrected"
            return Belief(wall_offset, True), revision
        if not self.trusted and step:
            return Belief(wall_offset, False), "set"
        return self, None


class Knot(NamedTuple):
    frame: int
    at: Instant


class _Window(NamedTuple):
    frame: int  # in the middle of the window
    delay: int  # capture time minus frame / rate, µs, the least in the window: blocks come late, never early


class StreamClock:
    """The mapping of one stream. `utc_offset` is UTC minus the monotonic clock, in µs."""

    def __init__(self, rate: int, first_captured_at: int, utc_offset: int) -> None:
        self._rate = rate
        self._offset = utc_offset
        self._opening = first_captured_at
        self._windows: deque[_Window] = deque(maxlen=_FITTED_WINDOWS)
        self._recent: list[tuple[int, int]] = []  # (frame, delay)
        self._joined = False
        self.knot = Knot(0, Instant(first_captured_at + utc_offset))

    def observe(self, frame: int, captured_at: int) -> None:
        """Frame `frame` was captured at `captured_at` of the monotonic clock, or before: drivers deliver late."""
        self._recent.append((frame, captured_at - frame * 1_000_000 // self._rate))
        if frame - self._recent[0][0] >= _WINDOW_SECONDS * self._rate:
            self._windows.append(_summary(self._recent))
            self._recent = []

    def carry_on(self, at: Instant) -> None:
        """The stream joins one that ended at `at`, to the sample: it opens there, and nothing refines that."""
        self.knot = Knot(0, at)
        self._joined = True

    def refine_opening(self) -> Instant:
        """Moves the opening knot to the least delay seen so far, and gives it. Before the first `advance`."""
        if self.knot.frame == 0 and self._recent and not self._joined:
            earliest = min(delay for _, delay in self._recent)
            self.knot = Knot(0, Instant(earliest + self._offset))
        return self.knot.at

    def advance(self, frame: int, utc_offset: int) -> Knot:
        """Sets and gives the knot at `frame`, where a chunk ends."""
        self._offset = utc_offset
        _, delay = self._fit(frame)
        nominal = (frame - self.knot.frame) * 1_000_000 / self._rate
        wanted = frame * 1_000_000 / self._rate + delay + self._offset - self.knot.at
        limit = nominal * SLEW_PPM / 1e6
        step = min(max(wanted, nominal - limit), nominal + limit)
        self.knot = Knot(frame, Instant(self.knot.at + max(1, round(step))))
        return self.knot

    def time_of(self, frame: int) -> Instant:
        """The time of a frame at or after the last knot, at the nominal rate."""
        return Instant(self.knot.at + (frame - self.knot.frame) * 1_000_000 // self._rate)

    def shift(self, microseconds: int) -> None:
        """Moves the whole mapping: the clock turned out to have been wrong by this much all along."""
        self._offset += microseconds
        self.knot = Knot(self.knot.frame, Instant(self.knot.at + microseconds))

    @property
    def measured_rate(self) -> float:
        """Frames per second of the monotonic clock, as fitted; the nominal rate in the first minute."""
        slope, _ = self._fit(self.knot.frame)
        return self._rate / (1 + slope * self._rate / 1e6)

    def _fit(self, frame: int) -> tuple[float, float]:
        """Least squares over the windows: µs of delay per frame, and the delay at `frame`."""
        windows = list(self._windows)
        if len(windows) < _FEWEST_WINDOWS:
            delays = [window.delay for window in windows] + ([_summary(self._recent).delay] if self._recent else [])
            return 0.0, float(min(delays, default=self._opening))
        mean_frame = sum(window.frame for window in windows) / len(windows)
        mean_delay = sum(window.delay for window in windows) / len(windows)
        spread = sum((window.frame - mean_frame) ** 2 for window in windows)
        slope = sum((window.frame - mean_frame) * (window.delay - mean_delay) for window in windows) / spread
        return slope, mean_delay + slope * (frame - mean_frame)


def _summary(observed: list[tuple[int, int]]) -> _Window:
    return _Window((observed[0][0] + observed[-1][0]) // 2, min(delay for _, delay in observed))
