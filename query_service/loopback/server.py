"""The process: `imhearing realtime-server`. Listens on this machine alone, for nodes and clients of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
from collections.abc import Awaitable, Callable
from types import TracebackType

from aiohttp import ClientConnectionResetError, WSMsgType, web

from edge.configuration.settings import Secret
from edge.core.errors import DoorError
from query_service.doors.http_listener import HttpListener, server_options
from query_service.loopback.auth import Authority
from query_service.loopback.connections import WS_GOING_AWAY, WS_POLICY, Connection, Outbox
from query_service.loopback.hub import Hub
from query_service.loopback.limits import Limits
from query_service.loopback.protocol import Action, Encoded, Frame, Refusal, encode, format_of
from query_service.loopback.rest import Rest, refusals

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_PING_SECONDS = 30.0
_CLOSE_SECONDS = 2.0


class RealtimeServer:
    """A realtime server; `port` 0 takes a free one, known once started. Also an async context manager."""

    def __init__(self, api_key: Secret, port: int = 0, host: str = HOST, limits: Limits | None = None) -> None:
        """ConfigError when the key is not of the form name:secret, DoorError when `host` is not this machine's own."""
        if not ipaddress.ip_address(host).is_loopback:
            raise DoorError(f"{host}: the local realtime server listens on this machine alone, on {HOST}")
        self.api_key = api_key
        self.host = host
        self.port = port
        self.limits = limits or Limits()
        self.hub = Hub(Authority(api_key), self.limits)
        self._runner: web.AppRunner | None = None
        self._listener = HttpListener("realtime server")
        self._ticking: asyncio.Task[None] | None = None
        self._sockets: dict[web.WebSocketResponse, web.Request] = {}

    @property
    def endpoint(self) -> str:
        """What `[ably] endpoint` and the SDK's `endpoint` are set to."""
        return f"{self.host}:{self.port}"

    async def start(self) -> None:
        """Listens; DoorError when the port cannot be had."""
        app = web.Application(middlewares=[self._served, refusals], client_max_size=self.limits.frame_bytes)
        app.add_routes([web.get("/", self._websocket), *Rest(self.hub.state).routes()])
        # No access log: a WebSocket's address holds its token or key.
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
            "realtime server on %s: for this machine alone, no account needed; a real Ably key in one line of the"
            " configuration, `[ably] api_key = ...`, reaches clients anywhere instead",
            self.endpoint,
        )

    async def stop(self) -> None:
        """Closes every socket and stops listening."""
        if self._ticking:
            self._ticking.cancel()
        for connection in self.hub.state.connections:
            if connection.outbox:
                connection.outbox.close(WS_GOING_AWAY)
        await self._listener.stop()
        if self._runner:
            await self._runner.cleanup()

    async def __aenter__(self) -> RealtimeServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def cut_sockets(self, *, forget: bool = False) -> None:
        """Breaks every socket as a dying network would, without a goodbye: for fault drills.

        With `forget`, no connection can be resumed, as after two minutes without network.
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
            except Exception:  # housekeeping must go on whatever one connection does to it
                log.exception("realtime server: housekeeping failed; going on")

    @web.middleware
    async def _served(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        with self._listener.serving(request):
            return await handler(request)

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        """One socket from upgrade to end."""
        socket = web.WebSocketResponse(
            compress=False, max_msg_size=self.limits.frame_bytes, heartbeat=_PING_SECONDS, timeout=_CLOSE_SECONDS
        )
        await socket.prepare(request)
        outbox = Outbox(self.limits, overflowed=lambda: _drop_slow(request))
        try:
            connection = self.hub.connect(request.query, outbox)
        except Refusal as refusal:
            await _turn_away(socket, request, refusal)
            return socket
        self._sockets[socket] = request
        writer = asyncio.create_task(_write(socket, outbox))
        try:
            await self._read(socket, connection, outbox)
        finally:
            self.hub.lost(connection, outbox)
            del self._sockets[socket]
            await asyncio.wait({writer}, timeout=_CLOSE_SECONDS)
            writer.cancel()
        return socket

    async def _read(self, socket: web.WebSocketResponse, connection: Connection, outbox: Outbox) -> None:
        async for message in socket:
            if connection.outbox is not outbox:  # closed, or resumed on another socket
                return
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                self.hub.receive(connection, message.data)


async def _write(socket: web.WebSocketResponse, outbox: Outbox) -> None:
    with contextlib.suppress(ClientConnectionResetError, ConnectionError):  # the reader sees the end as well
        async for data in outbox:
            await _send(socket, data)
        await socket.close(code=outbox.close_code or WS_GOING_AWAY)


async def _send(socket: web.WebSocketResponse, data: Encoded) -> None:
    if isinstance(data, bytes):
        await socket.send_bytes(data)
    else:
        await socket.send_str(data)


async def _turn_away(socket: web.WebSocketResponse, request: web.Request, refusal: Refusal) -> None:
    log.info("realtime server: turned a connection away: %s", refusal)
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


async def serve(host: str, port: int, api_key: Secret, limits: Limits | None = None) -> None:
    """Runs a server till cancelled; errors as for `RealtimeServer` and its `start`."""
    async with RealtimeServer(api_key, port, host, limits):
        await asyncio.Event().wait()


async def run(port: int, api_key: Secret) -> None:
    """Runs on 127.0.0.1 till cancelled. ConfigError: the key; DoorError: the port."""
    await serve(HOST, port, api_key)


def main(port: int, api_key: Secret) -> int:
    """The process behind `imhearing realtime-server`: until SIGINT or SIGTERM; the exit code."""

    async def until_told() -> None:
        task = asyncio.current_task()
        if task is None:
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await run(port, api_key)

    asyncio.run(until_told())
    return 0
