"""What lies in the spool at one moment. A folder of many thousand chunks is listed again only after it changed."""

from __future__ import annotations

import logging
import time
from typing import NamedTuple

from edge.core.errors import SpoolError
from edge.core.ids import stream_of
from edge.core.instant import MICROSECONDS, Instant
from edge.core.values import SpoolState
from edge.spool.chunks import PartFile, SpoolFile
from edge.spool.spool import Spool

log = logging.getLogger(__name__)

_ALIVE_SECONDS = 10  # a recorder flushes every second: one that wrote nothing for so long is none
_SETTLED_NS = 100_000_000  # changes within one tick of the kernel's clock leave a folder's time as it is


class SpoolView(NamedTuple):
    """The spool at one moment. `version` is another one whenever the listing may be.

    `flushed_at` is when the running stream's file being written last grew, if there is one; `seen_at` is when the
    recorder last wrote anything.
    """

    listed: dict[str, SpoolFile]
    state: SpoolState | None
    flushed_at: Instant | None
    seen_at: Instant | None
    version: int

    def is_alive(self, now: Instant) -> bool:
        """Whether the recorder wrote of late."""
        return self.seen_at is not None and self.seen_at >= now - _ALIVE_SECONDS * MICROSECONDS


class SpoolWatcher:
    """Looks at a spool that others write. One thread."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._changed_at: tuple[int, ...] = ()  # the folders' mtimes of the listing kept, ns; empty: none is kept
        self._listed: dict[str, SpoolFile] = {}
        self._parts: list[PartFile] = []
        self._version = 0

    def view(self) -> SpoolView:
        """The spool now. Raises SpoolError."""
        state = self._state()
        changed_at = self._folders_changed_at()
        if not changed_at or changed_at != self._changed_at or not self._parts_still_exist():
            looked_at = time.time_ns()
            # in this order: what is finished in between is in both, not in neither
            self._parts = self._spool.chunks.parts()
            self._listed = self._spool.chunks.finished()
            self._version += 1
            self._changed_at = changed_at if looked_at - max(changed_at, default=0) > _SETTLED_NS else ()
        if state is None:
            return SpoolView(self._listed, None, None, None, self._version)
        own = [part.modified_at for part in self._parts if stream_of(part.chunk_id) == state.stream_id]
        seen_at = self._spool.state.recorder_seen_at(state, self._parts, self._listed)
        return SpoolView(self._listed, state, max(own, default=None), seen_at, self._version)

    def _parts_still_exist(self) -> bool:
        """Looks at the files being written, which grow without changing their folder. False when one is gone."""
        try:
            self._parts = [_now(part) for part in self._parts]
        except OSError:
            return False
        return True

    def _folders_changed_at(self) -> tuple[int, ...]:
        try:
            return tuple(folder.stat().st_mtime_ns for folder in self._spool.layout.folders())
        except OSError:
            return ()  # listing them says what is wrong

    def _state(self) -> SpoolState | None:
        try:
            return self._spool.state.read()
        except SpoolError as problem:
            log.warning("what the recorder does is not known: %s", problem)
            return None


def _now(part: PartFile) -> PartFile:
    stat = part.path.stat()
    return part._replace(bytes=stat.st_size, modified_at=Instant(stat.st_mtime_ns // 1000))
