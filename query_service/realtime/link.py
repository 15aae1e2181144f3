"""The only file that imports ably: one connection to Ably, or to a local server that speaks its protocol.

The SDK reconnects by itself after most failures. After the others (a dead socket that it believes alive, a rejected
token, two minutes offline) `keep` raises, and the owner of the link opens another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Coroutine
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
from edge.core.listeners import refuse_strangers
from query_service.realtime.tokens import claims_of

log = logging.getLogger(__name__)

_REQUEST_SECONDS = 5.0  # the SDK's own timeout
_PING_TIMEOUT = 5.0
_AWAY_SECONDS = 20.0  # offline for so long, the owner should open another link
_RENEW_AT = 0.6  # of a token's life
_SDK = Path(ably.__file__).parent


class Delivery(NamedTuple):
    """One inbound message; `client_id` is the sender as verified by the server."""

    client_id: str | None
    name: str | None
    data: bytes
    headers: dict[str, Any]


class Member(NamedTuple):
    """One connection that is present on a channel, with the data that it announces."""

    client_id: str
    data: dict[str, Any]


def _ignore_failed_sdk_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """While offline, the SDK leaves a failed task behind at each attempt, whose traceback asyncio would log."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        task = context.get("future") or context.get("task")
        code = getattr(task.get_coro(), "cr_code", None) if isinstance(task, asyncio.Task) else None
        if code is not None and _SDK in Path(code.co_filename).parents:
            log.debug("the SDK left a task behind: %s", context.get("exception") or context.get("message"))
        else:
            loop.default_exception_handler(context)

    if loop.get_exception_handler() is None:
        loop.set_exception_handler(handle)


class _GuardedToken(TokenDetails):  # type: ignore[misc]  # the SDK has no types
    """A token that is checked whenever the SDK sends it: it connects again by itself, with the same token."""

    def __init__(self, check: Callable[[], None], **details: Any) -> None:
        super().__init__(**details)
        self._check = check

    @property
    def token(self) -> str:
        self._check()
        return str(super().token)


