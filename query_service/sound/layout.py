"""Which frames of a continuous file each interval of a range fills: sound where it was recorded, else silence. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from msgspec.structs import replace

from edge.core.errors import FetchError
from edge.core.instant import MICROSECONDS, Instant
from query_service.queries.values import ArchivePlace, Cut, Future, Interval, Pending, Recorded

OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)  # RFC 6716, 2.1.3


class Part(NamedTuple):
    """`frames` frames of the file from frame `first` on; silence unless `interval` is recorded or pending."""

    first: int
    frames: int
    interval: Interval
    archives: dict[str, ArchivePlace]

    @property
    def has_sound(self) -> bool:
        return isinstance(self.interval, Recorded | Pending)


class SoundChanges(FetchError):
    """No one file can hold the range: the format changes at `at`."""

    def __init__(self, at: Instant, before: str, after: str) -> None:
        super().__init__(f"the sound changes from {before} to {after} at {at}; end the range there")
        self.at = at


class SoundEncrypted(FetchError):
    """The node has no key to the sound."""


class NoSound(FetchError):
    """There is no sound in the range."""


class Layout(NamedTuple):
    rate: int  # frames per second
    channels: int
    parts: tuple[Part, ...]

    @property
    def frames(self) -> int:
        last = self.parts[-1]
        return last.first + last.frames

    def between(self, first: int, end: int) -> tuple[Part, ...]:
        """The parts, and parts of parts, that fill frames `first` to `end` (exclusive)."""
        found = []
        for part in self.parts:
            starts, ends = max(first, part.first), min(end, part.first + part.frames)
            if starts < ends:
                found.append(part._replace(first=starts, frames=ends - starts, interval=_cut(part, starts, ends)))
        return tuple(found)


def lay_out(start: Instant, intervals: Iterable[tuple[Interval, dict[str, ArchivePlace]]]) -> Layout:
    """The frames of a file that begins at `start`, exactly those that `imhearing fetch` writes; ends before the future.

    Raises NoSound, SoundEncrypted, SoundChanges.
    """
    found = [(interval, archives) for interval, archives in intervals if not isinstance(interval, Future)]
    sounds = [interval for interval, _ in found if isinstance(interval, Recorded | Pending)]
    if not sounds:
        raise NoSound("there is no sound in this range; its coverage says why")
    for before, after in pairwise(sounds):
        if (before.rate, before.channels) != (after.rate, after.channels):
            raise SoundChanges(after.from_, _format(before), _format(after))
    for sound in sounds:
        if sound.encrypted:
            raise SoundEncrypted(f"the sound at {sound.from_} is encrypted; `imhearing fetch --identity FILE` opens it")
    rate = sounds[0].rate
    parts: list[Part] = []
    reached = 0
    for interval, archives in found:
        if isinstance(interval, Recorded | Pending):
            frames = interval.cut.frames
        else:
            # up to the first frame whose time is the interval's end or later; a card's rate may be a little off
            frames = max(0, -((start - interval.to) * rate // MICROSECONDS) - reached)
        parts.append(Part(reached, frames, interval, archives))
        reached += frames
    return Layout(rate, sounds[0].channels, tuple(parts))


def _format(sound: Recorded | Pending) -> str:
    return f"{sound.rate} Hz, {sound.channels} channel(s)"


def _cut(part: Part, starts: int, ends: int) -> Interval:
    interval = part.interval
    if not isinstance(interval, Recorded | Pending):
        return interval
    return replace(interval, cut=Cut(interval.cut.first + starts - part.first, ends - starts))
