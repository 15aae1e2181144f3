"""Finds what the sound card did not deliver. Pure: from the blocks' own capture times.

A stall is not a gap: sound servers keep tens of seconds and deliver the backlog in a burst. So when blocks come late,
or the driver reports an overflow, they are held until the backlog has drained, and only then judged: where the delay
(capture time minus frames / rate) comes back to what it was, nothing is missing; where it stays longer, that much is.

Where it is missing: who keeps a backlog for us keeps the oldest and drops what comes when it is full, until we read
again. So what was captured after that moment, by the new delay, lies behind the break, even if it came in the burst.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from edge.recorder.capture.blocks import Block

_LATE = 100_000  # µs: later than this, or than a block and a quarter, is a stall or a loss to look into
_MISSING = 30_000  # µs: less cannot be told from jitter
_SUSPECT_MISSING = 20_000  # µs, where the driver says that it lost something: what it then loses is a whole buffer
_CALM_SECONDS = 1.0  # of sound at its own pace: the backlog has drained
_CALM_JITTER = 60_000  # µs within that second
_BASELINE_SECONDS = 3.0
_DOUBTFUL = 250_000  # µs: a busy machine is late by as much for a second or two, and then catches up
_SURE_SECONDS = 5.0  # what still is missing after that much calm is missing
_HELD_SECONDS = 120.0  # more is never held back
_HELD_BYTES = 16_000_000
_NEAR = 4  # blocks


class Break(NamedTuple):
    """Samples are missing here: the sound card's own time went on by `missing` µs without them."""

    missing: int


class Continuity:
    """Lets blocks through as they come, with a Break between those that do not join."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._frames = 0  # of all blocks taken in
        self._baseline: deque[tuple[int, int]] = deque()  # (frame, delay) of the last calm seconds
        self._held: list[tuple[Block, int, int]] = []  # (block, its first frame, its delay)
        self._held_bytes = 0
        self._calm_since: int | None = None  # frame; while less than is certain seems to be missing
        self._arrived = 0  # the last block that was not held

    def add(self, block: Block) -> Iterator[Block | Break]:
        """Takes in the next block; gives what can go on, in order: nothing while a stall is looked into."""
        frame = self._frames
        delay = block.captured_at - frame * 1_000_000 // self._rate
        self._frames += len(block.samples)
        if not self._held and not block.lost_before and not block.suspect and not self._is_late(block, delay):
            self._settle(frame, delay)
            self._arrived = self._arrival(block)
            yield block
            return
        self._held.append((block, frame, delay))
        self._held_bytes += block.samples.nbytes
        enough = self._held_bytes > _HELD_BYTES or frame - self._held[0][1] > _HELD_SECONDS * self._rate
        if enough or self._is_certain(frame):
            yield from self._judge()

    def flush(self) -> Iterator[Block | Break]:
        """What is still held, when nothing more will come."""
        if self._held:
            yield from self._judge()

    def _is_late(self, block: Block, delay: int) -> bool:
        # sound servers may hand over blocks in pairs: every second one is a block's length late
        usual = max(_LATE, len(block.samples) * 1_250_000 // self._rate)
        return bool(self._baseline) and delay - self._base() > usual

    def _base(self) -> int:
        return min(delay for _, delay in self._baseline)

    def _settle(self, frame: int, delay: int) -> None:
        self._baseline.append((frame, delay))
        while frame - self._baseline[0][0] > _BASELINE_SECONDS * self._rate:
            self._baseline.popleft()

    def _is_calm(self) -> bool:
        last = self._held[-1][1]
        recent = [delay for _, frame, delay in self._held if last - frame <= _CALM_SECONDS * self._rate]
        covered = last - self._held[0][1] >= _CALM_SECONDS * self._rate
        # in pairs, as above
        return covered and max(recent) - min(recent) <= max(_CALM_JITTER, self._block_length() * 3 // 2)

    def _block_length(self) -> int:
        """Of the blocks held, in µs."""
        return max(len(block.samples) for block, _, _ in self._held) * 1_000_000 // self._rate

    def _is_certain(self, frame: int) -> bool:
        """Whether the backlog has drained, and what is missing then does not look like mere lateness."""
        if self._calm_since is None:
            if not self._is_calm():
                return False
            self._calm_since = frame - int(_CALM_SECONDS * self._rate)
        missing = self._missing(self._level())
        in_doubt = self._least_missing() <= missing < _DOUBTFUL
        return not in_doubt or frame - self._calm_since >= _SURE_SECONDS * self._rate

    def _level(self) -> int:
        """The least delay since it is calm, or of the last second."""
        since = self._held[-1][1] - _CALM_SECONDS * self._rate
        if self._calm_since is not None:
            since = min(since, self._calm_since)
        return min(delay for _, frame, delay in self._held if frame >= since)

    def _missing(self, level: int) -> int:
        return level - self._base() if self._baseline else 0

    def _least_missing(self) -> int:
        """Less than this is jitter: a sound server that was kept waiting may from then on hand over each block later,
        by up to a block's length, and has lost nothing."""
        block_length = self._block_length()
        if any(block.suspect for block, _, _ in self._held):
            return max(_SUSPECT_MISSING, block_length)
        return max(_MISSING, block_length * 5 // 4)

    def _judge(self) -> Iterator[Block | Break]:
        level, least = self._level(), self._least_missing()
        missing = self._missing(level)
        held, self._held, self._held_bytes, self._calm_since = self._held, [], 0, None
        last = held[-1][1]
        splits = self._splits(held, level, missing >= least)
        self._arrived = self._arrival(held[-1][0])
        self._baseline.clear()
        for index, (block, frame, delay) in enumerate(held):
            if index in splits:
                yield Break(max(0, missing))
            yield block
            if last - frame <= _CALM_SECONDS * self._rate:
                self._settle(frame, delay)

    def _splits(self, held: list[tuple[Block, int, int]], level: int, is_missing: bool) -> set[int]:
        """Before which of the held blocks something is missing."""
        dropped = {index for index, (block, _, _) in enumerate(held) if block.lost_before}
        suspects = [index for index, (block, _, _) in enumerate(held) if block.suspect]
        if dropped or not is_missing:
            return dropped
        likely = self._first_after_loss(held, level)
        # a driver tells late of what its sound server dropped, but exactly of what it dropped itself
        return {min([likely, *suspects], key=lambda index: (abs(index - likely) > _NEAR, index not in suspects, index))}

    def _first_after_loss(self, held: list[tuple[Block, int, int]], level: int) -> int:
        """The first block that was captured when we read again, by the delay after the loss."""
        arrivals = [self._arrival(block) for block, _, _ in held]
        waits = [later - earlier for earlier, later in pairwise([self._arrived, *arrivals])]
        again = arrivals[waits.index(max(waits))]  # after the longest stall, which may not be the first
        for index, (block, frame, _) in enumerate(held):
            middle = frame + len(block.samples) // 2
            if middle * 1_000_000 // self._rate + level >= again:
                return index
        return len(held) - 1

    def _arrival(self, block: Block) -> int:
        return block.captured_at + len(block.samples) * 1_000_000 // self._rate
