"""The HTTP door: POST /query with the same JSON as through the others, GET for the common questions, /metrics.

On loopback without a token unless one is set; elsewhere only with one. A page in somebody's browser can neither read
answers nor make the node work: there are no CORS headers, and without a token the Host must be loopback (DNS
rebinding), the page one of this machine, and costly requests need POST and JSON (CSRF). Whoever sends a request slowly
gives way to others until it is there.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from msgspec.structs import replace

from edge.configuration.settings import Http
from edge.core import wire
from edge.core.certificates import expiry, server_context
from edge.core.errors import CertificateFault, ConfigError, DoorError, WireError
from edge.messaging.request_pipeline import Refused, RequestPipeline
from query_service.doors.http_listener import MAX_CONNECTIONS, HttpListener, server_options
from query_service.doors.page_routes import PAGE_PARAMETERS, VISITOR, PageRoutes, Visitor
from query_service.doors.query_pipeline import AnswerQuery
from query_service.doors.sessions import is_password_hash
from query_service.page.link import scheme_of
from query_service.queries.openapi import BY_ADDRESS, PARAMETERS, STATUS, document, json_fields
from query_service.queries.protocol import Answer, Request, new_id, read_request
from query_service.queries.values import MAX_REQUEST, ErrorAnswer, refusal
from query_service.telemetry.metrics import CONTENT_TYPE

log = logging.getLogger(__name__)

Metrics = Callable[[], Awaitable[str]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_AT_ONCE = MAX_CONNECTIONS  # questions that wait or are being answered; as many about how the node is
_AT_ONCE_PER_CLIENT = 16  # each in its turn: nobody waits for all of another's
_BODY_SECONDS = 5.0  # for a request to arrive
_IDLE_SECONDS = 30.0  # of a connection that is kept
_SHUTDOWN_SECONDS = 0.5
_SHORTEST_TOKEN = 16
_PASSED_ON = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")  # by a proxy, so nobody knows from where
_JSON_FIELDS = json_fields()


def check_settings(settings: Http) -> None:
    """Whether the door may be opened like that. Raises ConfigError."""
    if settings.key and not settings.certificate:
        raise ConfigError(["[http] key: is set without a certificate; set [http] certificate too"])
    token, passwords = settings.token.reveal(), (settings.owner_password.reveal(), settings.viewer_password.reveal())
    if not token and not any(passwords) and not _is_loopback(settings.host):
        raise ConfigError(
            [
                f"[http] host = {settings.host}: others than this machine could ask; set a password for the page with"
                " `imhearing page password`, or [http] token, as made by `openssl rand -base64 24`, or host = 127.0.0.1"
            ]
        )
    for key, stored in zip(("owner_password", "viewer_password"), passwords, strict=True):
        if stored and not is_password_hash(stored):
            raise ConfigError([f"[http] {key}: is not what `imhearing page password` writes; run that"])
    if token and (len(token) < _SHORTEST_TOKEN or not token.isascii()):
        raise ConfigError([f"[http] token: needs at least {_SHORTEST_TOKEN} characters of ASCII"])


class HttpDoor:
    """Listens while in `open`; `address` is then where. `answer` must not raise."""

    def __init__(
        self,
        node: str,
        answer: AnswerQuery,
        settings: Http,
        metrics: Metrics | None = None,
        page: PageRoutes | None = None,
    ) -> None:
        check_settings(settings)
        self._node = node
        self._answer = answer
        self._settings = settings
        self._metrics = metrics
        self._page = page
        self._token = settings.token.reveal().encode()
        self._is_open = not self._token and _is_loopback(settings.host)  # to whoever is on this machine
        self._has_passwords = any((settings.owner_password.reveal(), settings.viewer_password.reveal()))
        # a connection is its own deduplication and deadline
        self._questions, self._statuses = (RequestPipeline(_AT_ONCE, _AT_ONCE_PER_CLIENT) for _ in range(2))
        self._listener = HttpListener("the HTTP door")
        self.address = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Answers until the end. DoorError: the port is taken, the host is not one of this machine's, or the
        certificate cannot be used."""
        tls = self._tls_context()
        runner = web.AppRunner(
            self._application(),
            keepalive_timeout=_IDLE_SECONDS,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            **server_options(),
        )
        await runner.setup()
        self._listener = HttpListener("the HTTP door")
        try:
            host, port = self._settings.host, self._settings.port
            try:
                await self._listener.start(runner.server, host, port, tls)
            except OSError as problem:
                raise DoorError(f"[http] {host}:{port}: cannot listen ({problem.strerror})") from None
            self.address = "{}://{}:{}".format(scheme_of(self._settings), *self._listener.address)
            log.info("the HTTP door is open: %s", self.address)
            yield
        finally:
            await self._listener.stop()
            await runner.cleanup()

    def _tls_context(self) -> ssl.SSLContext | None:
        certificate, key = self._settings.certificate, self._settings.key
        if not certificate:
            return None
        context = server_context(certificate, key)
        try:
            expiry(certificate, key)
        except CertificateFault as problem:
            log.warning("%s; until then, browsers warn of the page", problem)
        return context

    async def run(self) -> None:
        """Answers until cancelled."""
        async with self.open():
            await asyncio.Event().wait()

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=MAX_REQUEST, middlewares=[self._guard])
        app.router.add_post("/query", self._post)
        for kind in BY_ADDRESS:
            app.router.add_get(f"/{kind}", self._get)
        app.router.add_get("/openapi.json", self._openapi)
        app.router.add_get("/metrics", self._metrics_page)
        if self._page is not None:
            self._page.add_to(app)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Who may ask, how many at once, and an answer in JSON also where nothing is."""
        if not self._is_public(request):
            request[VISITOR] = self._role_of(request)
            has_log_in = self._has_passwords or not self._is_open
            if request[VISITOR] is None and not (has_log_in and request.path == "/session"):
                return self._turned_away(request)
            if (refused := await self._arrived(request)) is not None:
                return refused
        with self._listener.serving(request):
            response = await self._handled(request, handler)
            if self._listener.is_crowded and not response.prepared:
                response.force_close()
            return response

    def _is_public(self, request: web.Request) -> bool:
        return self._page is not None and self._page.is_public(request)

    def _role_of(self, request: web.Request) -> Visitor | None:
        if self._token and self._is_authorised(request):
            return "owner"
        if self._page is not None and (role := self._page.role_of(request)):
            return role
        return "local" if self._is_open and not _why_foreign(request) else None

    def _turned_away(self, request: web.Request) -> web.Response:
        if self._is_open:
            return web.Response(status=403, text=_why_foreign(request))
        text = "the token is missing or wrong\n" if self._token else "log in on the page\n"
        return web.Response(status=401, text=text, headers={"WWW-Authenticate": "Bearer"} if self._token else {})

    async def _arrived(self, request: web.Request) -> web.Response | None:
        """Waits for the body; what to answer if it does not come, or is too long."""
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                await request.read()
        except TimeoutError:
            return self._respond(refusal("", self._node, "deadline", "the request did not arrive"), 408)
        except (web.RequestPayloadError, ConnectionError):  # the latter: it left, and gets no answer
            message = "the body is cut off, or not encoded as Content-Encoding says"
            return self._respond(refusal("", self._node, "bad_request", message))
        except web.HTTPRequestEntityTooLarge:
            # worded by read_request
            return self._respond(read_request(b" " * (MAX_REQUEST + 1), self._node), 413)
        return None

    async def _handled(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.match_info.http_exception is None and not self._is_public(request):
                _check_parameters(request)
            return await handler(request)
        except Refused as refused:
            return self._respond(ErrorAnswer(id="", node=self._node, error=refused.body))
        except web.HTTPException as problem:
            message = "there are: POST /query, GET /openapi.json, /metrics, " + ", ".join(
                f"/{kind}" for kind in BY_ADDRESS
            )
            allow = {name: text for name, text in problem.headers.items() if name == "Allow"}
            return self._respond(refusal("", self._node, "bad_request", message), problem.status, **allow)

    def _is_authorised(self, request: web.Request) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        # surrogates stand for bytes that are no UTF-8
        given = token.strip().encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, self._token) and scheme.lower() == "bearer"

    async def _post(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":  # another site cannot send it without a CORS preflight
            message = "send the question with Content-Type: application/json"
            return self._respond(refusal("", self._node, "bad_request", message), 415)
        return await self._answered(read_request(await request.read(), self._node), request)

    async def _get(self, request: web.Request) -> web.Response:
        fields: dict[str, object] = {"id": new_id()}
        for name, text in request.query.items():
            fields[name] = _json_value(name, text)
        fields["type"] = request.path[1:]
        return await self._answered(read_request(wire.encode(fields), self._node), request)

    async def _answered(self, question: Request | ErrorAnswer, request: web.Request) -> web.Response:
        if isinstance(question, ErrorAnswer):
            return self._respond(question)
        if self._has_passwords and request[VISITOR] != "owner":
            if question.type == "clip":
                return self._respond(refusal(question.id, self._node, "forbidden", "only the owner may hear; log in"))
            question = replace(question, urls=False)
        client, pipeline = _client(request), self._statuses if question.type == "status" else self._questions
        with pipeline.admitted(client):
            return self._respond(await self._answer(question, client))

    def _respond(self, answer: Answer | Request, status: int = 200, **more: str) -> web.Response:
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **more}
        if isinstance(answer, ErrorAnswer):
            status = STATUS.get(answer.error.code, 400) if status == 200 else status
            if isinstance(answer.error.retry_after, float):
                headers["Retry-After"] = str(math.ceil(answer.error.retry_after))
        return web.Response(body=wire.encode(answer), status=status, content_type="application/json", headers=headers)

    async def _openapi(self, _request: web.Request) -> web.Response:
        return web.Response(body=wire.encode(document()), content_type="application/json")

    async def _metrics_page(self, request: web.Request) -> web.Response:
        if self._metrics is None:
            raise web.HTTPNotFound
        with self._statuses.admitted(_client(request)):
            page = await self._metrics()
        return web.Response(text=page, headers={"Content-Type": CONTENT_TYPE})


def _check_parameters(request: web.Request) -> None:
    """Raises Refused for a query parameter that the address does not take, or that is given twice."""
    known = PARAMETERS.get(request.path, PAGE_PARAMETERS.get(request.path, ()))
    for name in request.query:
        if name not in known:
            message = f"{name[:40]!r}: unknown parameter; {request.path} takes {', '.join(known) or 'none'}"
            raise Refused("bad_request", message, name)
        if len(request.query.getall(name)) > 1:
            raise Refused("bad_request", f"{name}: given more than once", name)


def _json_value(name: str, text: str) -> object:
    """A parameter's value as JSON would have it; what does not fit is refused by name later."""
    if name in _JSON_FIELDS:
        try:
            value: object = wire.decode(text, Any)
        except WireError:
            return text
        return text if value is None else value
    return text.replace(" ", "+") if name in ("from", "to") else text  # +01:00 that nobody escaped


def _client(request: web.Request) -> str:
    """Whose turn a request takes."""
    return request.remote or ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _why_foreign(request: web.Request) -> str:
    """Why a request without a token is refused, as not from this machine; empty if it is accepted."""
    if any(name in request.headers for name in _PASSED_ON):
        return "this came through another web server; set [http] token\n"
    if not _names_loopback(request.host):
        return "ask by the name localhost or 127.0.0.1\n"
    origin = request.headers.get("Origin")
    other_page = origin is not None and not _is_loopback(_host_of(origin))
    if other_page or request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        return "pages of other sites cannot ask here\n"
    return ""


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def _names_loopback(host: str) -> bool:
    """Whether a Host header, with or without a port, means this machine."""
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdecimal():
        name = host
    return _is_loopback(name.strip("[]"))
