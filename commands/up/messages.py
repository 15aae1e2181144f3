"""What a node publishes on its broker, for the display of `imhearing up`."""

from __future__ import annotations

import contextlib
import queue
import secrets
from collections.abc import Iterator

from commands.show.node_view import NodeView
from edge.configuration.settings import Settings
from edge.core.instant import Instant
from edge.messaging.bus import Bus
from edge.messaging.events import Event

_CAPACITY = 10_000  # events; more are dropped, and only the display suffers


class NodeMessages:
    """Receives on the bus's thread, and hands the events to the main thread in `take`; `view` sums them up."""

    def __init__(self, settings: Settings, since: Instant) -> None:
        self.view = NodeView()
        self._since = since
        self._bus = Bus(settings.mqtt, settings.node.name, "control", secrets.token_hex(4))
        self._inbox: queue.Queue[tuple[Event, bool]] = queue.Queue(_CAPACITY)

    def start(self) -> None:
        self._bus.subscribe_all(self._receive)
        self._bus.start()

    def stop(self) -> None:
        self._bus.stop()

    def take(self, timeout: float) -> Iterator[tuple[Event, str | None]]:
        """All events received, waiting up to `timeout` seconds for the first, each with its text if it is news."""
        with contextlib.suppress(queue.Empty):
            event, retained = self._inbox.get(timeout=timeout) if timeout else self._inbox.get_nowait()
            while True:
                # a retained event of an earlier run says nothing about now
                if not retained or event.at >= self._since:
                    yield event, self.view.apply(event)
                event, retained = self._inbox.get_nowait()

    def _receive(self, event: Event, retained: bool) -> None:
        with contextlib.suppress(queue.Full):
            self._inbox.put_nowait((event, retained))
