"""Why nobody answered, in plain words: what HTTP libraries say of it are their own matters. Pure."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from urllib.parse import urlsplit


def why(problem: BaseException) -> str:
    """`connection refused`; of an error that is none of a connection, its own text."""
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


def is_here(url: str) -> bool:
    """Whether that address is one of this machine alone, as those of `imhearing up` are."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
