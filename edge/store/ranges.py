"""The bytes that were requested by range, from any store."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


def is_whole_object(found: Any) -> bool:
    """Whether the answer to a range request is the whole object, as of a store without ranges (RFC 9110, 14.2)."""
    return (
        found["ResponseMetadata"]["HTTPStatusCode"] == 200 and "ContentRange" not in found
    )  # rclone sends 200 with it


def requested_bytes(found: Any, offset: int, length: int, most: int) -> Iterator[bytes]:
    """[offset, offset + length) of an object, at most `most` at a time, from the answer to a range request.

    Where the answer is that range, all of it is given; where it is the whole object, what is before is skipped.
    """
    is_whole = is_whole_object(found)
    skip, left = (offset, length) if is_whole else (0, sys.maxsize)
    with contextlib.closing(found["Body"]) as body:
        for piece in body.iter_chunks(most):
            wanted = piece[skip : skip + left]
            skip, left = max(0, skip - len(piece)), left - len(wanted)
            if wanted:
                yield wanted
            if not left:
                return
