"""The HTTP door: are its settings safe, and does it respond, or could it?"""

from __future__ import annotations

import socket
import urllib.error
from collections.abc import Iterator

from commands.doctor.finding import Finding, fault, ok
from commands.doctor.node_under_test import NodeUnderTest
from commands.doctor.probes import open_url
from edge.core.errors import ConfigError
from edge.embedded import ports

_TIMEOUT = 3.0
_ANY = ("0.0.0.0", "::", "")  # noqa: S104 - only compared with


def check_http(node: NodeUnderTest) -> Iterator[Finding]:
    if not node.settings.http.port:
        yield ok("http.door", "no HTTP door ([http] port = 0)")
        return
    safe = check_access(node)
    yield safe
    if safe.state != "fault":
        yield check_door(node)


def check_access(node: NodeUnderTest) -> Finding:
    from query_service.doors.http import check_settings  # noqa: PLC0415 -- aiohttp, 20 MB

    try:
        check_settings(node.settings.http)
    except ConfigError as problem:
        return fault("http.settings", str(problem), node.configure("http.token=-"))
    return ok("http.settings", "requires a token, or listens on this machine only")


def check_door(node: NodeUnderTest) -> Finding:
    """A running node responds; for a stopped one, the port must be free."""
    check, settings = "http.door", node.settings.http
    host = "127.0.0.1" if settings.host in _ANY else settings.host
    where = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
    try:
        with open_url(f"{where}/openapi.json", _TIMEOUT) as response:
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
