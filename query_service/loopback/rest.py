"""The HTTP requests that clients need: time, token requests, publish, history and presence, in JSON and MessagePack."""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from query_service.loopback.auth import Grant, TokenRequest, identified
from query_service.loopback.channel_actions import publish, stamp
from query_service.loopback.channels import State
from query_service.loopback.history import HistoryItem, changes_in, history_request, limit_of, messages_in
from query_service.loopback.protocol import AblyMessage, Presence, PresenceMessage, Refusal, as_text
from query_service.loopback.rest_replies import MSGPACK, page, parameters, reply, wants_msgpack

T = TypeVar("T")
M = TypeVar("M", AblyMessage, PresenceMessage)


class Rest:
    """HTTP routes on a State."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.get("/time", self._time),
            web.post("/keys/{name}/requestToken", self._request_token),
            web.post("/channels/{name}/messages", self._publish),
            web.get("/channels/{name}/messages", self._messages),
            web.get("/channels/{name}/presence", self._members),
            web.get("/channels/{name}/presence/history", self._changes),
        ]

    async def _time(self, request: web.Request) -> web.Response:
        parameters(request)
        return reply(request, [self._state.now_ms])

    async def _request_token(self, request: web.Request) -> web.Response:
        parameters(request)
        token_request = await _body(request, TokenRequest, strict=False)  # its numbers may be text, as in a query
        if token_request.key_name != request.match_info["name"]:
            raise Refusal("keyName differs from the key in the path", 40003)
        header = request.headers.get("Authorization", "")
        trusted = header.lower().startswith("basic ")
        if trusted:
            self._state.authority.from_header(header, self._state.now_ms)
        return reply(request, self._state.authority.issue(token_request, self._state.now_ms, trusted=trusted), 201)

    async def _publish(self, request: web.Request) -> web.Response:
        parameters(request)
        name = request.match_info["name"]
        grant = self._grant(request)
        grant.require("publish", name)
        body = await _body(request, AblyMessage | list[AblyMessage])
        messages = [stamp(grant, message) for message in (body if isinstance(body, list) else [body])]
        message_id = publish(self._state, name, messages, None, f"rest-{secrets.token_urlsafe(8)}:0")
        return reply(request, {"channel": name, "messageId": message_id}, 201)

    async def _messages(self, request: web.Request) -> web.Response:
        self._grant(request).require("history", request.match_info["name"])
        channel = self._state.channels.find(request.match_info["name"])
        return self._history(request, messages_in(channel.history) if channel else [])

    async def _changes(self, request: web.Request) -> web.Response:
        self._grant(request).require("history", request.match_info["name"])
        channel = self._state.channels.find(request.match_info["name"])
        return self._history(request, changes_in(channel.changes) if channel else [])

    def _history(self, request: web.Request, stored: list[HistoryItem[M]]) -> web.Response:
        query, channels = parameters(request), self._state.channels
        newest = max((item.timestamp for item in stored), default=0)  # later than now if the clock was set back
        wanted = history_request(query, max(self._state.now_ms, newest), channels.number)
        items, more = wanted.page(stored)
        params = {
            "start": wanted.start,
            "end": wanted.end,
            "limit": wanted.limit,
            "direction": "forwards" if wanted.forwards else "backwards",
            "from_serial": None if wanted.until is None else channels.serial(wanted.until),
            "after": query.get("after"),
            "format": query.get("format"),
        }
        following = None
        if more:
            number, index = items[-1].position
            following = f"{channels.serial(number)}:{index}"
        return page(request, _readable(request, [item.item for item in items]), params, following)

    async def _members(self, request: web.Request) -> web.Response:
        query, name = parameters(request), request.match_info["name"]
        self._grant(request).require("subscribe", name)
        limit = limit_of(query)
        after = tuple((query.get("after") or ":").split(":", 1))
        client, connection = query.get("clientId"), query.get("connectionId")
        channel = self._state.channels.find(name)
        members = [
            msgspec.structs.replace(member, action=int(Presence.PRESENT))
            for key, member in sorted(channel.members.items() if channel else ())
            if key > after and client in (None, member.client_id) and connection in (None, member.connection_id)
        ]
        shown = members[:limit]
        following = f"{shown[-1].connection_id}:{shown[-1].client_id}" if len(members) > limit else None
        params = {name: query.get(name) for name in ("clientId", "connectionId", "after", "format")}
        return page(request, _readable(request, shown), {"limit": limit, **params}, following)

    def _grant(self, request: web.Request) -> Grant:
        """What the credentials permit, to the client that `X-Ably-ClientId` names if they let it choose."""
        header, authority = request.headers.get("Authorization"), self._state.authority
        if header is not None:
            grant = authority.from_header(header, self._state.now_ms)
        else:
            grant = authority.from_parameters(request.query, self._state.now_ms)
        return identified(grant, _client_id(request))


def _client_id(request: web.Request) -> str | None:
    """The client id in the header, which is base64; Refusal (40012) if it is not."""
    header = request.headers.get("X-Ably-ClientId")
    try:
        return None if header is None else base64.b64decode(header, validate=True).decode()
    except (binascii.Error, ValueError):
        raise Refusal("invalid client id: X-Ably-ClientId must be text in base64", 40012) from None


def _readable(request: web.Request, items: list[M]) -> list[M]:
    return items if wants_msgpack(request) else [as_text(item) for item in items]


async def _body(request: web.Request, target: type[T] | Any, *, strict: bool = True) -> Any:
    data = await request.read()
    module: Any = msgspec.msgpack if request.content_type == MSGPACK else msgspec.json
    try:
        return module.decode(data, type=target, strict=strict)
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError) as problem:
        raise Refusal(f"invalid request body: {str(problem)[:200]}", 40001) from None
