"""What every request passes, whichever way it came: admission, deduplication, deadline, answer. No I/O.

The command server and the doors of the query service only carry: they hand in bytes and send what comes out.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from msgspec import UNSET

from edge.messaging.events import BUSY_SECONDS, ErrorBody

Key = tuple[str, str]  # sender (or verb) and request id
Verdict = Literal["new", "in_work", "other_body"]


class _Seen(NamedTuple):
    at: float  # monotonic
    digest: bytes
    answer: bytes | None


class ReplayCache:
    """Remembers the requests of the last `seconds` and their answers: at most `entries`, and about `answer_bytes`.

    A sender without an answer asks again within a minute or two; after that the request counts as new. Lost with the
    process. One thread at a time.
    """

    def __init__(
        self,
        entries: int = 1_024,
        answer_bytes: int = 4_000_000,
        seconds: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._entries = entries
        self._room = answer_bytes
        self._seconds = seconds
        self._clock = clock
        self._seen: OrderedDict[Key, _Seen] = OrderedDict()  # the oldest first

    def __len__(self) -> int:
        return len(self._seen)

    def begin(self, key: Key, body: bytes) -> Verdict | bytes:
        """Whether to answer this request; the answer itself where it was given before."""
        self._make_room()
        digest = hashlib.blake2b(body, digest_size=16).digest()
        seen = self._seen.get(key)
        if seen is None:
            self._seen[key] = _Seen(self._clock(), digest, None)
            self._make_room()
            return "new"
        if seen.digest != digest:
            return "other_body"
        return "in_work" if seen.answer is None else seen.answer

    def finish(self, key: Key, answer: bytes) -> None:
        seen = self._seen.get(key)
        if seen is not None and seen.answer is None:
            self._seen[key] = seen._replace(answer=answer)
            self._room -= len(answer)
            self._make_room()

    def forget(self, key: Key) -> None:
        """The answer is not worth keeping: repeated, the request counts as new."""
        seen = self._seen.pop(key, None)
        self._room += len(seen.answer or b"") if seen else 0

    def _make_room(self) -> None:
        while self._seen and (len(self._seen) > self._entries or self._room < 0 or self._is_over()):
            _, seen = self._seen.popitem(last=False)
            self._room += len(seen.answer or b"")

    def _is_over(self) -> bool:
        return next(iter(self._seen.values())).at < self._clock() - self._seconds


class Refused(Exception):
    """A request is not answered: the error that its sender gets instead."""

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.body = ErrorBody(code, message, field, BUSY_SECONDS if code == "busy" else UNSET)


class Ticket(NamedTuple):
    """An admitted request. `deadline` in seconds of the pipeline's clock; `answer`: the one given before, if known."""

    sender: str
    key: Key
    body: bytes
    deadline: float
    answer: bytes | None
    is_repeated: bool


class Reply(NamedTuple):
    """An answer on the wire. `is_final`: the same request repeated gets the same answer."""

    data: bytes
    is_final: bool = True


class RequestPipeline:
    """At most `limit` requests at once, from admission until their release, of each sender at most `limit_per_sender`.

    `replays`: where requests are deduplicated. A repetition of a request still in work needs no answer of its own,
    unless `in_turn` says that requests are answered one after another: then it waits for its turn and gets the same
    answer. May be used from several threads.
    """

    def __init__(
        self,
        limit: int,
        limit_per_sender: int | None = None,
        replays: ReplayCache | None = None,
        *,
        in_turn: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._limit_per_sender = limit_per_sender or limit
        self._replays = ReplayCache(entries=0) if replays is None else replays
        self._in_turn = in_turn
        self._clock = clock
        self._admitted: Counter[str] = Counter()  # by sender
        self._lock = threading.Lock()

    def admit(self, sender: str, key: Key, body: bytes, seconds: float = math.inf) -> Ticket | None:
        """A ticket to be released in the end; None where the answer to an earlier copy is enough.

        `key` identifies the request, `body` is its content, `seconds` how long its sender waits. Raises Refused.
        """
        with self._lock:
            verdict = self._replays.begin(key, body)
            if verdict == "other_body":
                raise Refused("bad_request", "id was used for another request; use a new one for each request", "id")
            if verdict == "in_work" and not self._in_turn:
                return None
            try:
                self._enter(sender)
            except Refused:
                if verdict == "new":
                    self._replays.forget(key)
                raise
        answer = verdict if isinstance(verdict, bytes) else None
        return Ticket(sender, key, body, self._clock() + seconds, answer, verdict != "new")

    @contextmanager
    def admitted(self, sender: str) -> Iterator[None]:
        """Admission alone, for a way that deduplicates by itself and waits for its answer. Raises Refused."""
        with self._lock:
            self._enter(sender)
        try:
            yield
        finally:
            self._leave(sender)

    def _enter(self, sender: str) -> None:
        if self._admitted[sender] >= self._limit_per_sender or self._admitted.total() >= self._limit:
            raise busy()
        self._admitted[sender] += 1

    def _leave(self, sender: str) -> None:
        with self._lock:
            self._admitted[sender] -= 1
            self._admitted += Counter()  # drops senders that have none

    def release(self, ticket: Ticket) -> None:
        self._leave(ticket.sender)

    def withdraw(self, ticket: Ticket) -> None:
        """Releases a request that is not answered after all."""
        with self._lock:
            if not ticket.is_repeated:
                self._replays.forget(ticket.key)
        self.release(ticket)

    async def answer(self, ticket: Ticket, compute: Callable[[], Awaitable[Reply]]) -> bytes:
        """The answer, from `compute` where none was given before. Raises Refused once the deadline has passed."""
        known = self._known(ticket)
        if known is not None:
            return known
        try:
            return self._remember(ticket, await compute())
        except BaseException:
            self._remember(ticket, Reply(b"", is_final=False))
            raise

    def answer_now(self, ticket: Ticket, compute: Callable[[], Reply]) -> bytes:
        """As `answer`, without asyncio; `compute` must not raise."""
        known = self._known(ticket)
        return known if known is not None else self._remember(ticket, compute())

    def _known(self, ticket: Ticket) -> bytes | None:
        if ticket.answer is not None:
            return ticket.answer
        with self._lock:
            if ticket.is_repeated:
                verdict = self._replays.begin(ticket.key, ticket.body)
                if isinstance(verdict, bytes):
                    return verdict
            if self._clock() > ticket.deadline:
                self._replays.forget(ticket.key)
                raise Refused("deadline", "the node was too busy to answer in time")
        return None

    def _remember(self, ticket: Ticket, reply: Reply) -> bytes:
        with self._lock:
            if reply.is_final:
                self._replays.finish(ticket.key, reply.data)
            else:
                self._replays.forget(ticket.key)
        return reply.data


def busy() -> Refused:
    return Refused("busy", "too many requests are waiting; try again soon")