class Link:
    """One connection. Make and use it in a running event loop; raises DoorError."""

    def __init__(
        self,
        endpoint: str,
        make_token: Callable[[], str],
        token_seconds: float,
        ping_seconds: float = 15.0,
        trusted: Collection[int] | None = None,
    ) -> None:
        """`endpoint` is HOST:PORT of a local server without TLS; empty: Ably. `make_token` may raise errors of ours.

        `trusted`: no token is sent to a local server of other users than these.
        """
        # At INFO the SDK logs keys and tokens; at ERROR undelivered messages, with links to sound, and a traceback per
        # attempt while offline. What matters reaches us as exceptions and states.
        logging.getLogger("ably").setLevel(logging.CRITICAL)
        _ignore_failed_sdk_tasks(asyncio.get_running_loop())
        self._where = endpoint or "Ably"
        self._remedy = "is the node running there?" if endpoint else "check the network and [ably] api_key"
        self._token_seconds = token_seconds
        self._ping_seconds = ping_seconds
        make_token()  # an invalid key fails here, not inside the SDK

        def check() -> None:
            if endpoint and trusted is not None:
                refuse_strangers(int(endpoint.rpartition(":")[2]), trusted)

        check()

        async def authenticate(_params: object) -> TokenDetails:
            token = make_token()
            claims = claims_of(token)
            # with a bare JWT the SDK does not know the client id, and refuses to renew the token (40102)
            return _GuardedToken(check, token=token, client_id=claims.client_id, expires=claims.exp * 1_000)

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
        self.answered_at = 0.0  # monotonic time of the last reply to a ping
        self._subscribed: list[Any] = []
        self._changed = asyncio.Event()
        self._client.connection.on(self._note_change)

    def _note_change(self, _change: object) -> None:
        log.debug("%s: the connection is %s now", self._where, self._state())
        self._changed.set()

    @property
    def connected(self) -> bool:
        return str(self._state()) == "connected"

    @property
    def rejected(self) -> bool:
        """Whether the server let us connect, but not with this key: unknown, of another app, or without the right."""
        return getattr(self._client.connection.error_reason, "status_code", None) in (401, 403, 404)

    async def open(self, timeout: float = 10.0) -> None:
        """Connects; DoorError if that fails or takes longer than `timeout` seconds."""
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
        """Passes every message on `channel` to `listener`, a plain function that must not block.

        `rewind` adds earlier messages, such as those of the last `15s`. DoorError if the token does not permit it.
        """

        def receive(message: Any) -> None:
            listener(delivery_of(message))

        options = ChannelOptions(params={"rewind": rewind}) if rewind else None
        subscribed = self._client.channels.get(channel, options)
        await self._within(timeout, f"subscribe to {channel}", subscribed.subscribe(receive))
        # without permission the server still attaches, but delivers nothing
        if ChannelMode.SUBSCRIBE not in (subscribed.modes or []):
            raise DoorError(f"{self._where}: the key or token is not permitted to subscribe to {channel}")
        self._subscribed.append(subscribed)

    async def publish(
        self, channel: str, name: str, data: bytes, headers: dict[str, Any], timeout: float = 10.0
    ) -> None:
        """Sends one message and waits for the acknowledgement. After a DoorError it may still have arrived."""
        message = Message(name=name, data=data, extras={"headers": headers})
        published = self._client.channels.get(channel).publish(message)
        await self._within(timeout, f"publish on {channel}", published)

    def forget(self, channel: str) -> None:
        """Frees a channel that was only published on."""
        self._client.channels.release(channel)

    async def members(self, channel: str, timeout: float = 10.0) -> list[Member]:
        """Who is present on `channel` now, one member per connection."""
        found: list[Any] = []

        async def get_members() -> None:
            found.extend(await self._client.channels.get(channel).presence.get())

        await self._within(timeout, f"see who is on {channel}", get_members())
        return [Member(str(member.client_id), _data(member.data)) for member in found]

    async def enter(self, channel: str, data: dict[str, str], timeout: float = 10.0) -> None:
        """Shows this client's presence on `channel`, with `data`, until the link ends."""
        await self._within(timeout, f"enter {channel}", self._client.channels.get(channel).presence.enter(data))

    async def keep(self) -> None:
        """Watches the connection and renews its token, until it fails for good: DoorError."""
        clock = asyncio.get_running_loop().time
        renew_at = clock() + self._token_seconds * _RENEW_AT
        while True:
            await asyncio.sleep(max(0.05, min(self._ping_seconds, renew_at - clock())))
            if clock() >= renew_at:
                await self._within(_REQUEST_SECONDS * 3, "renew the token", self._client.auth.authorize())
                renew_at = clock() + self._token_seconds * _RENEW_AT
            await self._check()

    async def _check(self) -> None:
        """Pings the server; if it is offline, gives the SDK time to reconnect first."""
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
            raise DoorError(f"{self._where}: offline for {_AWAY_SECONDS:g} s") from None

    async def _ping(self) -> bool:
        with contextlib.suppress(DoorError):
            await self._within(_PING_TIMEOUT, "ping", self._client.connection.ping())
            self.answered_at = time.monotonic()
            return True
        return False

    def _check_channels(self) -> None:
        """A connection can survive the loss of a channel, and would then receive nothing."""
        for channel in self._subscribed:
            if channel.state not in (ChannelState.ATTACHED, ChannelState.ATTACHING):
                reason = channel.error_reason or channel.state.value
                raise DoorError(f"{self._where}: the server detached {channel.name} ({reason})")

    async def close(self) -> None:
        """Closes the connection, within a second; never raises."""
        with contextlib.suppress(DoorError):
            await self._within(1.0, "close", self._client.close())

    def _state(self) -> str:
        return str(self._client.connection.state.value)

    def _reason(self) -> str:
        return str(self._client.connection.error_reason or self._state())

    async def _within(self, seconds: float, what: str, doing: Coroutine[Any, Any, Any]) -> None:
        """Waits for the SDK, for at most `seconds`, and without being cancelled by it.

        Runs in a separate task: if a socket breaks at the wrong moment, the SDK either swallows a cancellation, and
        would hang for ever, or cancels the task that awaits it, and would end our caller.
        """
        task = asyncio.ensure_future(doing)
        task.add_done_callback(_retrieve_exception)
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            task.cancel()
        if not task.done():
            raise DoorError(f"{self._where}: could not {what} within {seconds:g} s")
        if task.cancelled():
            raise DoorError(f"{self._where}: could not {what} (cancelled by the SDK)")
        problem = task.exception()
        if isinstance(problem, Exception):  # including those of the SDK's own libraries
            raise DoorError(f"{self._where}: could not {what} ({problem})") from None


def _retrieve_exception(task: asyncio.Task[Any]) -> None:
    """Otherwise asyncio would log that the exception was never retrieved."""
    if not task.cancelled():
        task.exception()


def delivery_of(message: Any) -> Delivery:
    """What a message of the SDK carries. Its sender chose everything but the client id."""
    extras = message.extras if isinstance(message.extras, dict) else {}
    headers = extras.get("headers")
    return Delivery(message.client_id, message.name, _bytes(message.data), _data(headers))


def _data(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}


def _bytes(data: Any) -> bytes:
    """The data as bytes, even if the sender used text or JSON instead."""
    if isinstance(data, bytes | bytearray):
        return bytes(data)
    if isinstance(data, str):
        return data.encode()
    return b"" if data is None else msgspec.json.encode(data)
