"""What leaves through the Ably door: answers and refusals to their sender's channel, events to the node's own.

At most 40 answers and 8 events a second: the service allows 50 messages.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict, deque
from typing import NamedTuple

from edge.core import wire
from edge.core.errors import DoorError
from edge.messaging.events import ArchiveChanged, ArchiverState, Event, RecorderState, SoundHeard
from query_service.queries.values import ErrorAnswer
from query_service.realtime.link import Link
from query_service.realtime.tokens import EVENTS, REPLIES

log = logging.getLogger(__name__)

_ANSWERS_PER_SECOND = 40
_EVENTS_PER_SECOND = 8
_REFUSALS = 200  # `busy` and the like that wait to be sent
_REFUSAL_SECONDS = 10.0  # until nobody waits for one any more
_REPLY_CHANNELS = 16  # kept for clients that ask again: twice what is in use at once; the SDK takes 10 kB for each
_RESEND_PAUSE = 0.2  # seconds
_PUBLISH_SECONDS = 5.0
_EVENTS_WAITING = 200
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
            if len(self._waiting) > _EVENTS_WAITING:
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
        """Whether a state differs from the last one; the archiver repeats its own every second while it uploads."""
        if not isinstance(event, RecorderState | ArchiverState):
            return True
        known, state = self._last_states.get(event.TOPIC), (event.state, event.reason)
        self._last_states[event.TOPIC] = state
        return state != known


class AblySender:
    """Publishes while a link is open, and waits while none is. Runs in one event loop, on links that come and go."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.link: Link | None = None
        self._rate = PublishRateLimiter(_ANSWERS_PER_SECOND)
        self._reply_channels: OrderedDict[str, None] = OrderedDict()
        self._refusals: deque[tuple[str, ErrorAnswer]] = deque(maxlen=_REFUSALS)
        self._refused = asyncio.Event()

    def open(self, link: Link) -> None:
        """Sends over `link` from now on."""
        self.link = link
        self._reply_channels.clear()
        self.opened.set()

    def close(self) -> bool:
        """Sends nothing until the next `open`; whether a link was open."""
        was_open = self.opened.is_set()
        self.opened.clear()
        return was_open

    def queue_refusal(self, client_id: str, answer: ErrorAnswer) -> None:
        """Takes in a refusal for `send_refusals`; the oldest gives way."""
        if len(self._refusals) == _REFUSALS:
            log.warning("too many refusals to send: %s gets none", self._refusals[0][0])
        self._refusals.append((client_id, answer))
        self._refused.set()

    async def send_refusals(self) -> None:
        """Until cancelled."""
        while True:
            await self._refused.wait()
            self._refused.clear()
            while self._refusals:
                client_id, answer = self._refusals.popleft()
                await self.send(client_id, answer.id, wire.encode(answer), time.monotonic() + _REFUSAL_SECONDS)

    async def send(self, client_id: str, request_id: str, data: bytes, deadline: float) -> None:
        """Publishes an answer on the client's own channel, again if need be, until `deadline` (monotonic seconds)."""
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 1.0)):
                while not await self._sent(client_id, request_id, data):
                    await asyncio.sleep(_RESEND_PAUSE)
        except TimeoutError:
            log.warning("an answer to %s did not leave before its deadline", client_id)

    async def _sent(self, client_id: str, request_id: str, data: bytes) -> bool:
        await self._rate.wait()
        await self.opened.wait()
        if self.link is None:
            return False
        channel = f"{REPLIES}{client_id}"
        self._reply_channels[channel] = None
        self._reply_channels.move_to_end(channel)
        if len(self._reply_channels) > _REPLY_CHANNELS:
            self.link.forget(self._reply_channels.popitem(last=False)[0])
        try:
            await self.link.publish(channel, "answer", data, {"id": request_id, "v": 1}, timeout=_PUBLISH_SECONDS)
        except DoorError as problem:
            log.debug("an answer may not have left: %s", problem)
            return False
        return True

    async def send_events(self, feed: EventFeed, node: str) -> None:
        """Until cancelled. Events are notice: one that does not get through is not sent again."""
        rate = PublishRateLimiter(_EVENTS_PER_SECOND)
        while True:
            await self.opened.wait()
            event = await feed.next()
            await rate.wait()
            try:
                if self.link is not None:
                    await self.link.publish(
                        f"{EVENTS}{node}", event.name, event.data, {"v": 1}, timeout=_PUBLISH_SECONDS
                    )
            except DoorError as problem:
                log.debug("an event may not have left: %s", problem)


class PublishRateLimiter:
    """At most `per_second` passes in any second."""

    def __init__(self, per_second: int) -> None:
        self._passed: deque[float] = deque([-1.0] * per_second, maxlen=per_second)

    async def wait(self) -> None:
        now = asyncio.get_running_loop().time()
        turn = max(now, self._passed[0] + 1.0)
        self._passed.append(turn)
        if turn > now:
            await asyncio.sleep(turn - now)
