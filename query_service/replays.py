"""Requests that come twice: the second gets the first one's answer. Bounded; gone when the process ends."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Literal

from edge import wire
from query_service.protocol import Answer, ErrorAnswer, ErrorCode, refusal

Key = tuple[str, str]  # client id, request id
Verdict = Literal["new", "in_work", "other_body"]

_PASSING: tuple[ErrorCode, ...] = ("busy", "deadline", "internal")


def other_body(request_id: str, node: str) -> ErrorAnswer:
    """The answer to a request whose id stood for another one."""
    message = "id was used for another request; a new request needs a new one"
    return refusal(request_id, node, "bad_request", message, "id")


class Replays:
    """Remembers the last requests and their answers, at most `entries` and about `answer_bytes`."""

    def __init__(self, entries: int = 1_024, answer_bytes: int = 4_000_000) -> None:
        self._entries = entries
        self._room = answer_bytes
        self._seen: OrderedDict[Key, tuple[bytes, bytes | None]] = OrderedDict()

    def begin(self, key: Key, body: bytes) -> Verdict | bytes:
        """Whether to answer this request; the answer itself where it was given before."""
        digest = hashlib.blake2b(body, digest_size=16).digest()
        seen = self._seen.get(key)
        if seen is None:
            self._seen[key] = (digest, None)
            self._make_room()
            return "new"
        if seen[0] != digest:
            return "other_body"
        return "in_work" if seen[1] is None else seen[1]

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
        if seen is not None and seen[1] is None:
            self._seen[key] = (seen[0], answer)
            self._room -= len(answer)
            self._make_room()

    def forget(self, key: Key) -> None:
        """Nothing worth keeping was answered: asked again, it is a new request."""
        seen = self._seen.pop(key, None)
        self._room += len(seen[1] or b"") if seen else 0

    def _make_room(self) -> None:
        while len(self._seen) > self._entries or (self._room < 0 and len(self._seen) > 1):
            _, (_, answer) = self._seen.popitem(last=False)
            self._room += len(answer or b"")
