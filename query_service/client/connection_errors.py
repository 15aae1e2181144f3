"""Why a connection failed, in plain words instead of an HTTP library's. Pure."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from urllib.parse import urlsplit


def explain(problem: BaseException) -> str:
    """`connection refused`; for an error that is not about a connection, its own text."""
    cause = getattr(problem, "os_error", problem)  # aiohttp's ClientConnectorError
    match cause:
        case TimeoutError():
            return "it is silent"
        case socket.gaierror():
            return "no such name is known"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {cause.verify_message}"
        case OSError(errno=int(number)) if number > 0 and not isinstance(cause, ssl.SSLError):
            return os.strerror(number).lower()
    return str(cause) or type(cause).__name__


def is_loopback_url(url: str) -> bool:
    """Whether that address is on this machine alone, like those of `imhearing up`."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
