"""What happens on the node, as Server-Sent Events (WHATWG HTML, 9.2) for pages that are open.

Streams are counted apart from questions. One that takes in too little loses its oldest events, and nobody else's.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from aiohttp import web

from edge.core import wire
from edge.messaging.events import (
    ArchiveChanged,
    ArchiverState,
    ChunkCompleted,
    Event,
    GapFound,
    LevelMeasured,
    RecorderState,
    SoundHeard,
    SoundingChanged,
)

LIVE: tuple[type[Event], ...] = (
    RecorderState, LevelMeasured, ChunkCompleted, SoundHeard, SoundingChanged, GapFound, ArchiverState, ArchiveChanged
)  # fmt: skip
MOST_STREAMS = 30
_WAITING = 100  # events of one stream
_PING_SECONDS = 20.0  # so that both ends notice a lost connection
_RETRY = b"retry: 3000\n\n"  # milliseconds until a browser connects again


class EventStreams:
    """`put` may be called in any thread, `serve` in one event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, bytes] = {}  # the last event of each retained topic: what a new page begins with
        self._streams: set[_Stream] = set()

    @property
    def is_full(self) -> bool:
        return len(self._streams) >= MOST_STREAMS

    def put(self, event: Event, _retained: bool) -> None:
        """Takes in one event of LIVE."""
        text = b"event: %s\ndata: %s\n\n" % (event.TOPIC.encode(), wire.encode(event))
        with self._lock:
            if event.RETAINED:
                self._states[event.TOPIC] = text
            streams = tuple(self._streams)
        for stream in streams:
            stream.put(text)

    async def serve(self, request: web.Request, may_see: Callable[[], bool]) -> web.StreamResponse:
        """Sends events until the page closes its stream, or may see them no more."""
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        stream = _Stream()
        with self._lock:
            self._streams.add(stream)
            first = b"".join((_RETRY, *self._states.values()))
        try:
            await response.prepare(request)
            await response.write(first)
            while True:
                text = await stream.next()
                if not may_see():
                    return response
                await response.write(text)
        except ConnectionError:
            return response
        finally:
            with self._lock:
                self._streams.discard(stream)


class _Stream:
    """The events that wait for one page."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque(maxlen=_WAITING)
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()

    def put(self, text: bytes) -> None:
        self._waiting.append(text)
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # the loop has ended: the service is being stopped
            return

    async def next(self) -> bytes:
        """All events that wait, or a comment after a while without any."""
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await self._arrived.wait()
        except TimeoutError:
            return b": still here\n\n"
        self._arrived.clear()
        found = []
        while self._waiting:
            found.append(self._waiting.popleft())
        return b"".join(found)
