"""The `next` of an answer: the instant to go on from, bound to its request. Valid while new chunks arrive."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct

from edge import wire
from edge.instant import Instant
from query_service.protocol import RangeQuestion

_LAYOUT = struct.Struct(">q12s")


def make_cursor(question: RangeQuestion, position: Instant) -> str:
    """Text that `read_cursor` gives `position` for, with this question alone."""
    packed = _LAYOUT.pack(position, _digest(question, position))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_cursor(question: RangeQuestion) -> Instant | None:
    """Where the question's cursor goes on; None when it is made up, damaged, or of another question or node."""
    text = question.cursor or ""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        position, digest = _LAYOUT.unpack(packed)
    except (binascii.Error, struct.error, ValueError):
        return None
    if digest != _digest(question, Instant(position)):
        return None
    return Instant(position)


def _digest(question: RangeQuestion, position: Instant) -> bytes:
    # neither limit nor urls: both may change from page to page
    asked = (question.node, question.type, question.from_, question.to, int(position))
    return hashlib.blake2b(wire.encode(asked), digest_size=12).digest()
