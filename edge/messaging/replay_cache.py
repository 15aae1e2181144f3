"""Requests that arrive twice: the second gets the answer of the first. Bounded, and lost with the process."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal, NamedTuple

Key = tuple[str, str]  # sender (or verb) and request id
Verdict = Literal["new", "in_work", "other_body"]


class _Seen(NamedTuple):
    at: float  # monotonic
    digest: bytes
    answer: bytes | None


class ReplayCache:
    """Remembers the requests of the last `seconds` and their answers: at most `entries`, and about `answer_bytes`.

    A sender without an answer asks again within a minute or two; after that the request counts as new. One thread at a
    time.
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
        """Keeps the answer for when the request is repeated."""
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
