"""Requests that come twice: the second gets the first one's answer. Bounded; gone after minutes or with the process."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal, NamedTuple

from edge.core import wire
from query_service.queries.protocol import Answer
from query_service.queries.values import ErrorAnswer, ErrorCode, refusal

Key = tuple[str, str]  # client id, request id
Verdict = Literal["new", "in_work", "other_body"]

_PASSING: tuple[ErrorCode, ...] = ("busy", "deadline", "internal")


def other_body(request_id: str, node: str) -> ErrorAnswer:
    """The answer to a request whose id stood for another one."""
    message = "id was used for another request; a new request needs a new one"
    return refusal(request_id, node, "bad_request", message, "id")


class _Seen(NamedTuple):
    at: float  # monotonic
    digest: bytes
    answer: bytes | None


class Replays:
    """Remembers the requests of the last `seconds` and their answers, at most `entries` and about `answer_bytes`.

    Who got no answer asks again within a minute or two; after that it is computed again, which harms nobody.
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

    def settle(self, key: Key, answer: Answer) -> bytes:
        """The answer's bytes, kept for those who ask again; not of a trouble that passes: that is a new request."""
        data = wire.encode(answer)
        if isinstance(answer, ErrorAnswer) and answer.error.code in _PASSING:
            self.forget(key)
        else:
            self.finish(key, data)
        return data

    def finish(self, key: Key, answer: bytes) -> None:
        """Keeps the answer for those who ask again."""
        seen = self._seen.get(key)
        if seen is not None and seen.answer is None:
            self._seen[key] = seen._replace(answer=answer)
            self._room -= len(answer)
            self._make_room()

    def forget(self, key: Key) -> None:
        """Nothing worth keeping was answered: asked again, it is a new request."""
        seen = self._seen.pop(key, None)
        self._room += len(seen.answer or b"") if seen else 0

    def _make_room(self) -> None:
        while self._seen and (len(self._seen) > self._entries or self._room < 0 or self._is_over()):
            _, seen = self._seen.popitem(last=False)
            self._room += len(seen.answer or b"")

    def _is_over(self) -> bool:
        return next(iter(self._seen.values())).at < self._clock() - self._seconds
