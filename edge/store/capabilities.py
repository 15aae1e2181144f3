"""What a store need not offer, and what happens without it. `docs/storage.md` has the same table for people."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, TypeVar

from edge.core.errors import StoreBlocked

log = logging.getLogger(__name__)

T = TypeVar("T")
Operation = Literal["conditional_writes", "list_uploads", "list_parts", "tags", "multipart_tags", "ranges"]


class Fallback(NamedTuple):
    """What happens without an operation. `name`: the operation's, in S3's documentation."""

    name: str
    effect: str


FALLBACKS: dict[Operation, Fallback] = {
    "conditional_writes": Fallback("If-None-Match", "a HEAD precedes each upload instead"),
    "list_uploads": Fallback(
        "ListMultipartUploads",
        "an interrupted upload starts again from part 1, and a lifecycle rule of the bucket has to abort it",
    ),
    "list_parts": Fallback("ListParts", "an interrupted upload starts again from part 1"),
    "tags": Fallback("x-amz-tagging", "objects are stored without [s3] tags"),
    "multipart_tags": Fallback(
        "x-amz-tagging of multipart uploads", "archives above 8 MB are stored without [s3] tags"
    ),
    "ranges": Fallback("Range", "every read transfers the object up to the end of what is needed"),
}
# boto3's name of a header that a store may answer with 501, in the order in which they are left out
_HEADERS: dict[str, Operation] = {"IfNoneMatch": "conditional_writes", "Tagging": "tags"}


def is_unsupported(problem: StoreBlocked) -> bool:
    return problem.reason == "unsupported"


class Capabilities:
    """What the store at `place` has shown that it lacks: remembered until the process ends or `[s3]` changes."""

    def __init__(self, place: str) -> None:
        self._place = place
        self.missing: set[Operation] = set()
        self.has_multipart_tags = False  # once one was found with its tags

    def note_missing(self, operation: Operation) -> None:
        if operation not in self.missing:
            log.warning("%s: the store does not support %s: %s", self._place, *FALLBACKS[operation])
        self.missing = self.missing | {operation}

    @contextlib.contextmanager
    def optional(self, operation: Operation) -> Iterator[None]:
        """For a request that is `operation`. Raises StoreBlocked, `unsupported`, and no request is made again."""
        if operation in self.missing:
            raise StoreBlocked(f"{self._place}: the store does not support {FALLBACKS[operation].name}", "unsupported")
        try:
            yield
        except StoreBlocked as problem:
            if is_unsupported(problem):
                self.note_missing(operation)
            raise

    def write(
        self, options: dict[str, Any], send: Callable[[dict[str, Any]], T], refuse_existing: Callable[[], None]
    ) -> T:
        """`send` with those of `options` that the store supports. Without conditional writes, `refuse_existing` comes
        first. A header counts as not supported once the same request succeeds without it."""
        dropped: list[str] = []
        while True:
            sent = {name: value for name, value in options.items() if name not in dropped and self._may_send(name)}
            if "IfNoneMatch" in options and "IfNoneMatch" not in sent:
                refuse_existing()
            try:
                done = send(sent)
            except StoreBlocked as problem:
                header = next((name for name in _HEADERS if name in sent), None)
                if header is None or not is_unsupported(problem):
                    raise
                dropped.append(header)
            else:
                for header in dropped:
                    self.note_missing(_HEADERS[header])
                return done

    def _may_send(self, option: str) -> bool:
        return _HEADERS.get(option) not in self.missing
