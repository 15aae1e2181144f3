"""The `next` of an answer: where to go on, bound to its request and signed. Valid while new chunks arrive."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TypeVar

from edge.core import wire
from edge.core.errors import QueryRefused, WireError
from edge.core.instant import Instant
from query_service.queries.protocol import RangeRequest, Request

_DIGEST = 16  # bytes
_FREE = ("v", "id", "node", "limit", "cursor", "urls")  # may change from page to page
_BOUND = tuple(name for name in Request.__struct_fields__ if name not in _FREE)

T = TypeVar("T")


class BadCursor(QueryRefused):
    """The cursor is made up, damaged, signed with another key, or belongs to another request or node."""

    def __init__(self) -> None:
        super().__init__("cursor is not the `next` of an answer to this request", "bad_request", "cursor")


class Cursors:
    """Makes and reads cursors. Nobody without the key can make one: what is in it needs no further checks."""

    def __init__(self, key: str) -> None:
        self._key = hashlib.blake2b(key.encode("utf-8", "surrogateescape")).digest()

    def make(self, request: RangeRequest, place: object) -> str:
        """Text from which `read` reads `place`, with this request alone."""
        packed = wire.encode(place)
        return base64.urlsafe_b64encode(self._signature(request, packed) + packed).decode().rstrip("=")

    def read(self, request: RangeRequest, wanted: type[T]) -> T:
        """The place in the request's cursor. Raises BadCursor."""
        text = request.cursor or ""
        try:
            packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            if not hmac.compare_digest(packed[:_DIGEST], self._signature(request, packed[_DIGEST:])):
                raise BadCursor
            return wire.decode(packed[_DIGEST:], wanted)
        except (ValueError, WireError):
            raise BadCursor from None

    def start_of(self, request: RangeRequest) -> Instant:
        """Where the page begins, of answers in order of time. Raises BadCursor."""
        return request.from_ if request.cursor is None else Instant(self.read(request, int))

    def _signature(self, request: RangeRequest, packed: bytes) -> bytes:
        signed = (request.node, *(getattr(request, name) for name in _BOUND), packed)
        return hashlib.blake2b(wire.encode(signed), key=self._key, digest_size=_DIGEST).digest()
