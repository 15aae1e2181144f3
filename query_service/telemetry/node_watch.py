"""What the node's other services said last, from the broker: for metrics and for the daily report."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from typing import TypeVar

from edge.messaging.events import (
    ArchiveChanged,
    ArchiverState,
    ArchiverStatus,
    Event,
    GapFound,
    LevelMeasured,
    RecorderState,
    RecorderStatus,
    ServiceStatus,
)

E = TypeVar("E", bound=Event)

WATCHED: tuple[type[Event], ...] = (
    RecorderStatus, ArchiverStatus, RecorderState, ArchiverState, LevelMeasured, GapFound, ArchiveChanged,
)  # fmt: skip


class NodeWatch:
    """The last event of each type, and counts of those that are no state, since this process started."""

    def __init__(self) -> None:
        self._last: dict[type[Event], Event] = {}
        self._lock = threading.Lock()
        self.gap_seconds: defaultdict[str, float] = defaultdict(float)  # by cause
        self.archives: Counter[str] = Counter()  # by what became of them
        self.uploaded_bytes = 0

    def last(self, kind: type[E]) -> E | None:
        """The last event of that kind; None when none was heard."""
        found = self._last.get(kind)
        return found if isinstance(found, kind) else None

    def online(self) -> dict[str, bool]:
        """Each service by its name; those that never said anything are not there."""
        kinds: dict[str, type[ServiceStatus]] = {
            "recorder": RecorderStatus, "archiver": ArchiverStatus,
        }  # fmt: skip
        found = {name: self.last(kind) for name, kind in kinds.items()}
        others = {name: status.state == "online" for name, status in found.items() if status is not None}
        return {**others, "query": True}  # that is us

    def take(self, event: Event, retained: bool) -> None:
        """Takes in one event of `WATCHED`. Any thread may call it."""
        with self._lock:
            self._last[type(event)] = event
            if retained:
                return
            if isinstance(event, GapFound):
                self.gap_seconds[event.cause] += max(0, event.ended_at - event.started_at) / 1e6
            elif isinstance(event, ArchiveChanged):
                self.archives[event.event] += 1
                self.uploaded_bytes += event.bytes if event.event == "uploaded" else 0
