"""Accepts connections for an aiohttp server, with TLS or without: a bounded number, and none that stays idle.

Flooding the port must not shut out others, use up the file descriptors of the process, or fill its log.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError

from query_service.doors.handshake import refuse_plain, speaks_tls

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 200  # connections of one server: thirty browsers with all that they open
MAX_IDLE = 60  # of them, kept by clients that were served, while others want in
CROWDED = 140  # of them, of clients that were served: with more, a connection ends with its next answer
HEAD_SECONDS = 5.0  # for a connection to send the head of a first request that is served
PROMPT_SECONDS = 0.25  # in which it is not replaced, or of two that come at once, neither would be served
MAX_HANDSHAKES = 50  # that are under way, beside those connections
HANDSHAKE_SECONDS = 5.0
LINGERING_SECONDS = 2.0  # for what is left of a body that nobody wants
_LOG_SECONDS = 60.0  # at most one line of a kind in that time
_PAUSE = 1.0  # seconds after the system refused a connection
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class HttpListener:
    """Listens between `start` and `stop` for the server called `what` in the log. One event loop.

    Once MAX_CONNECTIONS are open, a new one replaces the one that is idle longest, where more than MAX_IDLE are: pages
    that are open keep theirs. Else it replaces the oldest that was never served, so that a flood replaces itself, or
    the one that is idle longest; where all of them are being served, the new one waits. Of handshakes,
    a new one replaces the oldest.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._open: dict[asyncio.BaseTransport, _Connection] = {}  # the one that was opened or served last comes last
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._handshakes: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._served = asyncio.Event()  # something, a moment ago
        self._full, self._failed = OncePer(_LOG_SECONDS), OncePer(_LOG_SECONDS)
        self.address: tuple[str, int] = ("", 0)

    async def start(self, server: web.Server | None, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listens; `address` is then where. `server` is a runner's. OSError: the port is taken, or no such host."""
        if server is None:
            raise ValueError("the runner has to be set up first")
        self._sockets = await _bound(host, port, MAX_CONNECTIONS)
        self.address = self._sockets[0].getsockname()[:2]
        self._tasks = [asyncio.create_task(self._accept(server, each, tls)) for each in self._sockets]

    async def stop(self) -> None:
        """Accepts no more; the runner closes those that are open."""
        tasks = [*self._tasks, *self._handshakes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in self._sockets:
            each.close()

    @contextlib.contextmanager
    def serving(self, request: web.Request) -> Iterator[None]:
        """Around the work for a request whose sender may ask: its connection stays meanwhile."""
        transport = request.transport
        visit = self._visit_of(transport)
        visit.served = True
        visit.under_way += 1
        try:
            yield
        finally:
            visit.under_way -= 1
            self._served.set()
            if transport is not None and transport in self._open:
                self._open[transport] = self._open.pop(transport)

    def _visit_of(self, transport: asyncio.BaseTransport | None) -> _Connection:
        if transport is None:
            return _Connection(None)
        found = self._open.get(transport)
        if found is None:  # it is served before the task that admitted it goes on
            found = self._open[transport] = _Connection(transport.get_extra_info("socket"))
        return found

    @property
    def is_crowded(self) -> bool:
        """Whether connections should end with their answers. One that is closed while it is idle may lose a request
        that is on its way."""
        return sum(visit.served and visit.is_open for visit in self._open.values()) > CROWDED

    async def _accept(self, server: web.Server, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                taken, _ = await loop.sock_accept(listening)
            except ConnectionError:  # it went before we came to it
                continue
            except OSError as problem:
                if self._failed.now():
                    log.warning("%s: cannot take connections (%s); trying again", self._what, problem.strerror)
                await asyncio.sleep(_PAUSE)
                continue
            if tls is None:
                await self._admit(server, taken)
            else:
                self._begin_handshake(server, taken, tls)

    async def _admit(self, server: web.Server, taken: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """With TLS, only a finished handshake takes a place."""
        loop = asyncio.get_running_loop()
        if tls is None:
            await self._wait_for_room()
        try:
            transport, _ = await loop.connect_accepted_socket(server, taken, ssl=tls)
        except OSError:
            taken.close()
            return
        if tls is not None:
            try:
                await self._wait_for_room()
            except asyncio.CancelledError:
                _abort(transport)
                raise
        self._open.setdefault(transport, _Connection(taken))
        loop.call_later(HEAD_SECONDS, self._expire, transport)

    def _begin_handshake(self, server: web.Server, taken: socket.socket, tls: ssl.SSLContext) -> None:
        """In a task of its own: whoever is silent keeps nobody waiting."""
        while len(self._handshakes) >= MAX_HANDSHAKES:
            oldest = next(iter(self._handshakes))
            del self._handshakes[oldest]
            oldest.cancel()
        task = asyncio.create_task(self._shake_hands(server, taken, tls))
        self._handshakes[task] = None
        task.add_done_callback(lambda done: self._handshakes.pop(done, None))

    async def _shake_hands(self, server: web.Server, taken: socket.socket, tls: ssl.SSLContext) -> None:
        is_admitted = False
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                if await speaks_tls(taken):
                    await self._admit(server, taken, tls)
                    is_admitted = True
                else:
                    await refuse_plain(taken)
        except (OSError, TimeoutError):  # it went, or is silent
            pass
        finally:
            if not is_admitted:
                taken.close()

    async def _wait_for_room(self) -> None:
        while not self._make_room():
            self._served.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROMPT_SECONDS):
                    await self._served.wait()

    def _make_room(self) -> bool:
        """Whether one more may come."""
        self._open = {each: visit for each, visit in self._open.items() if visit.is_open}
        if len(self._open) < MAX_CONNECTIONS:
            return True
        if self._full.now():
            log.warning("%s: %d connections, and more want in: the idle ones are closed", self._what, MAX_CONNECTIONS)
        waiting = [each for each, visit in self._open.items() if not visit.under_way]
        if not waiting:
            return False
        idle = [each for each in waiting if self._open[each].served and not each.is_closing()]
        never_served = [each for each in waiting if each not in idle]
        oldest = (idle if len(idle) > MAX_IDLE or not never_served else never_served)[0]
        if time.monotonic() - self._open[oldest].opened_at < PROMPT_SECONDS:
            return False
        del self._open[oldest]
        _abort(oldest)
        return True

    def _expire(self, transport: asyncio.BaseTransport) -> None:
        visit = self._open.get(transport)
        if visit is not None and not visit.served:
            del self._open[transport]
            _abort(transport)


class _Connection:
    """What decides whether a connection gives way to a new one."""

    def __init__(self, taken: socket.socket | None) -> None:
        self._socket = taken  # a transport with TLS does not know it any more once it has closed
        self.opened_at = time.monotonic()
        self.served = False
        self.under_way = 0

    @property
    def is_open(self) -> bool:
        """Whether it still takes a descriptor: one that closes may have something to send first."""
        return self._socket is not None and self._socket.fileno() != -1


class OncePer:
    """True at most once in `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = float("-inf")

    def now(self) -> bool:
        if time.monotonic() - self._last < self._seconds:
            return False
        self._last = time.monotonic()
        return True


class _Quiet(logging.Filter):
    """Drops malformed requests, and logs other faults at most once a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._faults = OncePer(_LOG_SECONDS)

    def filter(self, record: logging.LogRecord) -> bool:
        problem = record.exc_info[1] if record.exc_info else None
        return not isinstance(problem, HttpProcessingError | web.RequestPayloadError) and self._faults.now()


_server_log = logging.getLogger(f"{__name__}.server")
_server_log.addFilter(_Quiet())


def server_options() -> dict[str, Any]:
    """What an AppRunner behind a HttpListener is made with."""
    return {"access_log": None, "lingering_time": LINGERING_SECONDS, "logger": _server_log}


async def _bound(host: str, port: int, backlog: int) -> list[socket.socket]:
    """A listening socket for each address of `host` that this machine has."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            made = socket.create_server(address[:2], family=family, backlog=backlog)
        except OSError as problem:
            missing = OSError(problem.errno, os.strerror(problem.errno or 0))
            if problem.errno in _NOT_HERE:
                continue
            for each in sockets:
                each.close()
            raise missing from None
        made.setblocking(False)
        sockets.append(made)
    if not sockets:
        raise missing or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return sockets


def _abort(transport: asyncio.BaseTransport) -> None:
    if isinstance(transport, asyncio.Transport):
        transport.abort()
