"""Sounds, archives and states on their way from MQTT to Ably: bounded, the newest kept, only what is well formed."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from typing import NamedTuple

from edge.core import wire
from edge.messaging.events import ArchiveChanged, ArchiverState, Event, RecorderState, SoundHeard

_WAITING = 200
FED: tuple[type[Event], ...] = (SoundHeard, ArchiveChanged, RecorderState, ArchiverState)


class FeedEvent(NamedTuple):
    """One event for Ably: `name` is its MQTT topic below the node's, `data` its JSON."""

    name: str
    data: bytes


class EventFeed:
    """Make it in the event loop that takes from it; `put` may be called in any thread."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[object, FeedEvent] = OrderedDict()
        self._lock = threading.Lock()
        self._last_states: dict[str, object] = {}
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()

    def put(self, event: Event, retained: bool) -> None:
        """Takes in one event of `FED`; once too many wait, the oldest is dropped."""
        if (retained and not event.RETAINED) or not self._is_news(event):
            return
        item = FeedEvent(event.TOPIC, wire.encode(event))
        with self._lock:
            # of states only the latest matters
            self._waiting[event.TOPIC if event.RETAINED else object()] = item
            if len(self._waiting) > _WAITING:
                self._waiting.popitem(last=False)
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # the loop has ended: we are being stopped
            return

    async def next(self) -> FeedEvent:
        """The oldest event that waits, as soon as there is one."""
        while True:
            with self._lock:
                if self._waiting:
                    return self._waiting.popitem(last=False)[1]
                self._arrived.clear()
            await self._arrived.wait()

    def _is_news(self, event: Event) -> bool:
        """Whether a state differs from the last one; the archiver repeats its own every few seconds."""
        if not isinstance(event, RecorderState | ArchiverState):
            return True
        known, state = self._last_states.get(event.TOPIC), (event.state, event.reason)
        self._last_states[event.TOPIC] = state
        return state != known
