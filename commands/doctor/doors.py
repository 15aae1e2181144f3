"""The doors to the node: do Ably (or a server that speaks its protocol) and HTTP let clients in, safely?"""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import socket
import time
import urllib.error
from collections.abc import Callable, Iterator

from commands.doctor.node_under_test import Finding, NodeUnderTest, fault, ok, open_url
from edge.core.certificates import client_context, expiry
from edge.core.errors import CertificateFault, ConfigError, DoorError
from edge.core.instant import MICROSECONDS, Instant
from edge.core.listeners import trusted_users
from edge.embedded import ports
from query_service.page.link import scheme_of
from query_service.realtime import tokens

_CONNECT_TIMEOUT = 5.0
_MESSAGE_TIMEOUT = 4.0
_TOKEN_SECONDS = 60
_RENEW_DAYS = 14  # before a certificate expires
_ANY = ("0.0.0.0", "::", "")  # noqa: S104 - only compared with


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
    trusted = trusted_users(node.settings.catalog.db_path.parent)
    client_id = f"doctor-{secrets.token_hex(8)}"
    channel, arrived = f"{tokens.REPLIES}{client_id}", asyncio.Event()

    def now() -> Instant:
        return Instant.from_seconds(time.time())

    def received(_delivery: Delivery) -> None:
        arrived.set()

    def link(make_token: Callable[[], str]) -> Link:
        return Link(ably.endpoint, make_token, _TOKEN_SECONDS, trusted=trusted)

    here = link(lambda: tokens.node_token(ably.api_key, name, _TOKEN_SECONDS, now()))
    there = link(lambda: tokens.client_token(ably.api_key, client_id, _TOKEN_SECONDS, now()))
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
        found.append(_connection_fault(node, bool(found), here.rejected or there.rejected, problem))
    finally:
        await asyncio.gather(here.close(), there.close())
    return found


def _connection_fault(node: NodeUnderTest, connected: bool, rejected: bool, problem: Exception) -> Finding:
    if connected:
        return fault(
            "realtime.rights",
            str(problem) or "an answer does not reach a client",
            "give the key publish, subscribe and presence on imhearing:* in Ably's dashboard, or use another:"
            f" {node.configure('ably.api_key=-')}",
        )
    message, endpoint = str(problem), node.settings.ably.endpoint
    if rejected:
        return fault("realtime.connect", message, node.configure("ably.api_key=-"))
    if node.by_up and endpoint.startswith("127.0.0.1"):
        return fault("realtime.connect", message, node.up())
    remedy = node.configure("ably.endpoint=") if endpoint else "ping -c 3 main.realtime.ably.net"
    return fault("realtime.connect", message, remedy)


def check_http(node: NodeUnderTest) -> Iterator[Finding]:
    if not node.settings.http.port:
        yield ok("http.door", "no HTTP door ([http] port = 0)")
        return
    safe = check_access(node)
    yield safe
    certificate = check_certificate(node) if node.settings.http.certificate else None
    if certificate is not None:
        yield certificate
    if safe.state != "fault" and (certificate is None or certificate.state != "fault"):
        yield check_door(node)


def check_access(node: NodeUnderTest) -> Finding:
    from query_service.doors.http import check_settings  # noqa: PLC0415 -- aiohttp, 20 MB

    try:
        check_settings(node.settings.http)
    except ConfigError as problem:
        return fault("http.settings", str(problem), node.configure("http.token=-"))
    return ok("http.settings", "requires a token, or listens on this machine only")


def check_certificate(node: NodeUnderTest) -> Finding:
    """Whether certificate and key can be used, and for how long."""
    check, http = "http.certificate", node.settings.http
    try:
        left = (expiry(http.certificate, http.key) - Instant.from_seconds(time.time())) / MICROSECONDS / 86_400
    except CertificateFault as problem:
        return fault(check, str(problem), _new_certificate(node))
    if left < _RENEW_DAYS:
        return fault(check, f"{http.certificate}: expires in {left:.0f} days; renew it", _new_certificate(node))
    return ok(check, f"{http.certificate} is valid for {left:.0f} days")


def _new_certificate(node: NodeUnderTest) -> str:
    """The command that renews it, where it is of our own CA."""
    folder = os.path.dirname(node.settings.http.certificate)  # noqa: PTH120 - a text, as in the setting
    if os.path.exists(os.path.join(folder, "ca.key")):  # noqa: PTH110, PTH118 - no error where we may not look
        return node.command(f"broker-setup --into {shlex.quote(folder)} --page")
    return node.configure("http.certificate=PATH/TO/page.crt", "http.key=PATH/TO/page.key")


def check_door(node: NodeUnderTest) -> Finding:
    """A running node responds; for a stopped one, the port must be free."""
    check, settings = "http.door", node.settings.http
    host = "127.0.0.1" if settings.host in _ANY else settings.host
    where = f"{scheme_of(settings)}://{f'[{host}]' if ':' in host else host}:{settings.port}"
    context = client_context(settings.certificate) if settings.certificate else None
    try:
        with open_url(f"{where}/openapi.json", context=context) as response:
            if b"openapi" in response.read(100_000):
                return ok(check, f"{where} responds")
    except urllib.error.HTTPError as refusal:
        refusal.close()
        if refusal.code == 401 and settings.token.reveal():
            return ok(check, f"{where} responds and requires the token")
    except ConnectionRefusedError:
        pass
    except (OSError, ValueError) as problem:
        if not isinstance(getattr(problem, "reason", None), ConnectionRefusedError):
            return _taken(node, f"{where} is in use by another program ({problem})")
    return _is_free(node, host, where)


def _is_free(node: NodeUnderTest, host: str, where: str) -> Finding:
    port = node.settings.http.port
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as problem:
        return _taken(node, f"{where} cannot be used ({problem.strerror})")
    return ok("http.door", f"{where} is free; the query service is not running")


def _taken(node: NodeUnderTest, message: str) -> Finding:
    free = ports.choose(min(node.settings.http.port + 1, 65_535))
    return fault("http.door", message, node.configure(f"http.port={free}"))
