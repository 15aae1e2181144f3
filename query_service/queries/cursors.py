"""The `next` of an answer: where to go on, bound to its question. Valid while new chunks arrive."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TypeVar

from edge.core import wire
from edge.core.errors import WireError
from edge.core.instant import Instant
from query_service.queries.protocol import RangeQuestion

_DIGEST = 12  # bytes

T = TypeVar("T")


class BadCursor(WireError):
    """The cursor is made up, damaged, or of another question or node."""

    def __init__(self) -> None:
        super().__init__("cursor is not one that an answer to this very question gave as `next`", "cursor")


def make_cursor(question: RangeQuestion, place: object) -> str:
    """Text that `read_cursor` gives `place` for, with this question alone."""
    packed = wire.encode(place)
    return base64.urlsafe_b64encode(_digest(question, packed) + packed).decode().rstrip("=")


def read_cursor(question: RangeQuestion, wanted: type[T]) -> T:
    """Where the question's cursor goes on. Raises BadCursor."""
    text = question.cursor or ""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if packed[:_DIGEST] != _digest(question, packed[_DIGEST:]):
            raise BadCursor
        return wire.decode(packed[_DIGEST:], wanted)
    except (binascii.Error, ValueError, WireError):
        raise BadCursor from None


def start_of(question: RangeQuestion) -> Instant:
    """Where a page that goes on by time begins. Raises BadCursor."""
    if question.cursor is None:
        return question.from_
    position = Instant(read_cursor(question, int))
    if not question.from_ <= position < question.to:
        raise BadCursor
    return position


def _digest(question: RangeQuestion, packed: bytes) -> bytes:
    # neither limit nor urls: both may change from page to page
    asked = (
        question.node,
        question.type,
        question.from_,
        question.to,
        question.order,
        question.min_level,
        question.step,
        packed,
    )
    return hashlib.blake2b(wire.encode(asked), digest_size=_DIGEST).digest()
