"""The HTTP requests that the SDKs need: time, token requests, publish and history, in JSON and MessagePack."""

from __future__ import annotations

import secrets
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from query_service.loopback.auth import Grant, TokenRequest
from query_service.loopback.channel_actions import publish, stamp
from query_service.loopback.channels import HistoryEntry, State
from query_service.loopback.protocol import AblyMessage, Refusal, as_text

MSGPACK = "application/x-msgpack"
_MAX_HISTORY = 1_000

T = TypeVar("T")


class Rest:
    """HTTP routes on a State."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.get("/time", self._time),
            web.post("/keys/{name}/requestToken", self._request_token),
            web.post("/channels/{name}/messages", self._publish),
            web.get("/channels/{name}/messages", self._history),
        ]

    async def _time(self, request: web.Request) -> web.Response:
        return _respond(request, [self._state.now_ms])

    async def _request_token(self, request: web.Request) -> web.Response:
        token_request = await _body(request, TokenRequest)
        if token_request.key_name != request.match_info["name"]:
            raise Refusal("keyName differs from the key in the path", 40003)
        header = request.headers.get("Authorization", "")
        trusted = header.lower().startswith("basic ")
        if trusted:
            self._state.authority.from_header(header, self._state.now_ms)
        return _respond(request, self._state.authority.issue(token_request, self._state.now_ms, trusted=trusted), 201)

    async def _publish(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        grant = self._grant(request)
        grant.require("publish", name)
        body = await _body(request, AblyMessage | list[AblyMessage])
        messages = [stamp(grant, message) for message in (body if isinstance(body, list) else [body])]
        frame = publish(self._state, name, messages, None, f"rest-{secrets.token_urlsafe(8)}:0")
        return _respond(request, {"channel": name, "messageId": frame.id}, 201)

    async def _history(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self._grant(request).require("history", name)
        limit = request.query.get("limit", "100")
        if not (limit.isdecimal() and 1 <= int(limit[:9]) <= _MAX_HISTORY):
            raise Refusal(f"limit must be 1 to {_MAX_HISTORY}", 40003)
        channel = self._state.channels.find(name)
        messages = [message for entry in (channel.history if channel else ()) for message in _messages_of(entry)]
        if request.query.get("direction") != "forwards":
            messages.reverse()
        if not _wants_msgpack(request):
            messages = [as_text(message) for message in messages]
        return _respond(request, messages[: int(limit[:9])])

    def _grant(self, request: web.Request) -> Grant:
        header = request.headers.get("Authorization")
        if header is not None:
            return self._state.authority.from_header(header, self._state.now_ms)
        return self._state.authority.from_query(request.query, self._state.now_ms)


@web.middleware
async def refusals(request: web.Request, handler: Any) -> web.StreamResponse:
    """Turns a Refusal into Ably's error format."""
    try:
        response: web.StreamResponse = await handler(request)
    except Refusal as refusal:
        return _respond(request, {"error": refusal.info}, refusal.info.status_code)
    return response


def _messages_of(entry: HistoryEntry) -> list[AblyMessage]:
    """The messages of a frame, each with the fields that they share."""
    frame = entry.frame
    return [
        msgspec.structs.replace(
            message,
            id=message.id or f"{frame.id}:{index}",
            connection_id=frame.connection_id,
            timestamp=frame.timestamp,
        )
        for index, message in enumerate(frame.messages or [])
    ]


async def _body(request: web.Request, target: type[T] | Any) -> Any:
    data = await request.read()
    module: Any = msgspec.msgpack if request.content_type == MSGPACK else msgspec.json
    try:
        return module.decode(data, type=target)
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError) as problem:
        raise Refusal(f"invalid request body: {str(problem)[:200]}", 40001) from None


def _wants_msgpack(request: web.Request) -> bool:
    return MSGPACK in request.headers.get("Accept", "")


def _respond(request: web.Request, value: Any, status: int = 200) -> web.Response:
    if _wants_msgpack(request):
        return web.Response(body=msgspec.msgpack.encode(value), status=status, content_type=MSGPACK)
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
