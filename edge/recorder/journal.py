"""What must be found again after a crash: the stream being recorded, and the holes between streams (state.json)."""

from __future__ import annotations

from typing import Literal

import msgspec

from edge.instant import Instant
from edge.model import Hole, HoleCause, OpenHole, SpoolState
from edge.spool import Spool

RecorderMode = Literal["recording", "paused", "no_device", "disk_full", "stopped"]


class Journal:
    """The recorder's memory on disk. Every method writes it durably before it returns; OSError on a bad disk."""

    def __init__(self, spool: Spool, state: SpoolState) -> None:
        self._spool = spool
        self.state = state

    def stream_opened(self, stream_id: str, opening: Instant) -> None:
        """Recording has begun: what lay before is now told by the stream's own record."""
        self._write(
            SpoolState(
                state="recording",
                since=opening,
                boot_id=self.state.boot_id,
                ordinal=self.state.ordinal + 1,
                stream_id=stream_id,
                knot=(0, opening),
            )
        )

    def knot_passed(self, frame: int, at: Instant) -> None:
        """The chunk before `frame` is finished; the next begins at `at`."""
        self._write(msgspec.structs.replace(self.state, knot=(frame, at)))

    def hole_opened(self, mode: RecorderMode, cause: HoleCause, at: Instant) -> None:
        """Nothing is recorded from `at` on. A hole already open ends there, unless it is the same."""
        if self.state.open_hole is not None and self.state.open_hole.cause == cause:
            if self.state.state != mode:
                self._write(msgspec.structs.replace(self.state, state=mode, since=at))
            return
        self._write(
            msgspec.structs.replace(
                self.state,
                state=mode,
                since=at,
                stream_id=None,
                knot=None,
                holes=self.holes_until(at),
                open_hole=OpenHole(cause, at),
            )
        )

    def holes_until(self, at: Instant) -> tuple[Hole, ...]:
        """Every hole since the last stream, the open one ended at `at`."""
        still_open = self.state.open_hole
        if still_open is None or still_open.from_ >= at:
            return self.state.holes
        return (*self.state.holes, Hole(still_open.cause, still_open.from_, at))

    def _write(self, state: SpoolState) -> None:
        self._spool.write_state(state)
        self.state = state
