"""What a stretch of time holds, in sums that can be joined. Pure: pieces of `tiling` in, sums out."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from edge.catalog.rollup.tiling import KnownChunk, Nothing, Owner, Piece, Running
from edge.core.instant import MICROSECONDS
from edge.core.values import Chunk, Hole, LevelUnit

QUARTER = 900 * MICROSECONDS  # the quarter-hours of UTC are numbered from 1970 on
UNKNOWN = "gap:unknown"
UNITS: tuple[tuple[str, LevelUnit], ...] = (("dbfs", "dBFS"), ("dba", "dBA"))  # in names of columns, and in levels
Run = tuple[int, int]  # quarter-hours from the first up to the second, which is not part of it
_FEW = 4  # quarter-hours of a piece that are summed up even where they differ in nothing


class LevelSum(Struct):
    """Of one-second levels of one unit: how many, the sum of their energies, and how many in each dB from n to n + 1"""

    seconds: int = 0
    energy: float = 0.0  # in units of the energy of 0 dB
    maximum: float = -math.inf
    histogram: dict[int, int] = field(default_factory=dict)

    def add(self, levels: Sequence[float]) -> None:
        self.seconds += len(levels)
        self.energy += math.fsum(10 ** (level / 10) for level in levels)
        self.maximum = max(self.maximum, *levels)
        for level in levels:
            bin_ = math.floor(level)
            self.histogram[bin_] = self.histogram.get(bin_, 0) + 1

    def join(self, other: LevelSum) -> None:
        self.seconds += other.seconds
        self.energy += other.energy
        self.maximum = max(self.maximum, other.maximum)
        for bin_, seconds in other.histogram.items():
            self.histogram[bin_] = self.histogram.get(bin_, 0) + seconds


class Summary(Struct):
    """A stretch of time. States are `recorded`, `pending`, `recording`, `paused`, `future`, `gap:CAUSE` and
    `expired:CAUSE`."""

    first: str = ""  # the state it begins with
    last: str = ""  # and the one it ends with
    times: dict[str, int] = field(default_factory=dict)  # µs of each state
    gaps: int = 0  # that have a part in it
    sounds: int = 0  # that begin in it
    levels: dict[LevelUnit, LevelSum] = field(default_factory=dict)

    def add(self, state: str, duration: int) -> None:
        """It goes on with so many µs of that state."""
        self.gaps += is_gap(state) and state != self.last
        self.first, self.last = self.first or state, state
        self.times[state] = self.times.get(state, 0) + duration

    def join(self, later: Summary) -> None:
        """`later` comes right after it."""
        self.gaps += later.gaps - (is_gap(later.first) and later.first == self.last)
        self.first, self.last = self.first or later.first, later.last or self.last
        self.sounds += later.sounds
        for state, duration in later.times.items():
            self.times[state] = self.times.get(state, 0) + duration
        for unit, levels in later.levels.items():
            self.levels.setdefault(unit, LevelSum()).join(levels)


def joined(runs: Iterable[Run]) -> list[Run]:
    """The same quarter-hours, in order; runs that meet or overlap are one."""
    found: list[Run] = []
    for first, end in sorted(runs):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((first, end))
    return found


def is_gap(state: str) -> bool:
    return state.startswith("gap:")


def summarize(pieces: Iterable[Piece]) -> Summary:
    """All of these pieces; their sounds are not counted."""
    summary = Summary()
    for piece in pieces:
        _add(summary, piece, piece.start, piece.end)
    return summary


def summarize_quarters(pieces: Iterable[Piece], sounds: Sequence[int]) -> dict[int, Summary]:
    """What these pieces have of each quarter-hour, by its number. Where a quarter-hour is missing, nothing begins or
    ends in it, and it has no levels nor sounds. `sounds`: when they begin, in order; they are not counted."""
    found: dict[int, Summary] = {}
    for piece in pieces:
        for number in _quarters(piece, sounds):
            begin, end = number * QUARTER, (number + 1) * QUARTER
            summary = found.setdefault(number, Summary())
            _add(summary, piece, max(begin, piece.start), min(end, piece.end))
    return found


def _quarters(piece: Piece, sounds: Sequence[int]) -> Sequence[int]:
    first, last = piece.start // QUARTER, (piece.end - 1) // QUARTER
    if last - first < _FEW:
        return range(first, last + 1)
    times = [*sounds[bisect_left(sounds, piece.start) : bisect_left(sounds, piece.end)]]
    if isinstance(piece.owner, KnownChunk):
        chunk = piece.owner.chunk
        length = chunk.ended_at - chunk.started_at
        seconds = range(second_at(chunk, piece.start), min(second_at(chunk, piece.end), len(_per_second(piece.owner))))
        times += [chunk.started_at + second * chunk.rate * length // chunk.frames for second in seconds]
    return sorted({first, last, *(time // QUARTER for time in times)})


def _add(summary: Summary, piece: Piece, start: int, end: int) -> None:
    owner = piece.owner
    summary.add(state_of(owner), end - start)
    if isinstance(owner, KnownChunk) and owner.chunk.levels is not None:
        levels = _per_second(owner)[second_at(owner.chunk, start) : second_at(owner.chunk, end)]
        if levels:
            summary.levels.setdefault(owner.chunk.levels.unit, LevelSum()).add(levels)


def _per_second(known: KnownChunk) -> Sequence[float]:
    levels = known.chunk.levels
    return () if levels is None or known.expired == "erased" else levels.per_second


def second_at(chunk: Chunk, moment: int) -> int:
    """The first second of a chunk that begins at `moment` or later. Second n is n * rate frames after its start."""
    length = chunk.ended_at - chunk.started_at
    return max(0, -((chunk.started_at - moment) * chunk.frames // (chunk.rate * length)))


def state_of(owner: Owner) -> str:
    match owner:
        case KnownChunk():
            if owner.expired:
                return f"expired:{owner.expired}"
            return "recorded" if owner.where else "pending"
        case Running():
            return "recording"
        case Hole():
            return "paused" if owner.cause == "paused" else f"gap:{owner.cause}"
        case Nothing():
            return "future" if owner.future else UNKNOWN
