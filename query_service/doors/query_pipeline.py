"""The request pipeline for queries, behind the doors whose messages may arrive twice or late (Ably, MQTT)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from weakref import WeakValueDictionary

from edge.core import wire
from edge.messaging.request_pipeline import Refused, ReplayCache, Reply, RequestPipeline, Ticket
from query_service.queries.protocol import Answer, Request, read_request
from query_service.queries.values import ErrorAnswer, ErrorCode

AnswerQuery = Callable[[Request, str], Awaitable[Answer]]  # the text: whose turn it takes

_AT_ONCE = 8
_AT_ONCE_PER_SENDER = 4
_PASSING: tuple[ErrorCode, ...] = ("busy", "deadline", "internal")


class AdmittedQuery(NamedTuple):
    """A query that will be answered."""

    request: Request
    ticket: Ticket


class QueryPipeline:
    """From the bytes of a request to the bytes of its answer. `answer` must not raise. `urls` as for `read_request`;
    `encode`: how answers look on the wire.

    Eight are answered at once, four of one sender: whatever one asks, others get their turn, and what waits too long is
    not computed.
    """

    def __init__(
        self,
        node: str,
        answer: AnswerQuery,
        limit: int,
        limit_per_sender: int | None = None,
        *,
        urls: bool = True,
        encode: Callable[[Answer], bytes] = wire.encode,
    ) -> None:
        self._node = node
        self._answer = answer
        self._urls = urls
        self._encode = encode
        self._pipeline = RequestPipeline(limit, limit_per_sender, ReplayCache())
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._slots_of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def admit(self, sender: str, data: bytes, seconds: float) -> AdmittedQuery | ErrorAnswer | None:
        """A query to be answered and released, or what to answer at once; None: an earlier copy is being answered.

        `sender` limits and separates clients; `seconds` is how long this one waits.
        """
        request = read_request(data, self._node, urls=self._urls)
        if isinstance(request, ErrorAnswer):
            return request
        try:
            ticket = self._pipeline.admit(sender, (sender, request.id), wire.encode(request), seconds)
        except Refused as refused:
            return self._error(request, refused)
        return AdmittedQuery(request, ticket) if ticket is not None else None

    async def answer(self, query: AdmittedQuery) -> bytes:
        """The answer, or a refusal where it would come too late."""
        slots_of_sender = self._slots_of.setdefault(query.ticket.sender, asyncio.Semaphore(_AT_ONCE_PER_SENDER))
        try:
            async with slots_of_sender, self._slots:
                return await self._pipeline.answer(query.ticket, lambda: self._reply(query))
        except Refused as refused:
            return self._encode(self._error(query.request, refused))

    async def _reply(self, query: AdmittedQuery) -> Reply:
        answer = await self._answer(query.request, query.ticket.sender)
        passes = isinstance(answer, ErrorAnswer) and answer.error.code in _PASSING
        return Reply(self._encode(answer), is_final=not passes)

    def release(self, query: AdmittedQuery) -> None:
        """Call it once the answer has left."""
        self._pipeline.release(query.ticket)

    def _error(self, request: Request, refused: Refused) -> ErrorAnswer:
        return ErrorAnswer(id=request.id, node=self._node, error=refused.body)
