"""Bounds what a store can make us hold in memory: botocore reads answers whole, except for the body of an object."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, cast

from botocore.awsrequest import AWSResponse
from botocore.response import StreamingBody
from urllib3 import HTTPResponse

MAX_ANSWER = 2_000_000  # bytes; a page of 1,000 keys, each as long as S3 permits, takes 1.6 MB
_PIECE = 65_536


class AnswerTooLong(Exception):
    """Says that an answer is larger than any of S3's."""


class BoundedSession:
    """botocore's HTTP session, with a limit for all that is not the body of an object. Errors as botocore's, and
    AnswerTooLong."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.close: Callable[[], None] = session.close

    def send(self, request: Any) -> Any:
        is_object, request.stream_output = request.stream_output, True  # so that nothing is read yet
        answer = self._session.send(request)
        if is_object and answer.status_code < 300:
            return answer
        body = HTTPResponse(
            io.BytesIO(_read(answer.raw)),
            answer.headers,
            answer.status_code,
            preload_content=False,
            decode_content=False,
            enforce_content_length=False,  # the answer to a HEAD has a length, and no body
        )
        return AWSResponse(answer.url, answer.status_code, answer.headers, body)


def _read(raw: Any) -> bytes:
    found, unknown = bytearray(), cast(int, None)
    for piece in StreamingBody(raw, unknown).iter_chunks(_PIECE):
        found += piece
        if len(found) > MAX_ANSWER:
            raw.close()
            raise AnswerTooLong(f"the answer is longer than {MAX_ANSWER:,} bytes")
    return bytes(found)
