"""Whether what the microphone delivers can be right: digital silence, clipping, a constant offset. Pure.

Sound is recorded unchanged in any case; the event says what to check.
"""

from __future__ import annotations

from collections import deque
from typing import Literal, NamedTuple

from edge.recorder.signal.levels import SecondLevels

InputFaultKind = Literal["silence", "clipping", "offset"]

_SILENT_SECONDS = 10
_WINDOW_SECONDS = 60  # over which clipping and an offset are judged
_CLIPPED_SECONDS = 3  # a single bang is no fault
_LARGE_OFFSET = 0.01  # of full scale


class InputFault(NamedTuple):
    """What is wrong with the sound, and what to do."""

    kind: InputFaultKind
    hint: str


class InputWatch:
    """Takes a stream's seconds one by one; `fault` is what is wrong now."""

    def __init__(self) -> None:
        self._silent = 0
        self._recent: deque[SecondLevels] = deque(maxlen=_WINDOW_SECONDS)
        self.fault: InputFault | None = None

    def add(self, second: SecondLevels) -> bool:
        """Whether the fault has changed or ended."""
        self._silent = self._silent + 1 if second.silent else 0
        self._recent.append(second)
        before, self.fault = self.fault, self._judge()
        return (before and before.kind) != (self.fault and self.fault.kind)

    def _judge(self) -> InputFault | None:
        if self._silent >= _SILENT_SECONDS:
            return InputFault(
                "silence",
                "the microphone delivers digital silence; is it muted, its gain at 0 (alsamixer), or unplugged from its"
                " sound card?",
            )
        clipped = [second.clipped for second in self._recent if second.clipped]
        if len(clipped) >= _CLIPPED_SECONDS:
            return InputFault(
                "clipping",
                f"{sum(clipped)} samples of the last minute reached full scale: they are cut off, and levels read too"
                " low; turn the microphone's gain down",
            )
        offset = sum(second.offset for second in self._recent) / len(self._recent)
        if len(self._recent) == _WINDOW_SECONDS and abs(offset) > _LARGE_OFFSET:
            return InputFault(
                "offset",
                f"the sound lies {100 * offset:+.1f} % of full scale off zero; levels are not affected, but the sound"
                " card or its microphone supply may be broken",
            )
        return None
