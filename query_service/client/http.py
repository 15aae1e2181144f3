"""The client's side of the HTTP door, and plain words for why a connection failed."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Collection
from urllib.parse import urlsplit

import aiohttp

from edge.configuration.malformed import quotable
from edge.configuration.settings import Http
from edge.core import wire
from edge.core.backoff import Backoff
from edge.core.certificates import client_context
from edge.core.errors import ConfigError, DoorError, WireError
from edge.core.listeners import refuse_strangers
from query_service.queries.protocol import Answer, Request, read_answer
from query_service.queries.values import MAX_ANSWER

_FIRST_RETRY = 0.3  # seconds


class HttpClient:
    """Queries the node at `[http] url`, or at host and port on this machine. Raises DoorError, ConfigError."""

    def __init__(
        self, settings: Http, node: str, *, any_node: bool = False, trusted: Collection[int] | None = None
    ) -> None:
        """`any_node`: accept an answer from a node of any name. `trusted`: the token is not sent to a server on this
        machine that other users than these run."""
        self.node = node
        self._any_node = any_node
        self._url = f"{_base(settings)}/query"
        token = settings.token.reveal()
        address = urlsplit(self._url)
        is_guarded = bool(token) and address.scheme == "http" and is_loopback_url(self._url)
        self._guarded_port = (address.port or 80) if is_guarded else None
        self._trusted = trusted
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._tls = True if settings.url or not settings.certificate else client_context(settings.certificate)
        self._session = aiohttp.ClientSession(headers=headers)

    async def close(self) -> None:
        await self._session.close()

    async def query(self, request: Request, timeout: float = 10.0) -> Answer:
        """The answer; DoorError that names the address when none comes within `timeout` seconds."""
        backoff, reason = Backoff(_FIRST_RETRY), "it is silent"
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        return await self._once(request)
                    except aiohttp.ClientError as problem:
                        reason = explain(problem)
                    await asyncio.sleep(backoff.next_delay())
        except TimeoutError:
            remedy = (
                "start `imhearing up` with the same --data" if is_loopback_url(self._url) else "is the address right?"
            )
            raise DoorError(
                f"{self._url}: no answer within {timeout:g} s ({reason}); the node must be running: {remedy}"
            ) from None

    async def _once(self, request: Request) -> Answer:
        if self._guarded_port is not None and self._trusted is not None:
            refuse_strangers(self._guarded_port, self._trusted)
        async with self._session.post(
            self._url, data=wire.encode(request), allow_redirects=False, ssl=self._tls
        ) as response:
            body = bytearray()
            async for piece in response.content.iter_chunked(65_536):
                body += piece
                if len(body) > 2 * MAX_ANSWER:
                    raise DoorError(f"{self._url}: sends more than an answer; is the address right?")
        if response.status == 401:
            raise DoorError(f"{self._url}: the token is missing or wrong; set [http] token")
        try:
            answer = read_answer(body)
        except WireError:
            raise DoorError(f"{self._url}: {response.status}, and no answer of a node; is the address right?") from None
        if not self._any_node and answer.node not in (None, self.node):
            raise DoorError(f"{self._url}: is the door of {answer.node}, not of {self.node}")
        return answer


def _base(settings: Http) -> str:
    if settings.url:
        if not settings.url.startswith(("http://", "https://")):
            raise ConfigError([f"[http] url = {quotable(settings.url)}: must begin with https:// or http://"])
        return settings.url.rstrip("/")
    if not settings.port:
        raise ConfigError(["[http] port: is 0, so there is no HTTP door; set it, or [http] url, or ask another way"])
    host, scheme = settings.host, "https" if settings.certificate else "http"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"{scheme}://{host}:{settings.port}"
    if address.is_unspecified:  # it listens on every address, loopback included
        host = "::1" if address.version == 6 else "127.0.0.1"
    return f"{scheme}://[{host}]:{settings.port}" if ":" in host else f"{scheme}://{host}:{settings.port}"


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
