"""What lies in the spool at one moment. A folder of many thousand chunks is listed again only after it changed."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import NamedTuple

from edge.errors import SpoolError
from edge.instant import Instant
from edge.model import SpoolState
from edge.spool import PartFile, Spool, SpoolFile

log = logging.getLogger(__name__)

_SETTLED_NS = 100_000_000  # changes within one tick of the kernel's clock leave a folder's time as it is


class SpoolView(NamedTuple):
    """The spool at one moment. `version` is another one whenever the listing may be."""

    listed: dict[str, SpoolFile]
    state: SpoolState | None
    parts: list[PartFile]
    version: int


class SpoolWatcher:
    """Looks at a spool that others write. One thread."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._changed_at = -1  # the folder's mtime of the listing kept, ns; -1: none is kept
        self._listed: dict[str, SpoolFile] = {}
        self._parts: list[PartFile] = []
        self._version = 0

    def look(self) -> SpoolView:
        """The spool now. Raises SpoolError."""
        state = self._state()
        changed_at = self._folder_changed_at()
        if changed_at < 0 or changed_at != self._changed_at:
            looked_at = time.time_ns()
            self._listed, self._parts = self._spool.chunks(), self._spool.parts()
            self._version += 1
            self._changed_at = changed_at if looked_at - changed_at > _SETTLED_NS else -1
        else:
            self._parts = list(filter(None, map(_flushed, self._parts)))
        return SpoolView(self._listed, state, self._parts, self._version)

    def _folder_changed_at(self) -> int:
        try:
            return self._spool.path.stat().st_mtime_ns
        except OSError:
            return -1  # listing it says what is wrong

    def _state(self) -> SpoolState | None:
        try:
            return self._spool.state()
        except SpoolError as problem:
            log.warning("what the recorder does is not known: %s", problem)
            return None


def _flushed(part: PartFile) -> PartFile | None:
    """The same file now: it grows without changing its folder."""
    with contextlib.suppress(OSError):
        stat = part.path.stat()
        return part._replace(bytes=stat.st_size, modified_at=Instant(stat.st_mtime_ns // 1000))
    return None
