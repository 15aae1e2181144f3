"""Sounds, archives and states on their way from MQTT to Ably: bounded, the newest kept, only what is well formed."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from typing import NamedTuple

from edge.core import wire
from edge.core.errors import WireError
from edge.messaging.bus import Bus, Message
from edge.messaging.events import ROOT, ArchiveChanged, ArchiverState, Event, RecorderState, SoundHeard
from query_service.telemetry.node_watch import NodeWatch

_WAITING = 200
_SENT = (SoundHeard, ArchiveChanged, RecorderState, ArchiverState)


class FeedEvent(NamedTuple):
    """One event for Ably: `name` is its MQTT topic below the node's, `data` its JSON."""

    name: str
    data: bytes


class EventFeed:
    """Make it in the event loop that takes from it; `put` may be called in any thread."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[object, FeedEvent] = OrderedDict()
        self._lock = threading.Lock()
        self._published_state: dict[str, object] = {}
        self._loop = asyncio.get_running_loop()
        self._came = asyncio.Event()

    def listen(self, bus: Bus, watch: NodeWatch, node: str) -> None:
        """Takes in what is published from now on; `watch` already receives states and archives."""
        watch.listeners.append(self.put)
        bus.subscribe(f"{ROOT}/{node}/{SoundHeard.TOPIC}", self._received)

    def put(self, event: Event, retained: bool) -> None:
        """Takes in one event; once too many wait, the oldest is dropped."""
        if not isinstance(event, _SENT) or (retained and not event.RETAINED) or not self._is_news(event):
            return
        item = FeedEvent(event.TOPIC, wire.encode(event))
        with self._lock:
            # of a state only the last one is of interest
            self._waiting[event.TOPIC if event.RETAINED else object()] = item
            if len(self._waiting) > _WAITING:
                self._waiting.popitem(last=False)
        try:
            self._loop.call_soon_threadsafe(self._came.set)
        except RuntimeError:  # the loop has ended: we are being stopped
            return

    def _received(self, message: Message) -> None:
        try:
            self.put(wire.decode(message.payload, SoundHeard), message.retained)
        except WireError:
            return

    async def next(self) -> FeedEvent:
        """The oldest event that waits, as soon as there is one."""
        while True:
            with self._lock:
                if self._waiting:
                    return self._waiting.popitem(last=False)[1]
                self._came.clear()
            await self._came.wait()

    def _is_news(self, event: Event) -> bool:
        """The archiver publishes its progress every few seconds; only a change of state is news."""
        if not isinstance(event, RecorderState | ArchiverState):
            return True
        state = (event.state, event.reason)
        if self._published_state.get(event.TOPIC) == state:
            return False
        self._published_state[event.TOPIC] = state
        return True
