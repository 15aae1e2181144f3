"""The process `imhearing realtime-server`: WebSockets and HTTP, for nodes and clients on this machine only."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
from collections.abc import Awaitable, Callable

from aiohttp import ClientConnectionResetError, WSMsgType, web

from edge.configuration.settings import Secret
from edge.core.errors import DoorError
from query_service.doors.http_listener import HttpListener, server_options
from query_service.loopback.auth import Authority
from query_service.loopback.connections import WS_GOING_AWAY, WS_POLICY, Connection, ServerLimits, SocketQueue
from query_service.loopback.hub import Hub
from query_service.loopback.protocol import Action, Encoded, Frame, Refusal, encode, format_of
from query_service.loopback.rest import Rest
from query_service.loopback.rest_replies import errors

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_PING_SECONDS = 30.0
_CLOSE_SECONDS = 2.0


class RealtimeServer:
    """A realtime server; `port` 0 picks a free one when started. Also an async context manager."""

    def __init__(self, api_key: Secret, port: int = 0, host: str = HOST, limits: ServerLimits | None = None) -> None:
        """ConfigError if the key is not of the form name:secret, DoorError if `host` is not a loopback address."""
        if not ipaddress.ip_address(host).is_loopback:
            raise DoorError(f"{host}: the local realtime server listens on loopback only, such as {HOST}")
        self.api_key = api_key
        self.host = host
        self.port = port
        self.limits = limits or ServerLimits()
        self.hub = Hub(Authority(api_key), self.limits)
        self._runner: web.AppRunner | None = None
        self._listener = HttpListener("realtime server")
        self._ticking: asyncio.Task[None] | None = None
        self._sockets: dict[web.WebSocketResponse, web.Request] = {}

    @property
    def endpoint(self) -> str:
        """The value for `[ably] endpoint` and the SDK's `endpoint`."""
        return f"{self.host}:{self.port}"

    async def start(self) -> None:
        """Starts listening; DoorError if the port is not available."""
        app = web.Application(middlewares=[self._served, errors], client_max_size=self.limits.frame_bytes)
        app.add_routes([web.get("/", self._websocket), *Rest(self.hub.state).routes()])
        # No access log: a WebSocket's URL contains its token or key.
        self._runner = web.AppRunner(app, shutdown_timeout=_CLOSE_SECONDS, **server_options())
        await self._runner.setup()
        try:
            await self._listener.start(self._runner.server, self.host, self.port)
        except OSError as problem:
            await self._runner.cleanup()
            raise DoorError(f"{self.endpoint}: cannot listen ({problem.strerror}); choose another port") from None
        self.port = self._listener.address[1]
        self._ticking = asyncio.create_task(self._tick())
        log.info(
            "realtime server on %s, for this machine only; to reach clients anywhere, configure an Ably key:"
            " `[ably] api_key = ...`",
            self.endpoint,
        )

    async def stop(self) -> None:
        """Closes every socket and stops listening."""
        if self._ticking:
            self._ticking.cancel()
        for connection in self.hub.state.connections:
            if connection.queue:
                connection.queue.close(WS_GOING_AWAY)
        await self._listener.stop()
        if self._runner:
            await self._runner.cleanup()

    async def __aenter__(self) -> RealtimeServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def cut_sockets(self, *, forget: bool = False) -> None:
        """Breaks every socket abruptly, as a network failure does, for tests.

        With `forget`, no connection can be resumed, as after two minutes without a network.
        """
        for request in list(self._sockets.values()):
            _abort(request)
        if forget:
            self.hub.forget_all()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            try:
                self.hub.tick()
            except Exception:  # one connection must not stop the housekeeping
                log.exception("realtime server: housekeeping failed; continuing")

    @web.middleware
    async def _served(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        with self._listener.serving(request):
            return await handler(request)

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        """Serves one socket, from upgrade to close."""
        socket = web.WebSocketResponse(
            compress=False, max_msg_size=self.limits.frame_bytes, heartbeat=_PING_SECONDS, timeout=_CLOSE_SECONDS
        )
        await socket.prepare(request)
        queue = SocketQueue(self.limits, on_overflow=lambda: _drop_slow(request))
        try:
            connection = self.hub.connect(request.query, queue)
        except Refusal as refusal:
            await _reject(socket, request, refusal)
            return socket
        self._sockets[socket] = request
        writer = asyncio.create_task(_write(socket, queue))
        try:
            await self._read(socket, connection, queue)
        finally:
            self.hub.lost(connection, queue)
            del self._sockets[socket]
            await asyncio.wait({writer}, timeout=_CLOSE_SECONDS)
            writer.cancel()
        return socket

    async def _read(self, socket: web.WebSocketResponse, connection: Connection, queue: SocketQueue) -> None:
        async for message in socket:
            if connection.queue is not queue:  # closed, or resumed on another socket
                return
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                self.hub.receive(connection, message.data)


async def _write(socket: web.WebSocketResponse, queue: SocketQueue) -> None:
    with contextlib.suppress(ClientConnectionResetError, ConnectionError):  # the reader notices too
        async for data in queue:
            await _send(socket, data)
        await socket.close(code=queue.close_code or WS_GOING_AWAY)


async def _send(socket: web.WebSocketResponse, data: Encoded) -> None:
    if isinstance(data, bytes):
        await socket.send_bytes(data)
    else:
        await socket.send_str(data)


async def _reject(socket: web.WebSocketResponse, request: web.Request, refusal: Refusal) -> None:
    log.info("realtime server: rejected a connection: %s", refusal)
    error = encode(Frame(action=Action.ERROR, error=refusal.info), format_of(request.query))
    with contextlib.suppress(ClientConnectionResetError, ConnectionError):
        await _send(socket, error)
        await socket.close(code=WS_POLICY)


def _drop_slow(request: web.Request) -> None:
    log.warning("realtime server: dropped a connection that reads too slowly; it can resume within two minutes")
    _abort(request)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def main(port: int, api_key: Secret) -> int:
    """Runs `imhearing realtime-server` until SIGINT or SIGTERM; returns the exit code."""

    async def run_until_signalled() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with RealtimeServer(api_key, port):
            await stop.wait()

    asyncio.run(run_until_signalled())
    return 0
