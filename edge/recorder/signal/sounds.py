"""The sound detector: where in a stream sounds start, continue and end, from the level of each block. Pure.

A sound starts with the block whose fast level reaches `sound_level`. It ends `hold_seconds` after the last block that
reached `sound_level - hysteresis`; that hold is part of it.
"""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from edge.core.ids import sound_id
from edge.core.values import SoundSpan
from edge.recorder.signal.levels import BlockLevels


class SoundChange(Struct, frozen=True):
    """What a block did to a sound. `span` is the whole of it so far; its `frames` is null until `ended`."""

    event: Literal["started", "updated", "ended"]
    span: SoundSpan


class SoundDetector:
    """Follows one stream. `sound_level` and `hysteresis` in dB, on the meter's scale; a `sound_level` of 0: off."""

    def __init__(
        self, stream_id: str, rate: int, sound_level: float, hysteresis: float = 3.0, hold_seconds: float = 2.0
    ) -> None:
        self._stream_id, self._rate = stream_id, rate
        self._hysteresis = hysteresis
        self._hold = round(hold_seconds * rate)
        self._open: _OpenSound | None = None
        self._ended: list[SoundSpan] = []  # in the chunk being recorded
        self.set_level(sound_level)

    def set_level(self, sound_level: float) -> None:
        """Takes effect with the next block, also on a sound that lasts; 0 lets it end after its hold."""
        self._start_level = sound_level or math.inf
        self._keep_level = self._start_level - self._hysteresis

    def resume(self, span: SoundSpan, end_frame: int) -> None:
        """Continues a sound that lasted at frame `end_frame`: it is taken to have been loud until then. Call it before
        the first block, which starts there."""
        past = BlockLevels(span.first_frame, max(1, end_frame - span.first_frame), span.lafmax, span.laeq)
        self._open = _OpenSound(span.sound_id, past, self._rate)

    def threshold_level(self, block: BlockLevels) -> float:
        """What to compare with the `sound_level` threshold: not below it while a sound lasts, so that the threshold is
        crossed once per sound, not once per chirp."""
        held = self._open and math.isfinite(self._start_level)
        return max(block.fast_max, self._start_level) if held else block.fast_max

    def add(self, block: BlockLevels) -> tuple[SoundChange, ...]:
        """The stream's next block, as `LevelMeter.add` gave it: at most one change."""
        if not block.frames:
            return ()
        if self._open is None:
            if block.fast_max < self._start_level:
                return ()
            self._open = _OpenSound(sound_id(self._stream_id, block.first_frame), block, self._rate)
            return (SoundChange("started", self._open.span()),)
        if block.fast_max >= self._keep_level:
            self._open.loud_until = block.end_frame
        end = max(self._open.loud_until + self._hold, block.first_frame)
        self._open.take(block, end)
        if block.fast_max < self._keep_level and block.end_frame >= end:
            return (self._end(self._open, end),)
        if self._open.is_update_due(block.end_frame):
            return (SoundChange("updated", self._open.span()),)
        return ()

    def take_chunk(self) -> tuple[SoundSpan, ...]:
        """The sounds of the chunk that ends with the last block added, for its manifest.

        Each is the whole sound as known now: a sound that began in an earlier chunk keeps its `first_frame`, and one
        that lasts has `frames` null. So of several spans with one id, the last chunk's is complete.
        """
        ended, self._ended = self._ended, []
        return (*ended, *([self._open.span()] if self._open else []))

    def finish(self) -> tuple[SoundChange, ...]:
        """The stream ends with the last block added, and so does the sound that lasts. Before the last `take_chunk`."""
        return (self._end(self._open, self._open.heard_until),) if self._open else ()

    def _end(self, sound: _OpenSound, end_frame: int) -> SoundChange:
        span = sound.span()
        span = replace(span, frames=max(0, end_frame - span.first_frame))
        self._open = None
        self._ended.append(span)
        return SoundChange("ended", span)


class _OpenSound:
    def __init__(self, identity: str, block: BlockLevels, rate: int) -> None:
        self._identity, self._first_frame, self._rate = identity, block.first_frame, rate
        self._energy = 0.0  # relative to 0 dB, times frames
        self._frames = 0.0
        self._fast_max = -math.inf
        self._next_update = block.first_frame + rate
        self.loud_until = self.heard_until = block.end_frame
        self.take(block, block.end_frame)

    def take(self, block: BlockLevels, end: int) -> None:
        """Adds the part of `block` before frame `end`; its energy is taken to be even."""
        self.heard_until = block.end_frame
        frames = min(block.frames, end - block.first_frame)
        self._energy += 10 ** (block.laeq / 10) * frames
        self._frames += frames
        if frames:
            self._fast_max = max(self._fast_max, block.fast_max)

    def is_update_due(self, end_frame: int) -> bool:
        """Whether a second or more has passed since the last time that this was true."""
        if end_frame < self._next_update:
            return False
        self._next_update += ((end_frame - self._next_update) // self._rate + 1) * self._rate
        return True

    def span(self) -> SoundSpan:
        laeq = 10 * math.log10(self._energy / self._frames)
        return SoundSpan(self._identity, self._first_frame, None, round(self._fast_max, 2) + 0.0, round(laeq, 2) + 0.0)
