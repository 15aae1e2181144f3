"""One question at a time, in one thread, and each client in its turn: many questions of one keep nobody waiting."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Turns:
    """Runs work in `thread`, which has one worker. One event loop."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread
        # by client; the one whose turn is next comes first
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._is_busy = False

    async def run(self, client: str, work: Callable[[], T]) -> T:
        """Waits for the client's turn and returns the result of `work`."""
        await self._turn(client)
        loop = asyncio.get_running_loop()
        try:
            running = self._thread.submit(work)
        except BaseException:
            self._pass_on()
            raise

        def done(_: Future[T]) -> None:
            try:
                loop.call_soon_threadsafe(self._pass_on)
            except RuntimeError:  # the loop has ended: nobody waits
                return

        # not when the caller leaves: its work goes on
        running.add_done_callback(done)
        return await asyncio.wrap_future(running)

    def close(self) -> None:
        """Starts nothing more; does not wait for what is running."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _turn(self, client: str) -> None:
        if not self._is_busy:
            self._is_busy = True
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given to one that leaves
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """The next client's first; that client is then the last."""
        while self._waiting:
            client, own = self._waiting.popitem(last=False)
            turn = own.popleft()
            if own:
                self._waiting[client] = own
            if not turn.done():
                turn.set_result(None)
                return
        self._is_busy = False
