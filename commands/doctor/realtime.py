"""Ably, or a server that speaks its protocol: can we connect, and does an answer get from the node to a client?"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator

from commands.doctor.finding import Finding, fault, ok
from commands.doctor.node_under_test import NodeUnderTest
from edge.core.errors import ConfigError, DoorError
from edge.core.instant import Instant
from query_service.realtime import tokens

_CONNECT_TIMEOUT = 5.0
_MESSAGE_TIMEOUT = 4.0
_TOKEN_SECONDS = 60


def check_realtime(node: NodeUnderTest) -> Iterator[Finding]:
    """Without a key there is nothing to check: the node then answers over MQTT, HTTP and locally only."""
    ably = node.settings.ably
    if not ably.api_key.reveal():
        yield ok("realtime.key", "no Ably key: the node cannot be queried over Ably")
        return
    key = check_key(node)
    yield key
    if key.state != "fault":
        yield from asyncio.run(_check_connect_and_rights(node))


def check_key(node: NodeUnderTest) -> Finding:
    check = "realtime.key"
    try:
        name = tokens.parse_api_key(node.settings.ably.api_key).name
    except ConfigError as problem:
        return fault(check, str(problem), node.configure("ably.api_key=-"))
    return ok(check, f"the key {name}")


async def _check_connect_and_rights(node: NodeUnderTest) -> list[Finding]:
    """Sends one message on a reply channel of our own, as an answer is sent."""
    from query_service.realtime.link import Delivery, Link  # noqa: PLC0415 -- the SDK, 30 MB

    ably, name = node.settings.ably, node.settings.node.name
    client_id = f"doctor-{secrets.token_hex(8)}"
    channel, arrived = f"{tokens.REPLIES}{client_id}", asyncio.Event()

    def now() -> Instant:
        return Instant.from_seconds(time.time())

    def received(_delivery: Delivery) -> None:
        arrived.set()

    here = Link(ably.endpoint, lambda: tokens.node_token(ably.api_key, name, _TOKEN_SECONDS, now()), _TOKEN_SECONDS)
    there = Link(
        ably.endpoint, lambda: tokens.client_token(ably.api_key, client_id, _TOKEN_SECONDS, now()), _TOKEN_SECONDS
    )
    found = []
    try:
        await asyncio.gather(here.open(_CONNECT_TIMEOUT), there.open(_CONNECT_TIMEOUT))
        found.append(ok("realtime.connect", f"connected to {ably.endpoint or 'Ably'}"))
        await here.subscribe(f"{tokens.REQUESTS}{name}", received, timeout=_MESSAGE_TIMEOUT)
        await there.subscribe(channel, received, timeout=_MESSAGE_TIMEOUT)
        arrived.clear()
        await here.publish(channel, "doctor", b"{}", {}, timeout=_MESSAGE_TIMEOUT)
        async with asyncio.timeout(_MESSAGE_TIMEOUT):
            await arrived.wait()
        found.append(ok("realtime.rights", "an answer reaches a client"))
    except (DoorError, TimeoutError) as problem:
        found.append(_connection_fault(node, bool(found), problem))
    finally:
        await asyncio.gather(here.close(), there.close())
    return found


def _connection_fault(node: NodeUnderTest, connected: bool, problem: Exception) -> Finding:
    if connected:
        return fault(
            "realtime.rights",
            str(problem) or "an answer does not reach a client",
            "give the key publish, subscribe and presence on imhearing:* in Ably's dashboard, or use another:"
            f" {node.configure('ably.api_key=-')}",
        )
    message, endpoint = str(problem), node.settings.ably.endpoint
    if "401" in message or "key" in message.lower() or "40" in message.partition("code=")[2][:2]:
        return fault("realtime.connect", message, node.configure("ably.api_key=-"))
    if node.by_up and endpoint.startswith("127.0.0.1"):
        return fault("realtime.connect", message, node.up())
    remedy = node.configure("ably.endpoint=") if endpoint else "ping -c 3 main.realtime.ably.net"
    return fault("realtime.connect", message, remedy)
