"""Values that several query types share: intervals, places of archives, refusals; and the limits of a message."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from edge.core.ids import ChunkId, NodeName, StreamId
from edge.core.instant import Instant
from edge.core.values import AudioFormat, Count, GoneCause, HoleCause, LevelUnit, Positive, Where
from edge.messaging.events import BUSY_SECONDS, ErrorBody

VERSION: Literal[1] = 1
MAX_REQUEST = 8_192  # bytes
MAX_ANSWER = 48_000  # bytes of one page: what a message of 64 KiB carries beside names, headers and base 64

ErrorCode = Literal["bad_request", "unknown_type", "forbidden", "busy", "deadline", "encrypted", "internal"]
RequestId = Annotated[str, Meta(min_length=1, max_length=128, description="Random, made by the client")]


class Cut(Struct, frozen=True):
    """Which frames of a chunk's file lie in an interval: skip `first`, take `frames`."""

    first: Count
    frames: Count


class Span(Struct, frozen=True, kw_only=True):
    """A stretch of time. `from` is inclusive, `to` exclusive."""

    from_: Instant = field(name="from")
    to: Instant


class _Chunked(Span, frozen=True, kw_only=True):
    """Time that a finished chunk covers. All but `from`, `to` and `cut` describe the whole chunk."""

    uncertain: bool  # the clock could not be trusted
    chunk_id: ChunkId
    rate: Positive
    channels: Positive
    format: AudioFormat
    first_frame: Count  # in its stream
    frames: Positive
    laeq: float | None
    lafmax: float | None
    unit: LevelUnit | None
    cut: Cut


class Recorded(_Chunked, frozen=True, kw_only=True, omit_defaults=True, tag_field="state", tag="recorded"):
    """Sound in the object store."""

    where: Where
    encrypted: bool = False


class Pending(_Chunked, frozen=True, kw_only=True, omit_defaults=True, tag_field="state", tag="pending"):
    """Sound in a finished chunk that is still on the node alone."""

    encrypted: bool = False


class Recording(Span, frozen=True, kw_only=True, tag_field="state", tag="recording"):
    """Sound that is not yet in a finished chunk."""

    uncertain: bool
    stream_id: StreamId


class Paused(Span, frozen=True, kw_only=True, tag_field="state", tag="paused"):
    """Not recorded, on request."""


class Gap(Span, frozen=True, kw_only=True, tag_field="state", tag="gap"):
    """Not recorded, and why."""

    cause: HoleCause


class Expired(Span, frozen=True, kw_only=True, tag_field="state", tag="expired"):
    """Recorded once, and let go since. `where`: the last place, if it ever left the node."""

    cause: GoneCause
    uncertain: bool
    chunk_id: ChunkId
    where: Where | None


class Future(Span, frozen=True, kw_only=True, tag_field="state", tag="future"):
    """Not yet: begins at the node's now."""


Interval = Recorded | Pending | Recording | Paused | Gap | Expired | Future


class Overlapped(Span, frozen=True, kw_only=True):
    """A part of a chunk that another one outdid: their clocks claimed the same time."""

    chunk_id: ChunkId
    uncertain: bool
    where: Where | None


class ArchivePlace(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an archive lies; `url`, if requested, works for nine tenths of `[query] url_seconds` at least."""

    s3: str
    bucket: str
    key: str
    url: str | None = None


class AnswerHead(Struct, frozen=True, kw_only=True):
    """What every answer begins with. `incomplete` is only there if something could not be read: with `spool`, sound
    that is on the node alone is missing, with `catalog`, sound that has left it; its time is a gap of cause `unknown`.
    """

    v: Literal[1] = VERSION
    id: str
    node: NodeName
    ok: Literal[True] = True
    incomplete: Literal["spool", "catalog"] | UnsetType = UNSET


class ErrorAnswer(Struct, frozen=True, kw_only=True):
    """`id` is empty where the request's own could not be read."""

    v: Literal[1] = VERSION
    id: str
    node: NodeName | None = None
    ok: Literal[False] = False
    error: ErrorBody


def why_incomplete(answer: AnswerHead) -> str:
    """Begins a sentence about an incomplete answer: what cannot be read, and which sound therefore ..."""
    if answer.incomplete == "catalog":
        return "the node cannot read its catalog until its archiver has started, so sound that it has uploaded"
    return "the node cannot read its spool, so sound that it has not uploaded"


def refusal(
    request_id: str,
    node: str,
    code: ErrorCode,
    message: str,
    at: str | None = None,
    *,
    retry_after: float = BUSY_SECONDS,
) -> ErrorAnswer:
    """An answer that says no: what is wrong, and `at` which field; if `busy`, when to repeat the request."""
    body = ErrorBody(code, message, at, retry_after if code == "busy" else UNSET)
    return ErrorAnswer(id=request_id, node=node, error=body)
