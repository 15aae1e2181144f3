"""Ably, or a server that speaks its protocol: connect, and an answer's whole way from the node to a client."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator

from commands.doctor.finding import Finding, Patient, fault, ok
from edge.core.errors import ConfigError, DoorError
from edge.core.instant import Instant
from query_service.realtime import tokens

_CONNECT_SECONDS = 5.0
_CARRY_SECONDS = 4.0
_TOKEN_SECONDS = 60


def look(patient: Patient) -> Iterator[Finding]:
    """Without a key there is nothing to try: the node is then asked by MQTT, HTTP or on its own machine."""
    ably = patient.settings.ably
    if not ably.api_key.reveal():
        yield ok("realtime.key", "no Ably key: the node cannot be asked from elsewhere through Ably")
        return
    key = key_is_one(patient)
    yield key
    if key.state != "fault":
        yield from asyncio.run(_carries(patient))


def key_is_one(patient: Patient) -> Finding:
    check = "realtime.key"
    try:
        name = tokens.parse_api_key(patient.settings.ably.api_key).name
    except ConfigError as problem:
        return fault(check, str(problem), patient.configure("ably.api_key=-"))
    return ok(check, f"the key {name}")


async def _carries(patient: Patient) -> list[Finding]:
    """One message on a reply channel of our own, as an answer goes."""
    from query_service.realtime.link import Delivery, Link  # noqa: PLC0415 -- the SDK, 30 MB

    ably, node = patient.settings.ably, patient.settings.node.name
    client_id = f"doctor-{secrets.token_hex(8)}"
    channel, arrived = f"{tokens.REPLIES}{client_id}", asyncio.Event()

    def now() -> Instant:
        return Instant.from_seconds(time.time())

    def received(_delivery: Delivery) -> None:
        arrived.set()

    here = Link(ably.endpoint, lambda: tokens.node_token(ably.api_key, node, _TOKEN_SECONDS, now()), _TOKEN_SECONDS)
    there = Link(
        ably.endpoint, lambda: tokens.client_token(ably.api_key, client_id, _TOKEN_SECONDS, now()), _TOKEN_SECONDS
    )
    found = []
    try:
        await asyncio.gather(here.open(_CONNECT_SECONDS), there.open(_CONNECT_SECONDS))
        found.append(ok("realtime.connect", f"{ably.endpoint or 'Ably'} lets us in"))
        await here.subscribe(f"{tokens.REQUESTS}{node}", received, timeout=_CARRY_SECONDS)
        await there.subscribe(channel, received, timeout=_CARRY_SECONDS)
        arrived.clear()
        await here.publish(channel, "doctor", b"{}", {}, timeout=_CARRY_SECONDS)
        async with asyncio.timeout(_CARRY_SECONDS):
            await arrived.wait()
        found.append(ok("realtime.rights", "an answer reaches a client"))
    except (DoorError, TimeoutError) as problem:
        found.append(_why(patient, bool(found), problem))
    finally:
        await asyncio.gather(here.close(), there.close())
    return found


def _why(patient: Patient, connected: bool, problem: Exception) -> Finding:
    if connected:
        return fault(
            "realtime.rights",
            str(problem) or "an answer does not reach a client",
            "give the key publish, subscribe and presence on imhearing:* in Ably's dashboard, or take another:"
            f" {patient.configure('ably.api_key=-')}",
        )
    told, endpoint = str(problem), patient.settings.ably.endpoint
    if "401" in told or "key" in told.lower() or "40" in told.partition("code=")[2][:2]:
        return fault("realtime.connect", told, patient.configure("ably.api_key=-"))
    if patient.by_up and endpoint.startswith("127.0.0.1"):
        return fault("realtime.connect", told, patient.up())
    remedy = patient.configure("ably.endpoint=") if endpoint else "ping -c 3 main.realtime.ably.net"
    return fault("realtime.connect", told, remedy)
