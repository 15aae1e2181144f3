"""Finds what the sound card did not deliver. Pure: from the blocks' own capture times.

A stall is not a gap: sound servers keep tens of seconds and deliver the backlog in a burst. The *delay* of a block
(capture time minus frames / rate) is the device's own, which only a loss raises, plus the time that the block waited
for us. So blocks that come late, or after an overflow, are held until it is known what was missing before them:

- One block with the delay of old proves that nothing was: what is held goes on at once.
- A block that we had to wait for was not waiting for us: the backlog had *drained*, and its delay is the device's own.
  Where that is higher than where the backlog drained before, as much is missing in between.

Where in between: who keeps a backlog for us keeps the oldest and drops what comes when it is full, until we read again.
So what is captured at the moment in which we read again comes right behind the break. Several stalls with no drained
moment between them are distinguished by the room of the buffer, which the last of them shows; such a break is a guess.

Where the first blocks of a source wait for us in such a stall, delays fall: this backlog is held until it has drained,
too, as nothing else shows when the source began.

Blocks go on with a capture time without the wait: a stall moves neither the clock of a stream nor where one begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from edge.recorder.capture.blocks import Block

_LATE = 100_000  # µs: later than this, or than a block and a quarter, is a stall or a loss
_MISSING = 30_000  # µs: less cannot be distinguished from jitter
_SUSPECT_MISSING = 20_000  # µs, where the driver reports a loss: it loses a whole buffer
_CALM_SECONDS = 1.0  # of sound at its own pace: the backlog has drained
_CALM_JITTER = 60_000  # µs within that second
_BASELINE_SECONDS = 3.0
_DOUBTFUL = 250_000  # µs: a busy machine is late by as much for a second or two, and then catches up
_SURE_SECONDS = 5.0  # what still is missing after that much calm is missing
_HELD_SECONDS = 120.0  # more is never held back
_HELD_BYTES = 16_000_000
_NEAR = 4  # blocks
_PACED = 0.75  # of real time: slower than that, two blocks were waited for
_SAME_ROOM = 0.9  # PulseAudio's buffer has between 22.0 and 23.7 s of room from one stall to the next


class Break(NamedTuple):
    """Samples are missing here: the sound card's own time went on by `missing` µs without them."""

    missing: int
    certain: bool = True  # else that much is missing, but where is concluded from the size of the card's buffer


class _Held(NamedTuple):
    """A block, or what is remembered of one."""

    frame: int
    delay: int  # µs
    length: int  # µs
    block: Block

    @property
    def arrival(self) -> int:
        return self.block.captured_at + self.length


class _Place(NamedTuple):
    """Before the held block `at` something is missing; from there on the device's own delay is `level`."""

    at: int
    missing: int
    level: int
    certain: bool


class _Drained(NamedTuple):
    """When the held block `at` came, no other waited: the device's own delay was `level`."""

    at: int
    level: int
    sure: bool


