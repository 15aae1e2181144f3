"""What the page's owner may order over HTTP: each a POST of JSON, passed on to recorder or archiver with a proof.

Sent by the page itself (its exact origin, with a session of the owner), or by a program with the HTTP token. This
process changes nothing; whoever carries the command out checks the proof.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web

from edge.core import wire
from edge.core.errors import DoorError, QueryRefused, WireError
from edge.messaging.commands import Command, OwnerProof
from edge.messaging.events import ErrorBody, Response
from edge.messaging.request_pipeline import RequestPipeline, busy
from query_service.doors.owner_channel import OwnerChannel
from query_service.queries.openapi import ACTION_STATUS, ACTIONS
from query_service.queries.protocol import new_id
from query_service.queries.values import ErrorAnswer

_AT_ONCE = 8
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class _NotDone(Exception):
    """Why a command was not carried out. `status`: HTTP's, if the code does not determine it."""

    def __init__(self, code: str, message: str, field: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.error, self.status = ErrorBody(code, message, field), status or ACTION_STATUS.get(code, 400)


class PageActions:
    """Serves one address for each of the owner's commands. `channel`: None on a node without a broker."""

    def __init__(self, node: str, channel: OwnerChannel | None) -> None:
        self._node, self._channel = node, channel
        self._pipeline = RequestPipeline(_AT_ONCE)

    def add_to(
        self, app: web.Application, is_owner: Callable[[web.Request], bool], proof_of: Callable[[web.Request], str]
    ) -> None:
        """`is_owner`: whether this is a request of the owner's; `proof_of`: the proof that its session has."""

        async def act(command_type: type[Command], request: web.Request) -> web.Response:
            try:
                if not is_owner(request):
                    raise _NotDone("forbidden", "only the owner of the node may do this; log in")
                command, given = await _read(command_type, request)
                with self._pipeline.admitted(request.remote or ""):
                    data = await self._ordered(command, proof_of(request) or given)
            except _NotDone as problem:
                return _json(ErrorAnswer(id="", node=self._node, error=problem.error), problem.status)
            return _json(Response(id=command.id, ok=True, data=data))

        for path, command_type in ACTIONS.items():
            app.router.add_post(path, partial(act, command_type))

    async def _ordered(self, command: Command, proof: str) -> dict[str, Any]:
        if self._channel is None:
            message = "the node has no broker, so it takes no commands; set [mqtt] host"
            raise _NotDone("bad_request", message, status=404)
        try:
            return await self._channel.order(command, proof)
        except QueryRefused as problem:
            if problem.code == "busy":
                raise busy() from None
            raise _NotDone(problem.code, str(problem), problem.field) from None
        except DoorError as problem:
            raise _NotDone("deadline", str(problem)) from None


async def _read(command_type: type[Command], request: web.Request) -> tuple[Command, str]:
    """The command, with an id if it has none, and the proof in it."""
    if request.content_type != "application/json":  # another site cannot send it without a CORS preflight
        raise _NotDone("bad_request", "send the command with Content-Type: application/json", status=415)
    try:
        fields = wire.decode(await request.read(), dict[str, Any])
        return wire.convert({"id": new_id(), **fields}, command_type), wire.convert(fields, OwnerProof).proof
    except WireError as problem:
        raise _NotDone("bad_request", str(problem)[:300], problem.field) from None


def _json(answer: Response | ErrorAnswer, status: int = 200) -> web.Response:
    return web.Response(body=wire.encode(answer), status=status, content_type="application/json", headers=_HEADERS)
