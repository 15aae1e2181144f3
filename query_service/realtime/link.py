"""The only file that imports ably: one connection to Ably, or to a local server that speaks its protocol.

The SDK reconnects by itself after most troubles. After the others (a dead socket that it takes for alive, a refused
token, two minutes without a line) `keep` raises, and whoever owns the link opens another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import ably
import msgspec
from ably import AblyRealtime
from ably.types.channelmode import ChannelMode
from ably.types.channeloptions import ChannelOptions
from ably.types.channelstate import ChannelState
from ably.types.message import Message
from ably.types.tokendetails import TokenDetails

from edge.core.errors import DoorError
from query_service.realtime.tokens import claims_of

log = logging.getLogger(__name__)

_REQUEST_SECONDS = 5.0  # the SDK's own patience with the server
_PING_PATIENCE = 5.0
_AWAY_SECONDS = 20.0  # without a connection before the owner should begin anew
_RENEW_AT = 0.6  # of a token's life
_SDK = Path(ably.__file__).parent


class Delivery(NamedTuple):
    """One inbound message; `client_id` is the server's word for who sent it."""

    client_id: str | None
    name: str | None
    data: bytes
    headers: dict[str, Any]


class Member(NamedTuple):
    """One connection that is present on a channel; `data` is what it says of itself."""

    client_id: str
    data: dict[str, Any]


