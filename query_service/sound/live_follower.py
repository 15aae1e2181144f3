"""Which file the recorder is writing now, and which after that: from the spool, with a few small reads each time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edge.core.errors import FetchError, SpoolError
from edge.core.ids import chunk_id
from edge.core.instant import Instant
from edge.core.values import SpoolState, Stream
from edge.spool.files import ForeignDocument
from edge.spool.spool import Spool

POLL = 0.1  # seconds between two looks at the spool
SILENT_SECONDS = 10.0  # without a new block: then nothing is being recorded
_REASONS = {
    "paused": "recording is paused",
    "no_device": "the microphone is missing",
    "disk_full": "the disk is full",
    "stopped": "the recorder is stopped",
}


class NothingLive(FetchError):
    """Nothing is being recorded that could be heard now."""


class LivePart(NamedTuple):
    """The file of a chunk that is being written."""

    path: Path
    stream: Stream
    seq: int

    def follows(self, other: LivePart) -> bool:
        """Whether it begins with the sample after the last of `other`."""
        return self.stream.stream_id == other.stream.stream_id and self.seq == other.seq + 1


class SpoolFollower:
    """Follows the recorder from file to file, across the ends of chunks and streams. For one thread."""

    def __init__(
        self,
        spool: Spool,
        wait: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], Instant] = lambda: Instant.from_seconds(time.time()),
    ) -> None:
        """`wait` waits a moment; False once nobody listens any more."""
        self._spool, self._wait, self._monotonic, self._now = spool, wait, monotonic, now
        self._heard_at = monotonic()

    def first(self) -> LivePart:
        """The file that is being written. NothingLive."""
        with contextlib.suppress(SpoolError):
            if not self._spool.recorder_lock.is_held():
                raise NothingLive(_REASONS["stopped"])
        state = self._state()
        if state is not None and state.state != "recording":
            raise NothingLive(_REASONS[state.state])
        return self.after(None)

    def after(self, last: LivePart | None) -> LivePart:
        """The file that is written after `last`, once it is there. NothingLive: recording is paused, or broke off."""
        while not self._is_silent():
            if self.is_paused():
                raise NothingLive(_REASONS["paused"])
            part = self._written_now()
            if part is not None and (last is None or part.path != last.path):
                return part
            if not self._wait():
                break
        raise NothingLive("nothing was recorded for a while")

    def has_grown(self) -> None:
        """There was something new in the file."""
        self._heard_at = self._monotonic()

    def has_more(self, part: LivePart, inode: int) -> bool:
        """Waits a moment; False once nothing is added to the file any more, or nobody may listen or does."""
        if not self._wait() or self._is_silent() or self.is_paused():
            return False
        try:
            is_named = part.path.stat().st_ino == inode
        except OSError:
            return False
        state = self._state()
        return (
            is_named
            and not self._has_part(part.stream, part.seq + 1)
            and (state is not None and state.stream_id == part.stream.stream_id)
        )

    def is_paused(self) -> bool:
        """As the recorder's state says, or an order that it has yet to follow."""
        state = self._state()
        if state is not None and state.state == "paused":
            return True
        try:
            order = self._spool.pause.read()
        except ForeignDocument:
            return False
        except SpoolError:  # the recorder pauses then, to be on the safe side
            return True
        return order is not None and (order.until is None or order.until > self._now())

    def _written_now(self) -> LivePart | None:
        state = self._state()
        if state is None or state.stream_id is None or state.knot is None:
            return None
        try:
            stream = self._spool.streams.read(state.stream_id)
        except SpoolError:
            return None
        seq = state.knot[0] // stream.chunk_frames
        while self._has_part(stream, seq + 1):  # the disk thread comes later
            seq += 1
        return LivePart(self._path(stream, seq), stream, seq) if self._has_part(stream, seq) else None

    def _has_part(self, stream: Stream, seq: int) -> bool:
        return self._path(stream, seq).exists()

    def _path(self, stream: Stream, seq: int) -> Path:
        return self._spool.layout.part_path(chunk_id(stream.stream_id, seq), stream.format)

    def _state(self) -> SpoolState | None:
        try:
            return self._spool.state.read()
        except SpoolError:
            return None

    def _is_silent(self) -> bool:
        return self._monotonic() - self._heard_at > SILENT_SECONDS
