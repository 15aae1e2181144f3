"""A local realtime server on a free port, and official SDK clients of it."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ParamSpec

from ably import AblyRealtime
from ably.types.tokendetails import TokenDetails

from edge.core.instant import Instant
from query_service.loopback.connections import ServerLimits
from query_service.loopback.server import RealtimeServer
from query_service.realtime.tokens import client_token, new_api_key, node_token
from tests.support.wait import DEADLINE

P = ParamSpec("P")
Auth = Callable[[], TokenDetails]


@asynccontextmanager
async def running_server(limits: ServerLimits | None = None, port: int = 0) -> AsyncIterator[RealtimeServer]:
    """A server in this event loop: `server.port`, `server.api_key`, `server.endpoint`, `server.cut_sockets()`."""
    async with RealtimeServer(new_api_key(), port, limits=limits) as server:
        yield server


@contextmanager
def server_in_thread(limits: ServerLimits | None = None) -> Iterator[RealtimeServer]:
    """A server in a separate thread, for tests without an event loop or with several."""
    loop = asyncio.new_event_loop()
    server = RealtimeServer(new_api_key(), limits=limits)
    thread = threading.Thread(target=loop.run_forever, name="realtime-server", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(DEADLINE)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(DEADLINE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE)
        loop.close()


def sdk(server: RealtimeServer, auth: Auth, **options: Any) -> AblyRealtime:
    """The official SDK's client; `auth` makes its tokens. Call it inside the loop.

    Broken connections are tried again after 0.1 s instead of 15 s.
    """

    async def callback(_: object) -> TokenDetails:
        return auth()

    options = {"use_binary_protocol": True, "disconnected_retry_timeout": 100, **options}
    return AblyRealtime(endpoint=f"{server.endpoint}/", tls=False, auth_callback=callback, **options)


def client_auth(server: RealtimeServer, client_id: str, ttl: int = 3_600) -> Auth:
    """Makes client tokens that live for `ttl` seconds."""
    return lambda: details(client_token(server.api_key, client_id, ttl, now()), client_id, ttl)


def node_auth(server: RealtimeServer, name: str, ttl: int = 3_600) -> Auth:
    """Makes node tokens that live for `ttl` seconds."""
    return lambda: details(node_token(server.api_key, name, ttl, now()), name, ttl)


def details(token: str, client_id: str, ttl: int) -> TokenDetails:
    """A token in the SDK's form: with a bare JWT it does not know the client id, and refuses to renew the token."""
    return TokenDetails(token=token, client_id=client_id, expires=now() // 1000 + ttl * 1000)


@asynccontextmanager
async def client(server: RealtimeServer, client_id: str, ttl: int = 3_600, **options: Any) -> AsyncIterator[Any]:
    """A connected SDK client with client tokens, closed at the end."""
    async with connected(sdk(server, client_auth(server, client_id, ttl), **options)) as ably:
        yield ably


@asynccontextmanager
async def node(server: RealtimeServer, name: str, ttl: int = 3_600, **options: Any) -> AsyncIterator[Any]:
    """A connected SDK client with node tokens, closed at the end."""
    async with connected(sdk(server, node_auth(server, name, ttl), **options)) as ably:
        yield ably


@asynccontextmanager
async def connected(ably: AblyRealtime) -> AsyncIterator[Any]:
    """Waits until `ably` is connected; closes it at the end."""
    try:
        await asyncio.wait_for(ably.connection._when_state("connected"), DEADLINE)
        yield ably
    finally:
        await asyncio.wait_for(ably.close(), DEADLINE)


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs an async test in a new event loop, with a deadline."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 3 * DEADLINE))

    return run


def now() -> Instant:
    return Instant.from_seconds(time.time())