def _keep_quiet(loop: asyncio.AbstractEventLoop) -> None:
    """While the network is away the SDK leaves a failed task behind at each attempt, and asyncio a traceback of it."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        task = context.get("future") or context.get("task")
        code = getattr(task.get_coro(), "cr_code", None) if isinstance(task, asyncio.Task) else None
        if code is not None and _SDK in Path(code.co_filename).parents:
            log.debug("the SDK left a task behind: %s", context.get("exception") or context.get("message"))
        else:
            loop.default_exception_handler(context)

    if loop.get_exception_handler() is None:
        loop.set_exception_handler(handle)


class Link:
    """One connection. Make and use it in a running event loop; raises DoorError."""

    def __init__(
        self, endpoint: str, make_token: Callable[[], str], token_seconds: float, ping_seconds: float = 15.0
    ) -> None:
        """`endpoint` is HOST:PORT of a local server without TLS; empty: Ably. `make_token` may raise errors of ours."""
        # At INFO the SDK prints keys and tokens, at ERROR the messages that it gives up, links to sound and all, and a
        # traceback for each attempt while the network is away. What matters of it reaches us as exceptions and states.
        logging.getLogger("ably").setLevel(logging.CRITICAL)
        _keep_quiet(asyncio.get_running_loop())
        self._where = endpoint or "Ably"
        self._remedy = "is the node running there?" if endpoint else "check the network and [ably] api_key"
        self._token_seconds = token_seconds
        self._ping_seconds = ping_seconds
        make_token()  # a wrong key shows here, not inside the SDK

        async def authenticate(_params: object) -> TokenDetails:
            token = make_token()
            claims = claims_of(token)
            # of a bare JWT the SDK takes the client id for unknown, and then refuses to renew it (40102)
            return TokenDetails(token=token, client_id=claims.client_id, expires=claims.exp * 1_000)

        options: dict[str, Any] = {"endpoint": f"{endpoint}/", "tls": False} if endpoint else {}
        self._client: Any = AblyRealtime(
            auth_callback=authenticate,
            use_binary_protocol=True,
            auto_connect=False,
            realtime_request_timeout=round(_REQUEST_SECONDS * 1000),
            disconnected_retry_timeout=1_000,
            channel_retry_timeout=2_000,
            **options,
        )
        self.answered_at = 0.0  # of the monotonic clock: when a ping last came back
        self._subscribed: list[Any] = []
        self._changed = asyncio.Event()
        self._client.connection.on(self._note_change)

    def _note_change(self, _change: object) -> None:
        log.debug("%s: the connection is %s now", self._where, self._state())
        self._changed.set()

    @property
    def connected(self) -> bool:
        return str(self._state()) == "connected"

    async def open(self, timeout: float = 10.0) -> None:
        """Connects; DoorError when that fails or takes longer than `timeout` seconds."""
        self._client.connect()
        try:
            async with asyncio.timeout(timeout):
                while not self.connected:
                    self._changed.clear()
                    if self._state() not in ("initialized", "connecting", "connected"):
                        raise DoorError(f"{self._where}: no connection ({self._reason()}); {self._remedy}")
                    await self._changed.wait()
        except TimeoutError:
            raise DoorError(f"{self._where}: no connection within {timeout:g} s; {self._remedy}") from None

    async def subscribe(
        self, channel: str, listener: Callable[[Delivery], None], rewind: str | None = None, timeout: float = 10.0
    ) -> None:
        """Hands every message on `channel` to `listener`, a plain function that must not block.

        `rewind`: also those of the past, as in `15s`. DoorError when the token does not allow it.
        """

        def receive(message: Any) -> None:
            listener(_delivery(message))

        options = ChannelOptions(params={"rewind": rewind}) if rewind else None
        subscribed = self._client.channels.get(channel, options)
        await self._within(timeout, f"subscribe to {channel}", subscribed.subscribe(receive))
        # without the right to, the server attaches all the same and delivers nothing
        if ChannelMode.SUBSCRIBE not in (subscribed.modes or []):
            raise DoorError(f"{self._where}: the key or token has no right to subscribe to {channel}")
        self._subscribed.append(subscribed)

    async def publish(
        self, channel: str, name: str, data: bytes, headers: dict[str, Any], timeout: float = 10.0
    ) -> None:
        """Sends one message and waits for the server's receipt. After a DoorError it may have arrived all the same."""
        message = Message(name=name, data=data, extras={"headers": headers})
        published = self._client.channels.get(channel).publish(message)
        await self._within(timeout, f"publish on {channel}", published)

    def forget(self, channel: str) -> None:
        """Frees a channel that was only published on."""
        self._client.channels.release(channel)

    async def members(self, channel: str, timeout: float = 10.0) -> list[Member]:
        """Who is present on `channel` now: one for each connection."""
        found: list[Any] = []

        async def look() -> None:
            found.extend(await self._client.channels.get(channel).presence.get())

        await self._within(timeout, f"see who is on {channel}", look())
        return [Member(str(member.client_id), _data(member.data)) for member in found]

    async def enter(self, channel: str, data: dict[str, str], timeout: float = 10.0) -> None:
        """Shows this client's presence on `channel`, with `data`, until the link ends."""
        await self._within(timeout, f"enter {channel}", self._client.channels.get(channel).presence.enter(data))

    async def keep(self) -> None:
        """Watches the connection and renews its token, until it is beyond mending: DoorError."""
        clock = asyncio.get_running_loop().time
        renew_at = clock() + self._token_seconds * _RENEW_AT
        while True:
            await asyncio.sleep(max(0.05, min(self._ping_seconds, renew_at - clock())))
            if clock() >= renew_at:
                await self._within(_REQUEST_SECONDS * 3, "renew the token", self._client.auth.authorize())
                renew_at = clock() + self._token_seconds * _RENEW_AT
            await self._check()

    async def _check(self) -> None:
        """A ping must come back; a connection that is away gets the SDK's own attempts first."""
        if await self._ping():
            self._check_channels()
            return
        if self.connected:
            raise DoorError(f"{self._where}: the connection is dead: no reply to a ping")
        try:
            async with asyncio.timeout(_AWAY_SECONDS):
                while not self.connected:
                    self._changed.clear()
                    if self._state() in ("failed", "suspended", "closed"):
                        raise DoorError(f"{self._where}: the connection ended ({self._reason()})")
                    await self._changed.wait()
        except TimeoutError:
            raise DoorError(f"{self._where}: away for {_AWAY_SECONDS:g} s") from None

    async def _ping(self) -> bool:
        with contextlib.suppress(DoorError):
            await self._within(_PING_PATIENCE, "ping", self._client.connection.ping())
            self.answered_at = time.monotonic()
            return True
        return False

    def _check_channels(self) -> None:
        """A connection can live on while a channel is lost, and then it hears nothing."""
        for channel in self._subscribed:
            if channel.state not in (ChannelState.ATTACHED, ChannelState.ATTACHING):
                reason = channel.error_reason or channel.state.value
                raise DoorError(f"{self._where}: the server let go of {channel.name} ({reason})")

    async def close(self) -> None:
        """Says goodbye if that is quickly done; never raises."""
        with contextlib.suppress(DoorError):
            await self._within(1.0, "close", self._client.close())

    def _state(self) -> str:
        return str(self._client.connection.state.value)

    def _reason(self) -> str:
        return str(self._client.connection.error_reason or self._state())

    async def _within(self, seconds: float, what: str, doing: Coroutine[Any, Any, Any]) -> None:
        """Waits for the SDK; never longer, and never cancelled by it.

        In a task of its own: when a socket breaks at the wrong moment the SDK swallows a cancellation, and would hang
        for ever, or cancels what waits for it, and would end whoever waits for us.
        """
        task = asyncio.ensure_future(doing)
        task.add_done_callback(_heed)
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            task.cancel()
        if not task.done():
            raise DoorError(f"{self._where}: could not {what} within {seconds:g} s")
        if task.cancelled():
            raise DoorError(f"{self._where}: could not {what} (the SDK gave it up)")
        problem = task.exception()
        if isinstance(problem, Exception):  # the SDK lets those of the libraries below it through
            raise DoorError(f"{self._where}: could not {what} ({problem})") from None


def _heed(task: asyncio.Task[Any]) -> None:
    """Or asyncio would complain that nobody took notice."""
    if not task.cancelled():
        task.exception()


def _delivery(message: Any) -> Delivery:
    extras = message.extras if isinstance(message.extras, dict) else {}
    headers = extras.get("headers")
    return Delivery(message.client_id, message.name, _bytes(message.data), _data(headers))


def _data(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}


def _bytes(data: Any) -> bytes:
    """What was sent, also by those who send text or JSON where bytes are asked for."""
    if isinstance(data, bytes | bytearray):
        return bytes(data)
    if isinstance(data, str):
        return data.encode()
    return b"" if data is None else msgspec.json.encode(data)
