"""What the node's other services said last, from the broker: for metrics and for the daily report."""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TypeVar

from edge.core import wire
from edge.core.errors import WireError
from edge.messaging.bus import Bus, Message
from edge.messaging.events import (
    ROOT,
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

log = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)

_HEARD: tuple[type[Event], ...] = (
    RecorderStatus, ArchiverStatus, RecorderState, ArchiverState, LevelMeasured, GapFound, ArchiveChanged,
)  # fmt: skip
_BY_TOPIC = {kind.TOPIC: kind for kind in _HEARD}


class NodeWatch:
    """Subscribes to one node's events; counts what is only said once, since this process started."""

    def __init__(self, bus: Bus | None, node: str) -> None:
        self._node = node
        self._last: dict[type[Event], Event] = {}
        self._lock = threading.Lock()
        self.gap_seconds: defaultdict[str, float] = defaultdict(float)  # by cause
        self.archives: Counter[str] = Counter()  # by what became of them
        self.uploaded_bytes = 0
        self.listeners: list[Callable[[Event, bool], None]] = []  # called in paho's thread; True: it was retained
        if bus is not None:
            for topic in _BY_TOPIC:
                bus.subscribe(f"{ROOT}/{node}/{topic}", self._take)

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
        return {**others, "query": True}  # that is us, and a connection takes each topic once

    def _take(self, message: Message) -> None:
        kind = _BY_TOPIC.get(message.topic.removeprefix(f"{ROOT}/{self._node}/"))
        if kind is None or not message.payload:
            return
        try:
            event = wire.decode(message.payload, kind)
        except WireError as problem:
            log.debug("%s: not what it should be: %s", message.topic, problem)
            return
        for tell in self.listeners:
            tell(event, message.retained)
        with self._lock:
            self._last[kind] = event
            if message.retained:
                return
            if isinstance(event, GapFound):
                self.gap_seconds[event.cause] += max(0, event.ended_at - event.started_at) / 1e6
            elif isinstance(event, ArchiveChanged):
                self.archives[event.event] += 1
                self.uploaded_bytes += event.bytes if event.event == "uploaded" else 0
