"""The progress of a fetch, on one line of the terminal."""

from __future__ import annotations

import sys
import time

from commands.show.node_view import size
from query_service.api import FetchProgress


class ProgressLine:
    """A line that is updated up to four times a second; nothing unless `shown`."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._next = 0.0
        self._dirty = False

    def __call__(self, progress: FetchProgress) -> None:
        if not self._shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 0.25
        share = progress.done_us / progress.total_us if progress.total_us else 1.0
        sys.stderr.write(f"\r{share:4.0%}  {size(progress.bytes_read)} from the store\x1b[K")
        sys.stderr.flush()
        self._dirty = True

    def end(self) -> None:
        if self._dirty:
            sys.stderr.write("\r\x1b[K")
