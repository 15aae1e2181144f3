"""HTTP replies as Ably gives them: JSON or MessagePack, links to other pages, and errors, also of unknown paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web

from query_service.loopback.protocol import ErrorInfo, Refusal

MSGPACK = "application/x-msgpack"
# Parameters of Ably's REST API that change an answer, and that this server does not implement.
_NOT_OFFERED = ("callback", "envelope", "enveloped", "fields", "flatten", "select", "untilAttach", "_forceNack")
_MESSAGES = {
    404: (
        "could not find {request.method} {request.path}; docs/local-realtime.md lists what this server offers",
        40400,
    ),
    405: ("{request.path} does not accept {request.method}", 40500),
    413: ("maximum message length exceeded: the request is too large", 40009),
}


def parameters(request: web.Request) -> Mapping[str, str]:
    """The query's parameters; Refusal (40003) if one is repeated or would be ignored."""
    for name in request.query:
        if len(request.query.getall(name)) > 1:
            raise Refusal(f"{name} is given more than once", 40003)
        if name in _NOT_OFFERED and (name, request.query[name]) != ("untilAttach", "false"):  # the default
            raise Refusal(f"this server does not offer the parameter {name}", 40003)
    if request.query.get("format", "json") not in ("json", "msgpack"):
        raise Refusal("format must be json or msgpack", 40003)
    return request.query


def reply(request: web.Request, value: Any, status: int = 200) -> web.Response:
    """A reply in the format that the client accepts."""
    if wants_msgpack(request):
        return web.Response(body=msgspec.msgpack.encode(value), status=status, content_type=MSGPACK)
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def wants_msgpack(request: web.Request) -> bool:
    accept = request.headers.get("Accept", "")
    return MSGPACK in accept or ("json" not in accept and request.query.get("format") == "msgpack")


def page(
    request: web.Request, items: list[Any], params: Mapping[str, str | int | None], following: str | None
) -> web.Response:
    """A page of a list, with links to the first page, to itself and, if `following` says where it starts, to the next.

    `params` are the request's own, with the values that apply by default.
    """
    response = reply(request, items)
    known = {name: value for name, value in params.items() if value is not None}
    first = {name: value for name, value in known.items() if name != "after"}
    links = {"first": first, "current": known}
    if following is not None:
        links["next"] = {**first, "after": following}
    last = request.path.rpartition("/")[2]
    for relation, query in links.items():
        response.headers.add("Link", f'<./{quote(last)}?{urlencode(query)}>; rel="{relation}"')
    return response


@web.middleware
async def errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Gives every error Ably's format."""
    try:
        response: web.StreamResponse = await handler(request)
    except Refusal as refusal:
        return _error(request, refusal.info)
    except web.HTTPClientError as problem:
        text, code = _MESSAGES.get(problem.status, ("bad request: {problem.reason}", problem.status * 100))
        answer = _error(request, ErrorInfo(text.format(request=request, problem=problem), code, problem.status))
        if isinstance(problem, web.HTTPMethodNotAllowed):
            answer.headers["Allow"] = problem.headers["Allow"]
        return answer
    return response


def _error(request: web.Request, info: ErrorInfo) -> web.Response:
    response = reply(request, {"error": info}, info.status_code)
    response.headers["X-Ably-Errorcode"] = str(info.code)
    response.headers["X-Ably-Errormessage"] = quote(info.message, safe=" :/;,.'\"`{}[]()*=_-?!<>")
    return response
