"""Queries of a client without an answer yet: each is sent again, with the same id, while the node does not answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from edge.core.backoff import Backoff
from edge.core.errors import DoorError, WireError
from query_service.queries.protocol import Answer, Request, read_answer

log = logging.getLogger(__name__)

_FIRST_RESEND = 2.0  # seconds without an answer until the query is sent again, doubled each time
_PAUSE_AFTER_FAILURE = 0.5  # seconds, where it could not be sent

Send = Callable[[Request, float], Awaitable[None]]  # the float: seconds left; DoorError: it may have left all the same


class PendingQueries:
    """The queries in flight on one connection. One event loop. `read` raises WireError for what is not an answer."""

    def __init__(self, read: Callable[[bytes], Answer] = read_answer) -> None:
        self._read = read
        self._arrived: dict[str, dict[str, Answer]] = {}  # request id -> node -> its answer
        self._changed, self._lost = asyncio.Event(), asyncio.Event()
        self.failure: DoorError | None = None  # why the connection ended

    def receive(self, data: bytes, sender: str | None = None) -> None:
        """Takes in what may be an answer. `sender`, where the server vouches for one, must be the node that answers."""
        try:
            answer = self._read(data)
        except WireError as problem:
            log.warning("ignored an answer that cannot be read: %s", problem)
            return
        if sender is not None and answer.node != sender:
            log.warning("ignored an answer of %.80r sent by %.80r", answer.node, sender)
            return
        waited_for = self._arrived.get(answer.id)
        if waited_for is not None:
            waited_for.setdefault(answer.node or "", answer)
            self._changed.set()

    def fail(self, problem: DoorError) -> None:
        """Ends all waiting: the connection is lost."""
        self.failure = problem
        self._lost.set()
        self._changed.set()

    async def first_answer(self, request: Request, send: Send, node: str, timeout: float) -> Answer:
        """The first answer; DoorError that names `node` when none comes within `timeout` seconds."""
        answers, problem = await self._collect(request, send, bool, timeout)
        if answers:
            return next(iter(answers.values()))
        reason = f" ({problem})" if problem else "; is it running, and is the name right?"
        raise DoorError(f"node {node} gave no answer within {timeout:g} s{reason}")

    async def answers_by_node(
        self, request: Request, send: Send, nodes: Iterable[str], timeout: float
    ) -> dict[str, Answer]:
        """The answers by node, until all of `nodes` have answered or `timeout` seconds are over."""
        wanted = set(nodes)
        answers, _ = await self._collect(request, send, lambda found: wanted <= found.keys(), timeout)
        return {node: answer for node, answer in answers.items() if node}

    async def _collect(
        self, request: Request, send: Send, enough: Callable[[dict[str, Answer]], bool], timeout: float
    ) -> tuple[dict[str, Answer], DoorError | None]:
        found = self._arrived[request.id] = {}
        clock = asyncio.get_running_loop().time
        ends_at = clock() + timeout
        backoff, problem = Backoff(_FIRST_RESEND), None
        try:
            async with asyncio.timeout_at(ends_at):
                while not enough(found):
                    problem = None
                    try:
                        await self._unless_lost(send(request, max(0.1, ends_at - clock())))
                    except DoorError as trouble:
                        problem = trouble
                    wait = backoff.next_delay()
                    await self._until(found, enough, wait if problem is None else _PAUSE_AFTER_FAILURE)
        except TimeoutError:
            pass
        finally:
            del self._arrived[request.id]
        return found, problem

    async def _unless_lost(self, sending: Awaitable[None]) -> None:
        """The SDK would wait for a lost connection until the query's deadline."""
        sent, lost = asyncio.ensure_future(sending), asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait({sent, lost}, return_when=asyncio.FIRST_COMPLETED)
            if sent.done():
                await sent
        finally:
            sent.cancel()
            lost.cancel()

    async def _until(
        self, found: dict[str, Answer], enough: Callable[[dict[str, Answer]], bool], seconds: float
    ) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not enough(found):
                    if self.failure is not None:
                        raise self.failure
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return
