"""The Ably door: queries on the node's channels in, answers on the sender's own channel out.

The server vouches for the sender (`client_id`); no field of the request does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from edge import __version__
from edge.core.backoff import Backoff
from edge.core.errors import DoorError, ImHearingError
from edge.core.ids import EVERY_NODE, is_client_id
from edge.core.instance import is_copied_card
from query_service.doors.ably_sender import AblySender, EventFeed
from query_service.doors.query_pipeline import AdmittedQuery, AnswerQuery, QueryPipeline
from query_service.queries.protocol import read_request
from query_service.queries.values import ErrorAnswer, refusal
from query_service.realtime.link import Delivery, Link
from query_service.realtime.tokens import NODES, REQUESTS

log = logging.getLogger(__name__)

_QUERY = "query"  # the name of a message that asks something
_AT_ONCE = 72  # requests, of all clients
_PER_CLIENT = 16
_DEADLINE = 10.0  # seconds, where a request names none
_LONGEST_DEADLINE = 60.0
_FIRST_RETRY, _LONGEST_RETRY = 1.0, 60.0  # seconds
_REWIND = "15s"  # requests sent while we restarted


class AblyDoor:
    """Serves until cancelled, through network failures. `answer` must not raise."""

    def __init__(
        self,
        node: str,
        answer: AnswerQuery,
        make_link: Callable[[], Link],
        feed: EventFeed | None = None,
        instance: str = "",
    ) -> None:
        """`feed`: events for `imhearing:events:<node>`. `instance` tells apart two nodes of one name."""
        self._node = node
        self._instance = instance
        self._feed = feed
        self._make_link = make_link
        self._connecting_since = time.monotonic()
        self._pipeline = QueryPipeline(node, answer, _AT_ONCE, _PER_CLIENT)
        self._waiting: asyncio.Queue[tuple[str, AdmittedQuery]] = asyncio.Queue()
        self._sender = AblySender()

    async def run(self) -> None:
        """Keeps a link open and answers what comes through it, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stay_connected())
            group.create_task(self._sender.send_refusals())
            if self._feed is not None:
                group.create_task(self._sender.send_events(self._feed, self._node))
            while True:
                group.create_task(self._serve_query(*await self._waiting.get()))

    async def opened(self) -> None:
        """Waits until queries can come."""
        await self._sender.opened.wait()

    def silent_for(self) -> float:
        """Seconds since the server last answered, or since the last attempt to connect: neither may take long."""
        answered_at = self._sender.link.answered_at if self._sender.link is not None else 0.0
        return time.monotonic() - max(self._connecting_since, answered_at)

    async def _stay_connected(self) -> None:
        backoff = Backoff(_FIRST_RETRY, _LONGEST_RETRY, jitter=(0.5, 1.0))
        while True:
            problem: object = "the SDK gave up"
            try:
                await self._serve()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
            except Exception as error:  # the SDK's own faults must not end the door either
                problem = error
                if not isinstance(error, ImHearingError):
                    log.exception("the Ably door failed")
            if self._sender.close():
                backoff.reset()
            delay = backoff.next_delay()
            log.warning("the Ably door is shut: %s; trying again in %.1f s", problem, delay)
            await asyncio.sleep(delay)

    async def _serve(self) -> None:
        self._connecting_since = time.monotonic()
        link = self._make_link()
        try:
            await link.open()
            await self._refuse_namesake(link)
            for name in (self._node, EVERY_NODE):
                await link.subscribe(f"{REQUESTS}{name}", self._receive, rewind=_REWIND)
            events = "no" if self._feed is None else "yes"
            about = {"node": self._node, "version": __version__, "instance": self._instance, "events": events}
            await link.enter(NODES, about)
            await self._refuse_namesake(link)  # that came at the same time
            self._sender.open(link)
            log.info("the Ably door is open: queries on %s%s and %s%s", REQUESTS, self._node, REQUESTS, EVERY_NODE)
            await link.keep()
        finally:
            await link.close()

    async def _refuse_namesake(self, link: Link) -> None:
        """Both would answer the same queries, and a client would get sometimes one node's answer, sometimes the
        other's.
        """
        for member in await link.members(NODES):
            # a connection of ours may linger there that the server has not given up yet
            other = member.data.get("instance") or self._instance
            if member.client_id == self._node and other != self._instance:
                copied = is_copied_card(str(other), self._instance)
                who = "a copy of this node's card, on another board," if copied else "another node"
                raise DoorError(
                    f"{who} is called {self._node} (instance {other!r:.40}) and has the name on Ably; set [node]"
                    " name on one of the two. Recording goes on"
                )

    def _receive(self, delivery: Delivery) -> None:
        """Called by the SDK for each message; must not block."""
        client_id = delivery.client_id
        if client_id is None or not is_client_id(client_id):
            log.warning("a query without a client id that can be answered: %.80r", client_id)
            return
        if delivery.name != _QUERY:
            self._sender.queue_refusal(client_id, self._unknown_message(delivery))
            return
        admitted = self._pipeline.admit(client_id, delivery.data, _deadline(delivery))
        if isinstance(admitted, ErrorAnswer):
            self._sender.queue_refusal(client_id, admitted)
        elif admitted is not None:
            self._waiting.put_nowait((client_id, admitted))

    def _unknown_message(self, delivery: Delivery) -> ErrorAnswer:
        named = "has no name" if delivery.name is None else f"is named {delivery.name[:40]!r}"
        return refusal(
            read_request(delivery.data, self._node).id,
            self._node,
            "bad_request",
            f"the Ably message {named}; a query is named {_QUERY!r}",
        )

    async def _serve_query(self, client_id: str, query: AdmittedQuery) -> None:
        try:
            data = await self._pipeline.answer(query)
            await self._sender.send(client_id, query.request.id, data, query.ticket.deadline)
        finally:
            self._pipeline.release(query)


def _deadline(delivery: Delivery) -> float:
    """Seconds from now, as the sender wishes: clocks differ, so it names no time."""
    wished = delivery.headers.get("deadline")
    if isinstance(wished, int | float) and 0 < wished <= _LONGEST_DEADLINE:
        return float(wished)
    return _DEADLINE
