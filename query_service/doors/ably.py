"""The Ably door: questions on the node's channels in, answers on the sender's own channel out.

Who asked is the server's word (`client_id`), never a field of the request. Requests wait in a bounded queue, and at
most 40 answers a second leave: the service allows 50.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from edge import __version__
from edge.core import wire
from edge.core.backoff import Backoff
from edge.core.errors import DoorError, ImHearingError
from edge.core.ids import EVERY_NODE, is_client_id
from query_service.doors.event_feed import EventFeed
from query_service.doors.replays import Replays, other_body
from query_service.queries.protocol import Answer, Request, read_request
from query_service.queries.values import ErrorAnswer, refusal
from query_service.realtime.link import Delivery, Link
from query_service.realtime.tokens import EVENTS, NODES, REPLIES, REQUESTS

log = logging.getLogger(__name__)

AnswerIt = Callable[[Request], Awaitable[Answer]]

_QUEUED = 64  # requests that wait, of all clients
_QUEUED_PER_CLIENT = 16
_REFUSALS = 200  # `busy` and the like that wait to be sent
_WORKERS = 8  # answers on their way at once
_PER_SECOND = 40
_FIRST_RETRY, _LONGEST_RETRY = 1.0, 60.0  # seconds
_EVENTS_PER_SECOND = 8
_DEADLINE = 10.0  # seconds, where a request names none
_LONGEST_DEADLINE = 60.0
_REPLY_CHANNELS = 2 * _WORKERS  # kept for who asks again: more than are in use at once; the SDK takes 10 kB for each
_REWIND = "15s"  # what was asked while we restarted


class _Job(NamedTuple):
    client_id: str
    request: Request
    body: bytes
    deadline: float  # of the event loop's clock


class AblyDoor:
    """Serves until cancelled, whatever the network does. `answer` must not raise."""

    def __init__(
        self,
        node: str,
        answer: AnswerIt,
        make_link: Callable[[], Link],
        feed: EventFeed | None = None,
        instance: str = "",
    ) -> None:
        """`feed`: what to tell on `imhearing:events:<node>`. `instance` tells two nodes of one name apart."""
        self._node = node
        self._instance = instance
        self._feed = feed
        self._answer = answer
        self._make_link = make_link
        self._link: Link | None = None
        self._tried_at = time.monotonic()
        self._opened = asyncio.Event()
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue(_QUEUED)
        self._per_client: Counter[str] = Counter()
        self._refusals: deque[tuple[str, ErrorAnswer]] = deque(maxlen=_REFUSALS)
        self._refused = asyncio.Event()
        self._replays = Replays()
        self._pace = Pace(_PER_SECOND)
        self._reply_channels: OrderedDict[str, None] = OrderedDict()

    async def run(self) -> None:
        """Keeps a link open and answers what comes through it, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stay_connected())
            group.create_task(self._send_refusals())
            if self._feed is not None:
                group.create_task(self._tell_events(self._feed))
            for _ in range(_WORKERS):
                group.create_task(self._work())

    async def opened(self) -> None:
        """Waits until questions can come."""
        await self._opened.wait()

    def silent_for(self) -> float:
        """Seconds since the other side last answered, or since a connection was last tried: neither may take long."""
        answered_at = self._link.answered_at if self._link is not None else 0.0
        return time.monotonic() - max(self._tried_at, answered_at)

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
            if self._opened.is_set():
                self._opened.clear()
                backoff.reset()
            delay = backoff.next_delay()
            log.warning("the Ably door is shut: %s; trying again in %.1f s", problem, delay)
            await asyncio.sleep(delay)

    async def _serve(self) -> None:
        self._tried_at = time.monotonic()
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
            self._link = link
            self._reply_channels.clear()
            self._opened.set()
            log.info("the Ably door is open: questions on %s%s and %s%s", REQUESTS, self._node, REQUESTS, EVERY_NODE)
            await link.keep()
        finally:
            await link.close()

    async def _refuse_namesake(self, link: Link) -> None:
        """Both would answer the same questions, and who asks would get now the one's answer, now the other's."""
        for member in await link.members(NODES):
            # a connection of ours may linger there that the server has not given up yet
            other = member.data.get("instance") or self._instance
            if member.client_id == self._node and other != self._instance:
                raise DoorError(
                    f"another node is called {self._node} (instance {other!r:.40}) and has the name on Ably; set [node]"
                    " name on one of the two. Recording goes on"
                )

    def _receive(self, delivery: Delivery) -> None:
        """Called by the SDK for each message: only sorts and enqueues."""
        client_id = delivery.client_id
        if client_id is None or not is_client_id(client_id):
            log.warning("a question without a client id that can be answered: %.80r", client_id)
            return
        request = read_request(delivery.data, self._node)
        if isinstance(request, ErrorAnswer):
            self._refuse(client_id, request)
            return
        key = (client_id, request.id)
        seen = self._replays.begin(key, delivery.data)
        if seen == "in_work":
            return
        if seen == "other_body":
            self._refuse(client_id, other_body(request.id, self._node))
            return
        now = asyncio.get_running_loop().time()
        job = _Job(client_id, request, delivery.data, now + _deadline(delivery))
        if self._per_client[client_id] >= _QUEUED_PER_CLIENT or self._jobs.full():
            if seen == "new":
                self._replays.forget(key)
            self._refuse(client_id, refusal(request.id, self._node, "busy", "too many questions wait; ask again soon"))
            return
        self._per_client[client_id] += 1
        self._jobs.put_nowait(job)

    def _refuse(self, client_id: str, answer: ErrorAnswer) -> None:
        if len(self._refusals) == _REFUSALS:
            log.warning("more refusals than can be sent: %s gets none", self._refusals[0][0])
        self._refusals.append((client_id, answer))
        self._refused.set()

    async def _send_refusals(self) -> None:
        while True:
            await self._refused.wait()
            self._refused.clear()
            while self._refusals:
                client_id, answer = self._refusals.popleft()
                deadline = asyncio.get_running_loop().time() + _DEADLINE
                await self._send(client_id, answer.id, wire.encode(answer), deadline)

    async def _work(self) -> None:
        while True:
            job = await self._jobs.get()
            try:
                await self._handle(job)
            finally:
                self._per_client[job.client_id] -= 1
                if not self._per_client[job.client_id]:
                    del self._per_client[job.client_id]

    async def _handle(self, job: _Job) -> None:
        key = (job.client_id, job.request.id)
        seen = self._replays.begin(key, job.body)
        if isinstance(seen, bytes):
            await self._send(job.client_id, job.request.id, seen, job.deadline)
            return
        if asyncio.get_running_loop().time() > job.deadline:
            answer: Answer = refusal(job.request.id, self._node, "deadline", "the node had too much to do in that time")
        else:
            answer = await self._answer(job.request)
        await self._send(job.client_id, job.request.id, self._replays.settle(key, answer), job.deadline)

    async def _send(self, client_id: str, request_id: str, data: bytes, deadline: float) -> None:
        """Publishes on the client's own channel, again if need be; in vain it ends at the deadline, with a log line."""
        clock = asyncio.get_running_loop().time
        channel = f"{REPLIES}{client_id}"
        try:
            async with asyncio.timeout_at(max(deadline, clock() + 1.0)):
                while True:
                    await self._pace.wait()
                    await self._opened.wait()
                    try:
                        await self._publish(channel, request_id, data)
                    except DoorError as problem:
                        log.debug("an answer may not have left: %s", problem)
                        await asyncio.sleep(0.2)
                    else:
                        return
        except TimeoutError:
            log.warning("an answer to %s did not leave before its deadline", client_id)

    async def _tell_events(self, feed: EventFeed) -> None:
        """Events are notice: one that does not get through is not tried again."""
        pace = Pace(_EVENTS_PER_SECOND)
        while True:
            await self._opened.wait()
            told = await feed.next()
            await pace.wait()
            link = self._link
            try:
                if link is not None:
                    await link.publish(f"{EVENTS}{self._node}", told.name, told.data, {"v": 1}, timeout=5.0)
            except DoorError as problem:
                log.debug("an event may not have left: %s", problem)

    async def _publish(self, channel: str, request_id: str, data: bytes) -> None:
        link = self._link
        if link is None:
            raise DoorError("not connected")
        self._reply_channels[channel] = None
        self._reply_channels.move_to_end(channel)
        if len(self._reply_channels) > _REPLY_CHANNELS:
            link.forget(self._reply_channels.popitem(last=False)[0])
        await link.publish(channel, "answer", data, {"id": request_id, "v": 1}, timeout=5.0)


class Pace:
    """At most `per_second` passes in any second."""

    def __init__(self, per_second: int) -> None:
        self._passed: deque[float] = deque([-1.0] * per_second, maxlen=per_second)

    async def wait(self) -> None:
        now = asyncio.get_running_loop().time()
        turn = max(now, self._passed[0] + 1.0)
        self._passed.append(turn)
        if turn > now:
            await asyncio.sleep(turn - now)


def _deadline(delivery: Delivery) -> float:
    """Seconds from now, as the sender wishes: clocks lie, so it names no time."""
    wished = delivery.headers.get("deadline")
    if isinstance(wished, int | float) and 0 < wished <= _LONGEST_DEADLINE:
        return float(wished)
    return _DEADLINE
