"""Live listening: one child decodes what is being recorded, for all who listen; it ends when the last one leaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

from edge.core import wire
from edge.core.errors import FetchError, WireError
from query_service.sound.child import SoundChild, sound_child
from query_service.sound.layout import SoundEncrypted
from query_service.sound.live_follower import NothingLive
from query_service.sound.live_messages import LiveFormat, LiveOrder

log = logging.getLogger(__name__)

MOST_LISTENERS = 5
_DECODER = "query_service.sound.live_decoder"
_START_SECONDS = 20.0  # for the child's first line: it loads NumPy, on a slow machine
_WAITING_SECONDS = 2.0  # of sound for a listener who takes in too little; then the oldest is left out
_PIECE = 65_536  # bytes


class TooManyListeners(FetchError):
    """All places are taken."""


class LiveListener:
    """One who listens. Its pieces hold whole frames."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._has_ended = False
        self._arrived = asyncio.Event()

    def put(self, piece: bytes, most: int) -> None:
        """`most`: bytes that may wait, beside this piece."""
        while self._bytes > most:
            self._bytes -= len(self._waiting.popleft())
        self._waiting.append(piece)
        self._bytes += len(piece)
        self._arrived.set()

    def end(self) -> None:
        """Nothing that waits is heard any more: the sound may have been paused."""
        self._waiting.clear()
        self._has_ended = True
        self._arrived.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        while not self._has_ended:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                piece = self._waiting.popleft()
                self._bytes -= len(piece)
                yield piece


class LiveSound:
    """The sound that a node is recording. For one event loop; `listeners` may be read in any thread."""

    def __init__(self, spool: Path, names: tuple[str, ...], *, is_encrypted: bool) -> None:
        """`names`: that the node has or had."""
        self._order = LiveOrder(str(spool), names)
        self._is_encrypted = is_encrypted
        self._places = 0
        self._broadcast: _Broadcast | None = None

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return self._places

    @contextlib.asynccontextmanager
    async def listen(self) -> AsyncIterator[tuple[LiveFormat, AsyncIterator[bytes]]]:
        """The format of the sound, and its samples from now on, until it or its format ends.

        Raises SoundEncrypted, NothingLive, TooManyListeners.
        """
        if self._is_encrypted:
            raise SoundEncrypted("the node encrypts its sound while it records, and has no key to it")
        if self._places >= MOST_LISTENERS:
            raise TooManyListeners(f"{MOST_LISTENERS} listen already")
        self._places += 1
        if self._broadcast is None or self._broadcast.has_ended:
            self._broadcast = _Broadcast(self._order)
        broadcast, listener = self._broadcast, LiveListener()
        broadcast.listeners.add(listener)
        try:
            yield await broadcast.format(), listener.pieces()
        finally:
            self._places -= 1
            broadcast.listeners.discard(listener)
            if not broadcast.listeners:
                await broadcast.stop()


class _Broadcast:
    """One child, from its start to its end, and those who hear it."""

    def __init__(self, order: LiveOrder) -> None:
        self._order = order
        self.listeners: set[LiveListener] = set()
        self.has_ended = False
        self._format: asyncio.Future[LiveFormat] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run())

    async def format(self) -> LiveFormat:
        """Raises NothingLive."""
        return await asyncio.shield(self._format)

    async def stop(self) -> None:
        """Returns once the child is gone."""
        self.has_ended = True
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            async with sound_child(_DECODER, self._order) as child:
                form = await self._read_format(child)
                if form is not None:
                    await self._pass_on(child, form)
                    log.info("live listening ends: %s", await _why(child))
        finally:
            self.has_ended = True
            if not self._format.done():
                self._format.cancel()
            for listener in self.listeners:
                listener.end()

    async def _read_format(self, child: SoundChild) -> LiveFormat | None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                form = wire.decode(await child.stdout.readline(), LiveFormat)
        except (TimeoutError, WireError):
            self._format.set_exception(NothingLive(await _why(child)))
            self._format.exception()  # each listener gets it; none may be left
            return None
        self._format.set_result(form)
        return form

    async def _pass_on(self, child: SoundChild, form: LiveFormat) -> None:
        most = round(_WAITING_SECONDS * form.rate) * form.frame_bytes
        left = b""
        while piece := await child.stdout.read(_PIECE):
            data = left + piece
            whole = len(data) // form.frame_bytes * form.frame_bytes
            left = data[whole:]
            for listener in self.listeners:
                listener.put(data[:whole], most)


async def _why(child: SoundChild) -> str:
    """What the child said last, as it ends."""
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    lines = (await child.stderr.read()).decode(errors="replace").split("\n")
    return lines[-2] if len(lines) > 1 else "the decoder broke off"
