"""The page's part of the HTTP door: its files, log-in and log-out, and the sound of a range.

The files are public and hold no data. Everything else goes by the visitor's role, which the door finds out and puts
into `request[VISITOR]`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Literal, cast

from aiohttp import web

from edge.configuration.settings import Http
from edge.core import wire
from edge.core.errors import DoorError, FetchError, ImHearingError, QueryRefused, StoreSilent, WireError
from edge.core.instant import Instant
from edge.messaging.request_pipeline import RequestPipeline
from query_service.doors.event_streams import EventStreams
from query_service.doors.owner_channel import OwnerChannel
from query_service.doors.page_actions import PageActions
from query_service.doors.sessions import SESSION_SECONDS, LogIn, PageSessions, Role
from query_service.page.assets import site
from query_service.page.codes import proof_in
from query_service.queries.openapi import STATUS, STORE_AWAY
from query_service.queries.protocol import RangeRequest, range_request, read_request
from query_service.queries.values import ErrorAnswer, ErrorCode, refusal
from query_service.sound.layout import NoSound, SoundChanges, SoundEncrypted
from query_service.sound.live import LiveSound, TooManyListeners
from query_service.sound.live_follower import NothingLive
from query_service.sound.stream import MEDIA_TYPES, Kind, RangeFile, StreamSource, UnsupportedRate
from query_service.sound.wav import ByteRange, endless_header

log = logging.getLogger(__name__)

Visitor = Role | Literal["local"]  # local: from this machine, and not logged in
Setup = Callable[[], Mapping[str, object]]
OtherNodes = Callable[[], Awaitable[object]]  # rows for JSON; raises DoorError

VISITOR: web.RequestKey[Visitor | None] = web.RequestKey("visitor")
PAGE_PARAMETERS = {"/audio": ("from", "to", "format")}
_FULL_SECONDS = 30.0  # until a page may try again to have a stream of events
_TRANSFERS = 2  # of sound at once; more wait
_MOST_WAITING = 20
_STALLED_SECONDS = 30.0  # without taking anything, until a transfer gives way to those that wait
_LOG_INS, _LOG_INS_PER_ADDRESS = 8, 2  # that wait for their password to be checked: each holds a connection
_WAIT_SECONDS = 2.0  # until one that may not even wait is tried again
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}
_PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class PageRoutes:
    """Serves the page of one node."""

    def __init__(
        self,
        node: str,
        settings: Http,
        key: str,
        sound: StreamSource,
        zone: str,
        events: EventStreams | None = None,
        setup: Setup = dict,
        other_nodes: OtherNodes | None = None,
        live: LiveSound | None = None,
        channel: OwnerChannel | None = None,
    ) -> None:
        """`key` signs one-time codes; `zone`: IANA name of the node's; without a broker, no `events` and `channel`.
        `setup`: what the page should explain where something is not set up, as of now. `other_nodes`: without Ably,
        none are known. `live`: if the node lets its owner listen."""
        passwords: dict[Role, str] = {
            "owner": settings.owner_password.reveal(),
            "viewer": settings.viewer_password.reveal(),
        }
        self._node = node
        self._sound = sound
        self._events = events
        self._live = live
        self._other_nodes = other_nodes
        about: dict[str, object] = {
            "node": node,
            "zone": zone,
            "events": events is not None,
            "live": live is not None,
            "nodes": other_nodes is not None,
        }

        def session_of(role: Visitor | None) -> dict[str, object]:
            has_log_in = self._sessions.has_passwords
            return {**about, "login": has_log_in, "role": role, **(setup() if role else {})}

        self._session_of = session_of
        self._actions = PageActions(node, channel)
        self._sessions = PageSessions(passwords, key)
        self._transfers = asyncio.Semaphore(_TRANSFERS)
        self._waiting = 0  # transfers
        self._log_ins = RequestPipeline(_LOG_INS, _LOG_INS_PER_ADDRESS)
        self._verifying = asyncio.Lock()

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/", self._page)
        app.router.add_get("/assets/{name}", self._asset)
        app.router.add_get("/session", self._session)
        app.router.add_post("/session", self._log_in)
        app.router.add_delete("/session", self._log_out)
        app.router.add_get("/audio", self._audio)
        self._actions.add_to(app, lambda request: request.get(VISITOR) == "owner", self._proof_of)
        app.router.add_get("/events", self._event_stream, allow_head=False)
        app.router.add_get("/live", self._live_sound, allow_head=False)
        app.router.add_get("/nodes", self._nodes, allow_head=False)

    @property
    def _cookie(self) -> str:
        return f"imhearing-{self._node}"  # cookies ignore ports: another node may be on the same host

    def is_public(self, request: web.Request) -> bool:
        """Whether anybody may send the request, from any page: it shows no data."""
        return request.path == "/" or request.path.startswith("/assets/")

    def role_of(self, request: web.Request) -> Role | None:
        """The role of the request's session. A request that may change something must be of the page itself."""
        if request.method not in ("GET", "HEAD") and not is_same_origin(request):
            return None
        return self._sessions.role_of(request.cookies.get(self._cookie, ""))

    def _proof_of(self, request: web.Request) -> str:
        """What its session has to show that the owner acts."""
        return proof_in(request.cookies.get(self._cookie, "")) if self.role_of(request) else ""

    async def _page(self, _request: web.Request) -> web.Response:
        html, headers = site().page()
        return web.Response(body=html, content_type="text/html", charset="utf-8", headers={**_PRIVATE, **headers})

    async def _asset(self, request: web.Request) -> web.Response:
        asset = site().assets.get(request.path)
        if asset is None:
            raise web.HTTPNotFound
        headers = {**_FOR_EVER, "Content-Encoding": "gzip", "X-Content-Type-Options": "nosniff"}
        return web.Response(body=asset.compressed, content_type=asset.media_type, charset="utf-8", headers=headers)

    async def _session(self, request: web.Request) -> web.Response:
        role = request.get(VISITOR)
        return _json({**self._session_of(role), "session": self.role_of(request) is not None})

    async def _log_in(self, request: web.Request) -> web.Response:
        if not is_same_origin(request) or request.content_type != "application/json":
            return self._refused("forbidden", "log in on the page itself", 403)
        address = request.remote or ""
        try:
            given = wire.decode(await request.read(), dict[str, str])
        except WireError as problem:
            return self._refused("bad_request", str(problem), 400)
        if "code" in given:
            who: LogIn | None = self._sessions.redeem(given["code"])
        else:
            with self._log_ins.admitted(address):
                async with self._verifying:  # each takes 16 MB
                    wait = self._sessions.throttle.wait(address, asyncio.get_running_loop().time())
                    if wait:
                        return self._refused("busy", "too many attempts", 429, wait)
                    who = await asyncio.to_thread(self._sessions.log_in, given.get("password", ""))
        if who is None:
            self._sessions.throttle.failed(address, asyncio.get_running_loop().time())
            log.warning("a log-in on the page failed, from %s", address)
            return self._refused("forbidden", "that is not right", 401)
        if who.role == "owner":  # a viewer could guess the owner's password between two log-ins
            self._sessions.throttle.succeeded(address)
        cookie, _ = self._sessions.start(who)
        response = _json({"role": who.role})
        response.set_cookie(
            self._cookie, cookie, max_age=int(SESSION_SECONDS), httponly=True, samesite="Strict", path="/",
            secure=request.secure or request.headers.get("Origin", "").startswith("https:"),
        )  # fmt: skip
        return response

    async def _log_out(self, request: web.Request) -> web.Response:
        if not is_same_origin(request):
            return self._refused("forbidden", "log out on the page itself", 403)
        self._sessions.end(request.cookies.get(self._cookie, ""))
        response = _json({"role": None})
        response.del_cookie(self._cookie, path="/")
        return response

    async def _event_stream(self, request: web.Request) -> web.StreamResponse:
        if self._events is None:
            return self._refused("bad_request", "the node has no broker, so no events; ask its status instead", 404)
        if self._events.is_full:
            return self._refused("busy", "too many pages are open; ask its status instead", 503, _FULL_SECONDS)
        return await self._events.serve(request, self._keeps_role(request))

    async def _nodes(self, _request: web.Request) -> web.Response:
        if self._other_nodes is None:
            return self._refused("bad_request", "the node has no Ably key, so it knows no other nodes", 404)
        try:
            return _json({"nodes": await self._other_nodes()})
        except DoorError as problem:
            log.warning("the other nodes could not be queried: %s", problem)
            return self._refused("internal", "the other nodes cannot be reached; the node's log says why", 500)

    async def _audio(self, request: web.Request) -> web.StreamResponse:
        if request.get(VISITOR) != "owner":
            return self._refused("forbidden", "only the owner of the node may hear it; log in", 403)
        kind = request.query.get("format", "wav")
        if kind not in MEDIA_TYPES:
            return self._refused("bad_request", f"format: one of {', '.join(MEDIA_TYPES)}", 400, field="format")
        asked = {"id": "audio", "type": "coverage", **{name: request.query.get(name) for name in ("from", "to")}}
        read = read_request(wire.encode(asked), self._node)
        if isinstance(read, ErrorAnswer):
            return _json(read, STATUS.get(read.error.code, 400))
        if self._waiting >= _MOST_WAITING:  # each holds a connection
            return self._refused("busy", "too many wait for sound; try again soon", 503, _WAIT_SECONDS)
        self._waiting += 1
        try:
            await self._transfers.acquire()
        finally:
            self._waiting -= 1
        try:
            return await self._sent(request, kind, range_request(read, self._node))
        except (DoorError, FetchError, QueryRefused) as problem:
            return self._no_sound(problem)
        finally:
            self._transfers.release()

    async def _live_sound(self, request: web.Request) -> web.StreamResponse:
        if request.get(VISITOR) != "owner":
            return self._refused("forbidden", "only the owner of the node may listen; log in", 403)
        if self._live is None:
            return self._refused("bad_request", "the node lets nobody listen live: [http] live = no", 404)
        log.info("live listening begins, from %s", request.remote)
        try:
            async with self._live.listen() as (form, pieces):
                headers = {**_PRIVATE, "Content-Type": "audio/wav", "Accept-Ranges": "none"}
                head = endless_header(form.rate, form.channels, form.bits)
                async with contextlib.aclosing(self._while_owner(request, head, pieces)) as heard:
                    return await self._streamed(request, web.StreamResponse(headers=headers), heard)
        except SoundEncrypted as problem:
            return self._refused("encrypted", str(problem), 422)
        except TooManyListeners as problem:
            return self._refused("busy", str(problem), 503, _FULL_SECONDS)
        except NothingLive as problem:
            return self._refused("bad_request", str(problem), 409)

    async def _while_owner(
        self, request: web.Request, head: bytes, pieces: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        """Ends with the session that began it."""
        is_owner = self._keeps_role(request)
        yield head
        async for piece in pieces:
            if not is_owner():
                return
            yield piece

    def _keeps_role(self, request: web.Request) -> Callable[[], bool]:
        """Whether the session that began the request is still open; always true of a program with the token."""
        role = self.role_of(request)
        return lambda: self.role_of(request) == role

    def _no_sound(self, problem: ImHearingError) -> web.Response:
        match problem:
            case SoundEncrypted():
                return self._refused("encrypted", str(problem), 422)
            case NoSound():
                return self._refused("bad_request", str(problem), 404)
            case SoundChanges() | UnsupportedRate():
                return self._refused("bad_request", str(problem), 400, field="to")
            case QueryRefused():
                return self._refused(cast(ErrorCode, problem.code), str(problem), STATUS.get(problem.code, 400))
        log.warning("sound could not be sent: %s", problem)
        if isinstance(problem, StoreSilent):
            return self._refused("internal", "the object store does not answer; ask again later", STORE_AWAY)
        return self._refused("internal", "the sound cannot be read; the node's log says why", 500)

    async def _sent(self, request: web.Request, kind: Kind, asked: RangeRequest) -> web.StreamResponse:
        file = await self._sound.file(kind, Instant(asked.from_), Instant(asked.to))
        headers = {
            **_PRIVATE,
            "Content-Type": MEDIA_TYPES[kind],
            "Content-Disposition": f'inline; filename="{self._node}-{_plain(asked.from_)}.{kind}"',
            "Accept-Ranges": "bytes" if kind == "wav" else "none",
        }
        status, wanted = 200, None
        if kind == "wav":
            status, wanted = _byte_range(request, file)
            if wanted is None:
                return web.Response(status=416, headers={"Content-Range": f"bytes */{file.wav.size}"})
            headers["Content-Length"] = str(wanted.end - wanted.first)
            if status == 206:
                headers["Content-Range"] = f"bytes {wanted.first}-{wanted.end - 1}/{file.wav.size}"
        response = web.StreamResponse(status=status, headers=headers)
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        async with contextlib.aclosing(self._sound.read(file, wanted)) as pieces:
            return await self._streamed(request, response, pieces)

    async def _streamed(
        self, request: web.Request, response: web.StreamResponse, pieces: AsyncGenerator[bytes, None]
    ) -> web.StreamResponse:
        """Sends the pieces. Raises what goes wrong before the first; later, a fault breaks the connection."""
        first = await anext(pieces, b"")
        await response.prepare(request)
        try:
            await self._write(response, first)
            async for piece in pieces:
                await self._write(response, piece)
            await response.write_eof()
        except FetchError as problem:
            log.warning("the transfer of sound is broken off: %s", problem)
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:  # nobody listens any more
            pass
        return response

    async def _write(self, response: web.StreamResponse, piece: bytes) -> None:
        """FetchError where the other side takes nothing while others wait."""
        writing = asyncio.ensure_future(response.write(piece))
        try:
            while not (await asyncio.wait((writing,), timeout=_STALLED_SECONDS))[0]:
                if self._waiting:
                    raise FetchError("nothing was taken, and others wait")
            writing.result()
        finally:
            writing.cancel()

    def _refused(
        self, code: ErrorCode, message: str, status: int, wait: float = 1.0, field: str | None = None
    ) -> web.Response:
        answer = refusal("", self._node, code, message, field, retry_after=wait)
        headers = {"Retry-After": str(int(wait) + 1)} if status in (429, 503) else {}
        return _json(answer, status, headers)


def _byte_range(request: web.Request, file: RangeFile) -> tuple[int, ByteRange | None]:
    """The status, and which bytes are wanted; None where there are no such bytes."""
    size = file.wav.size
    try:
        asked = request.http_range
    except ValueError:  # of several ranges, or of other units: RFC 9110 lets a server ignore those
        return 200, ByteRange(0, size)
    if asked.start is None and asked.stop is None:
        return 200, ByteRange(0, size)
    first, end, _ = asked.indices(size)
    return (206, ByteRange(first, end)) if first < end else (416, None)


def is_same_origin(request: web.Request) -> bool:
    """Whether the request comes from the page itself, as its browser says: scheme, host and port.

    With https also without TLS here: a web server in front of the page may end it.
    """
    return request.headers.get("Origin") in (f"{request.scheme}://{request.host}", f"https://{request.host}")


def _plain(time: Instant) -> str:
    """A time as a part of a file's name, which on some systems holds no colon."""
    return str(time).replace(":", "")


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=wire.encode(value), status=status, content_type="application/json", headers={**_PRIVATE, **(headers or {})}
    )