class Continuity:
    """Lets blocks through as they come, with a Break between those that do not join.

    Its eleven attributes are one state: the device's own delay, what is held, and totals of what is held, which are too
    costly to compute for each block.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._frames = 0  # of all blocks taken in, and of those that our own queue dropped
        self._baseline: deque[tuple[int, int]] = deque()  # (frame, delay) of the last calm seconds
        self._held: list[_Held] = []
        self._held_bytes = 0
        self._longest = 0  # µs of the blocks held
        self._suspected = self._uncounted = False  # by a driver; whether our own queue dropped what it did not count
        self._calm_since: int | None = None  # frame; while less than is certain seems to be missing
        self._recent: deque[_Held] = deque(maxlen=2)  # the last blocks that were not held
        self._wary_until = 0  # frame: just after a stall, a shorter delay is enough to judge

    @property
    def is_holding(self) -> bool:
        """Whether blocks are held back now."""
        return bool(self._held)

    @property
    def held(self) -> list[Block]:
        """The blocks that are held back now."""
        return [held.block for held in self._held]

    def add(self, block: Block) -> Iterator[Block | Break]:
        """Takes in the next block; yields what can be recorded, in order: nothing while a stall is being judged."""
        self._frames += block.dropped
        frame = self._frames
        self._frames += len(block.samples)
        new = _Held(frame, block.captured_at - self._time(frame), self._time(len(block.samples)), block)
        if not block.lost_before and self._is_early(new):
            yield from self._catch_up(new)
            return
        if not self._held and not block.lost_before and not block.suspect and not self._is_late(new):
            self._settle(frame, new.delay)
            self._recent.append(new)
            yield block
            return
        self._hold(new)
        if self._is_proof(new):
            yield from self._release([], self._base(), len(self._held))
        elif self._is_certain(frame):
            yield from self._judge()
        elif self._held_bytes > _HELD_BYTES or frame - self._held[0].frame > _HELD_SECONDS * self._rate:
            yield from self._relieve()

    def flush(self) -> Iterator[Block | Break]:
        """What is still held, when nothing more will come. Without a sign of a loss it counts as whole."""
        if self._held:
            base, places, _ = self._verdict(self._drained())
            yield from self._release(places, base, len(self._held))

    def _hold(self, new: _Held) -> None:
        self._held.append(new)
        self._held_bytes += new.block.samples.nbytes
        self._longest = max(self._longest, new.length)
        self._suspected |= new.block.suspect
        self._uncounted |= new.block.lost_before and not new.block.dropped

    def _time(self, frames: int) -> int:
        return frames * 1_000_000 // self._rate

    def _is_late(self, new: _Held) -> bool:
        # sound servers may hand over blocks in pairs: every second one is a block's length late
        least = _MISSING if new.frame < self._wary_until else _LATE
        return bool(self._baseline) and new.delay - self._base() > max(least, new.length * 5 // 4)

    def _is_early(self, new: _Held) -> bool:
        """Whether the very first block of the source had waited for us, unlike this one."""
        if not self._baseline or self._baseline[0][0] > 0:
            return False
        return self._baseline[0][1] - new.delay > max(_LATE, new.length * 5 // 4)

    def _catch_up(self, new: _Held) -> Iterator[Block | Break]:
        """Holds the backlog of a source that was opened in a stall: delays fall while it drains."""
        self._hold(new)
        has_drained = len(self._held) > _NEAR and self._held[-1 - _NEAR].delay - new.delay < new.length
        if has_drained or self._held_bytes > _HELD_BYTES:
            yield from self._release([], min(held.delay for held in self._held), len(self._held))

    def _is_proof(self, new: _Held) -> bool:
        """Whether nothing can be missing before a block that has come so soon. What our queue dropped without count
        is another matter."""
        if not self._baseline or self._uncounted:
            return False
        return new.delay - self._base() < self._least_missing()

    def _base(self) -> int:
        return min(delay for _, delay in self._baseline)

    def _settle(self, frame: int, delay: int) -> None:
        self._baseline.append((frame, delay))
        while frame - self._baseline[0][0] > _BASELINE_SECONDS * self._rate:
            self._baseline.popleft()

    def _is_calm(self) -> bool:
        last = self._held[-1].frame
        if last - self._held[0].frame < _CALM_SECONDS * self._rate:
            return False
        recent = self._delays_since(last - int(_CALM_SECONDS * self._rate))
        # in pairs, as above
        return max(recent) - min(recent) <= max(_CALM_JITTER, self._held[-1].length * 3 // 2)

    def _delays_since(self, frame: int) -> list[int]:
        delays = []
        for held in reversed(self._held):
            if held.frame < frame:
                break
            delays.append(held.delay)
        return delays

    def _is_certain(self, frame: int) -> bool:
        """Whether the backlog has drained, and what is missing then does not look like mere lateness."""
        if self._calm_since is None:
            if not self._is_calm():
                return False
            self._calm_since = frame - int(_CALM_SECONDS * self._rate)
        elif not self._is_calm():
            self._calm_since = None
            return False
        missing = self._level() - self._base() if self._baseline else 0
        in_doubt = self._least_missing() <= missing < _DOUBTFUL
        return not in_doubt or frame - self._calm_since >= _SURE_SECONDS * self._rate

    def _level(self) -> int:
        """The least delay since it is calm."""
        assert self._calm_since is not None  # noqa: S101 - for the type checker
        return min(self._delays_since(self._calm_since))

    def _least_missing(self) -> int:
        """Less than this is jitter: a sound server that was kept waiting may from then on hand over each block later,
        by up to a block's length, and has lost nothing."""
        if self._suspected:
            return max(_SUSPECT_MISSING, self._longest)
        return max(_MISSING, self._longest * 5 // 4)

    def _judge(self) -> Iterator[Block | Break]:
        """It is calm: all that is held can be judged."""
        level, since = self._level(), self._calm_since or 0
        calm = next(index for index, held in enumerate(self._held) if held.frame >= since)
        before = [drained for drained in self._drained() if drained.at < calm]
        base, places, _ = self._verdict([*before, _Drained(calm, level, sure=True)])
        yield from self._release(places, base, len(self._held))

    def _relieve(self) -> Iterator[Block | Break]:
        """Too much is held: judges what it can so far. Where the backlog never drained, half of it counts as whole,
        without a proof."""
        base, places, last = self._verdict(self._drained())
        yield from self._release(places, base, last or len(self._held) // 2)

    def _release(self, places: list[_Place], base: int, count: int) -> Iterator[Block | Break]:
        """Lets the first `count` blocks go on, with a Break at each of `places`."""
        held, rest = self._held[:count], self._held[count:]
        floors = self._floors(held, min([item.delay for item in rest], default=None))
        self._held, self._held_bytes, self._calm_since = [], 0, None
        self._longest, self._suspected, self._uncounted = 0, False, False
        for item in rest:
            self._hold(item)
        breaks = {place.at: place for place in places if place.at < count}
        level = base
        out: list[Block | Break] = []
        for index, item in enumerate(held):
            if (place := breaks.get(index)) is not None:
                level = place.level
                out.append(Break(place.missing, place.certain))
            out.append(item.block._replace(captured_at=self._time(item.frame) + min(floors[index], level)))
        last = held[-1].frame
        self._wary_until = last + int(_CALM_SECONDS * self._rate)
        self._baseline.clear()
        self._settle(last, min(level, floors[-1]))
        for item in held:
            if last - item.frame <= _CALM_SECONDS * self._rate and item.delay >= level:
                self._baseline.appendleft((item.frame, item.delay))
        self._recent.extend(held[-2:])
        yield from out

    @staticmethod
    def _floors(held: list[_Held], after: int | None = None) -> list[int]:
        """The device's own delay is never more than this: it does not fall, so no later block may have less."""
        delays = [item.delay for item in reversed(held)]
        if after is not None and delays:
            delays[0] = min(delays[0], after)
        return list(accumulate(delays, min))[::-1]

    def _drained(self) -> list[_Drained]:
        """The moments in which no block waited for us, as far as the next blocks confirm it."""
        all_ = [*self._recent, *self._held]
        floors, skip = self._floors(all_), len(all_) - len(self._held)
        found = []
        for number in range(max(2, skip), len(all_) - 2):
            two, one, now = all_[number - 2 : number + 1]
            blocks = one.length + now.length
            waited = now.arrival - two.arrival >= _PACED * blocks
            no_stall = now.delay - two.delay <= now.length * 5 // 4 and one.delay - two.delay <= one.length * 5 // 4
            if waited and no_stall and now.delay - floors[number] <= max(_MISSING, now.length // 4):
                # a stall that has just begun may have made this block late, but not the one before
                late = 0 <= floors[number] - one.delay < self._least_missing()
                found.append(_Drained(number - skip, one.delay if late else floors[number], sure=False))
        return found

    def _verdict(self, drained: list[_Drained]) -> tuple[int, list[_Place], int]:
        """The delay before what is held, where something is missing in it, and up to which block that is known."""
        base = self._base() if self._baseline else self._floors(self._held)[0]
        if self._uncounted:
            return base, self._dropped_by_queue(base, drained), drained[-1].at if drained else 0
        room = 0
        for _ in range(2):  # once more where a moment turns out not to fit the room that others show
            places, last, shown = self._losses(base, drained, room)
            if shown <= room:
                break
            room = shown
        return base, _merged(places, self._dropped_by_queue(base, [])), last

    def _dropped_by_queue(self, base: int, drained: list[_Drained]) -> list[_Place]:
        """What our own queue dropped. Its count is part of the frames: it raises no delay."""
        level = drained[-1].level if drained else base
        return [
            _Place(index, self._time(held.block.dropped) or max(0, level - base), level, certain=True)
            for index, held in enumerate(self._held)
            if held.block.lost_before
        ]

    def _losses(self, base: int, drained: list[_Drained], room: int) -> tuple[list[_Place], int, int]:
        """Where something is missing, up to which block that is known, and the largest room that the buffer showed."""
        least = self._least_missing()
        places: list[_Place] = []
        first, level, shown = 0, base, 0
        for point in drained:
            if point.level - level < least or not self._baseline:
                shown = max(shown, self._most_waiting(first, point) if point.sure else 0)
                first = point.at
                continue
            found = self._most_waiting(first, point)
            if not point.sure and found < _SAME_ROOM * room:
                continue
            shown = max(shown, found)
            places += self._between(first, point, level, least)
            first, level = point.at, point.level
        return places, first, shown

    def _most_waiting(self, first: int, point: _Drained) -> int:
        """µs of sound that waited for us at most, between two drained moments."""
        return max(held.delay + held.length for held in self._held[first : point.at + 1]) - point.level

    def _between(self, first: int, point: _Drained, level: int, least: int) -> list[_Place]:
        """The losses between two drained moments. When a block came, `arrival`, what did not find room was lost: by the
        time `room` behind it, where the first that was captured after that follows."""
        room = self._most_waiting(first, point)
        losses: list[tuple[int, int, int]] = []  # (index, missing, level)
        pending = 0
        for index in range(first, point.at + 1):
            held = self._held[index]
            lost = held.delay + held.length - room - level
            if lost <= 0:
                continue
            level, pending = level + lost, pending + lost
            # after a certain loss the buffer was full, so even a smaller loss is not jitter
            if pending >= (max(_MISSING, held.length // 2) if losses else least):
                losses.append((self._at_suspect(self._behind(index, room)), pending, level))
                pending = 0
        stalls = len({index for index, _, _ in losses})
        return [_Place(index, missing, after, certain=stalls == 1) for index, missing, after in losses]

    def _behind(self, index: int, room: int) -> int:
        """The block that begins nearest to `room` µs behind the one that came first after a stall."""
        held = self._held[index]
        if room < held.length * 3 // 2:
            return index  # nothing waited: it was lost before it came to the buffer
        for number in range(index, len(self._held)):
            if self._time(self._held[number].frame - held.frame) + held.length // 2 >= room:
                return number
        return len(self._held) - 1

    def _at_suspect(self, likely: int) -> int:
        """A driver reports late what its sound server dropped, but exactly what it dropped itself."""
        near = [index for index in range(max(0, likely - _NEAR), likely + _NEAR + 1) if self._is_suspect(index)]
        return min(near, key=lambda index: abs(index - likely), default=likely)

    def _is_suspect(self, index: int) -> bool:
        return index < len(self._held) and self._held[index].block.suspect


def _merged(places: list[_Place], more: list[_Place]) -> list[_Place]:
    """All places in order; those at the same block become one."""
    merged: dict[int, _Place] = {}
    for place in sorted([*places, *more]):
        if (known := merged.get(place.at)) is not None:
            both = known.missing + place.missing, max(known.level, place.level), known.certain and place.certain
            place = _Place(place.at, *both)  # noqa: PLW2901
        merged[place.at] = place
    return list(merged.values())
