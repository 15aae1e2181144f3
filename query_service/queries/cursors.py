"""The `next` of an answer: where to go on, bound to its request. Valid while new chunks arrive."""

from __future__ import annotations

import base64
import hashlib
from typing import TypeVar

from edge.core import wire
from edge.core.errors import QueryRefused, WireError
from edge.core.instant import Instant
from query_service.queries.protocol import RangeRequest, Request

_DIGEST = 12  # bytes
_FREE = ("v", "id", "node", "limit", "cursor", "urls")  # may change from page to page
_BOUND = tuple(name for name in Request.__struct_fields__ if name not in _FREE)

T = TypeVar("T")


class BadCursor(QueryRefused):
    """The cursor is made up, damaged, or belongs to another request or node."""

    def __init__(self) -> None:
        super().__init__("cursor is not the `next` of an answer to this request", "bad_request", "cursor")


def make_cursor(request: RangeRequest, place: object) -> str:
    """Text from which `read_cursor` reads `place`, with this request alone."""
    packed = wire.encode(place)
    return base64.urlsafe_b64encode(_digest(request, packed) + packed).decode().rstrip("=")


def read_cursor(request: RangeRequest, wanted: type[T]) -> T:
    """The place in the request's cursor. Raises BadCursor."""
    text = request.cursor or ""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if packed[:_DIGEST] != _digest(request, packed[_DIGEST:]):
            raise BadCursor
        return wire.decode(packed[_DIGEST:], wanted)
    except (ValueError, WireError):
        raise BadCursor from None


def start_of(request: RangeRequest) -> Instant:
    """Where the page begins, of answers in order of time. Raises BadCursor."""
    if request.cursor is None:
        return request.from_
    position = Instant(read_cursor(request, int))
    if not request.from_ <= position < request.to:
        raise BadCursor
    return position


def _digest(request: RangeRequest, packed: bytes) -> bytes:
    asked = (request.node, *(getattr(request, name) for name in _BOUND), packed)
    return hashlib.blake2b(wire.encode(asked), digest_size=_DIGEST).digest()
