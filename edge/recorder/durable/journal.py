"""What must survive a crash: the stream being recorded, the holes between streams, and the belief about the clock
(state.json)."""

from __future__ import annotations

from msgspec.structs import replace

from edge.core.instant import Instant
from edge.core.values import Hole, HoleCause, OpenHole, RecorderMode, SpoolState, Stream
from edge.recorder.timing.clock import Belief
from edge.recorder.timing.correction import corrected_state
from edge.spool.spool import Spool


class Journal:
    """The recorder's memory on disk. Every method writes it durably before it returns; SpoolError on a bad disk.

    Called in the disk thread, except for `stream_opened` and `holes_until`, before which that thread is waited for.
    """

    def __init__(self, spool: Spool, state: SpoolState) -> None:
        self._spool = spool
        self.state = state

    def stream_opened(self, stream: Stream) -> None:
        """Recording has started: the stream's own record now holds what lay before."""
        knot = stream.knots[0]
        self._write(
            SpoolState(
                state="recording",
                since=knot[1],
                boot_id=stream.boot_id,
                ordinal=stream.ordinal,
                stream_id=stream.stream_id,
                knot=knot,
                utc_offset=self.state.utc_offset,
                trusted=self.state.trusted,
            )
        )

    def knot_passed(self, frame: int, at: Instant) -> None:
        """The chunk before `frame` is finished; the next begins at `at`."""
        if self.state.stream_id is not None:
            self._write(replace(self.state, knot=(frame, at)))

    def hole_opened(self, mode: RecorderMode, cause: HoleCause, at: Instant, until: Instant | None = None) -> None:
        """Nothing is recorded from `at` on. A hole already open ends there, unless it is the same.

        `until`: when a pause is to end by itself.
        """
        if self.state.open_hole is not None and self.state.open_hole.cause == cause:
            if self.state.state != mode:
                self._write(replace(self.state, state=mode, since=at, until=until))
            elif self.state.until != until:
                self._write(replace(self.state, until=until))
            return
        self._write(
            replace(
                self.state,
                state=mode,
                since=at,
                stream_id=None,
                knot=None,
                holes=self.holes_until(at),
                open_hole=OpenHole(cause, at),
                until=until,
            )
        )

    def holes_until(self, at: Instant) -> tuple[Hole, ...]:
        """Every hole since the last stream, the open one ended at `at`."""
        still_open = self.state.open_hole
        if still_open is None:
            return self.state.holes
        return (*self.state.holes, Hole(still_open.cause, still_open.from_, at))

    def believe(self, belief: Belief) -> None:
        """The clock was set or corrected: corrects the times noted here."""
        self._write(corrected_state(self.state, belief))

    def _write(self, state: SpoolState) -> None:
        self._spool.state.write(state)
        self.state = state
