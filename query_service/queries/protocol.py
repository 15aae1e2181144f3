"""Questions and answers: the same JSON through every door. Whatever cannot be read gets an answer that says why."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct, field

from edge.core import wire
from edge.core.errors import WireError
from edge.core.ids import ArchiveId, ChunkId, NodeName, SoundId, StreamId
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import AudioFormat, Count, HoleCause, LevelUnit, Positive, Sha256, Where
from edge.messaging.events import ErrorBody

VERSION: Literal[1] = 1
MAX_REQUEST = 8_192  # bytes
MAX_ANSWER = 48_000  # bytes of one page: what a message of 64 KiB carries beside names, headers and base 64
DEFAULT_LIMIT = 500
DEFAULT_STEP = 60  # seconds

QuestionType = Literal["coverage", "sounds", "levels", "status", "clip"]
SoundOrder = Literal["loudest", "time"]
ErrorCode = Literal[
    "bad_request", "unknown_type", "unknown_node", "forbidden", "busy", "deadline", "encrypted", "internal"
]
ExpiredCause = Literal["quiet", "dropped", "lifecycle", "erased"]
RequestId = Annotated[str, Meta(min_length=1, max_length=128, description="Random, made by the client")]
TYPES: tuple[str, ...] = get_args(QuestionType)
UNPAGED = ("status", "clip")


class Request(Struct, frozen=True, kw_only=True):
    """One question. `from` is inclusive, `to` exclusive; `status` needs neither."""

    v: Literal[1] = VERSION
    id: RequestId
    type: QuestionType = "coverage"
    from_: Instant | None = field(name="from", default=None)
    to: Instant | None = None
    limit: Positive = DEFAULT_LIMIT  # intervals, sounds or steps of one page, at most
    cursor: Annotated[str, Meta(max_length=512)] | None = None
    urls: bool = True
    order: SoundOrder = "loudest"  # of sounds
    min_level: float | None = None  # LAFmax of sounds, dB
    step: Annotated[int, Meta(ge=1, le=86_400)] = DEFAULT_STEP  # of levels, seconds


class RangeQuestion(Struct, frozen=True, kw_only=True):
    """A request about a range of time, checked, and the node it is put to."""

    id: str
    node: str
    type: QuestionType
    from_: Instant
    to: Instant
    limit: int
    cursor: str | None
    urls: bool
    order: SoundOrder = "loudest"
    min_level: float | None = None
    step: int = DEFAULT_STEP  # seconds


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
    """Not recorded because somebody asked for it."""


class Gap(Span, frozen=True, kw_only=True, tag_field="state", tag="gap"):
    """Not recorded, and why."""

    cause: HoleCause


class Expired(Span, frozen=True, kw_only=True, tag_field="state", tag="expired"):
    """Recorded once, and let go since. `where`: the last place, if it ever left the node."""

    cause: ExpiredCause
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
    """Where an archive lies; `url` works for `[query] url_seconds`, where it was asked for."""

    s3: str
    bucket: str
    key: str
    url: str | None = None


class _Answer(Struct, frozen=True, kw_only=True):
    v: Literal[1] = VERSION
    id: str
    node: NodeName
    ok: Literal[True] = True


class CoverageAnswer(_Answer, frozen=True, kw_only=True):
    """The intervals tile [from, to) of the request, or, page by page, from where `cursor` stood to `next`."""

    type: Literal["coverage"] = "coverage"
    from_: Instant = field(name="from")
    to: Instant
    intervals: tuple[Interval, ...]
    archives: dict[ArchiveId, ArchivePlace]
    overlapped: tuple[Overlapped, ...] = ()
    overlapped_left_out: Count = 0  # more of them than one message carries
    next: str | None = None


class Sound(Struct, frozen=True, kw_only=True):
    """One sound that began in the range. `chunk_id`: where it begins; `fetch` its times to hear it.

    Levels in `unit`, of the loudest and of all of it; `to` is null while it lasts.
    """

    sound_id: SoundId
    from_: Instant = field(name="from")
    to: Instant | None
    lafmax: float
    laeq: float
    unit: LevelUnit | None
    state: Literal["recorded", "pending", "expired"]
    uncertain: bool
    chunk_id: ChunkId
    where: Where | None


class SoundsAnswer(_Answer, frozen=True, kw_only=True):
    """The sounds that began in [from, to), the loudest first or in order of time. Any page may be empty."""

    type: Literal["sounds"] = "sounds"
    from_: Instant = field(name="from")
    to: Instant
    sounds: tuple[Sound, ...]
    archives: dict[ArchiveId, ArchivePlace]
    next: str | None = None


class LevelStep(Span, frozen=True, kw_only=True):
    """Levels of one step, from the one-second LAeq of `seconds` seconds that were recorded in it; null without any.

    `laeq` is their energy mean, `l10` to `l90` what they exceed 10 to 90 % of the time, `laeq_max` the greatest.
    `lafmax` is null where a chunk with part of it reaches beyond the step. `unit` is null, as are the levels, where
    calibrated and uncalibrated ones meet.
    """

    seconds: Count
    unit: LevelUnit | None
    laeq: float | None
    laeq_max: float | None
    lafmax: float | None
    l10: float | None
    l50: float | None
    l90: float | None


class LevelsAnswer(_Answer, frozen=True, kw_only=True):
    """Steps of `step` seconds from `from` on, the last one cut at `to`; those without sound are left out."""

    type: Literal["levels"] = "levels"
    from_: Instant = field(name="from")
    to: Instant
    step: Positive
    levels: tuple[LevelStep, ...]
    next: str | None = None


class RecorderReport(Struct, frozen=True, kw_only=True):
    """`alive`: it wrote within the last ten seconds, or waits as its state says. Its process may outlive it."""

    state: Literal["recording", "paused", "no_device", "disk_full", "stopped", "unknown"]
    since: Instant | None
    until: Instant | None = None  # when a pause ends by itself
    alive: bool
    stream_id: StreamId | None
    device: str | None
    rate: int | None
    channels: int | None


class Backlog(Struct, frozen=True):
    """Finished chunks in the spool."""

    chunks: Count
    bytes: Count
    unknown_to_catalog: Count | None  # null while the catalog cannot be read


class LastChunk(Struct, frozen=True, kw_only=True):
    chunk_id: ChunkId
    ended_at: Instant


class ClockReport(Struct, frozen=True, kw_only=True):
    uncertain: bool
    measured_rate: float | None  # frames per second of the sound card, against the clock


class StatusAnswer(_Answer, frozen=True, kw_only=True):
    """How the node is."""

    type: Literal["status"] = "status"
    at: Instant
    version: str
    uptime: float  # seconds that the query service has run
    recorder: RecorderReport
    spool: Backlog
    disk_free: Count | None  # bytes
    last_chunk: LastChunk | None
    clock: ClockReport | None
    catalog: Literal["ready", "busy"]


class Clip(Struct, frozen=True, kw_only=True):
    """One sound file made for a range; `url` works for `[query] url_seconds`."""

    s3: str
    bucket: str
    key: str
    url: str | None
    format: Literal["flac"] = "flac"
    bytes: Count
    sha256: Sha256
    rate: Positive
    channels: Positive
    frames: Count  # silence where there is no sound included


class ClipAnswer(_Answer, frozen=True, kw_only=True):
    """The sound of [from, to) as one exact file. `holes`: where it is silent because nothing is there, and why."""

    type: Literal["clip"] = "clip"
    from_: Instant = field(name="from")
    to: Instant
    clip: Clip
    holes: tuple[Interval, ...] = ()
    holes_left_out: Count = 0  # more of them than one message carries


class ErrorAnswer(Struct, frozen=True, kw_only=True):
    """`id` is empty where the request's own could not be read."""

    v: Literal[1] = VERSION
    id: str
    node: NodeName | None = None
    ok: Literal[False] = False
    error: ErrorBody


PagedAnswer = CoverageAnswer | SoundsAnswer | LevelsAnswer
UnpagedAnswer = StatusAnswer | ClipAnswer
GoodAnswer = PagedAnswer | UnpagedAnswer
Answer = GoodAnswer | ErrorAnswer
ANSWERS: dict[str, type[GoodAnswer]] = {
    "coverage": CoverageAnswer,
    "sounds": SoundsAnswer,
    "levels": LevelsAnswer,
    "status": StatusAnswer,
    "clip": ClipAnswer,
}


class _Head(Struct):
    ok: bool
    type: str = ""


def read_request(data: bytes | str, node: str, *, urls: bool = True) -> Request | ErrorAnswer:
    """The request that `data` holds, or what to answer instead: `bad_request` names the field, `unknown_type`.

    `urls`: whether one that does not say so wants links.
    """
    if len(data) > MAX_REQUEST:
        return refusal("", node, "bad_request", f"the request is larger than {MAX_REQUEST} bytes")
    try:
        raw = wire.decode(data, dict[str, Any])
    except WireError as problem:
        return refusal("", node, "bad_request", f"the request is no JSON object: {problem}")
    request_id = _readable_id(raw)
    kind = raw.get("type")
    if isinstance(kind, str) and kind not in TYPES:
        return refusal(request_id, node, "unknown_type", f"type must be one of {', '.join(TYPES)}", "type")
    try:
        request = wire.convert({"urls": urls, **raw}, Request)
    except WireError as problem:
        return refusal(request_id, node, "bad_request", str(problem), problem.field)
    return _checked_range(request, node)


def _readable_id(raw: dict[str, Any]) -> str:
    try:
        return msgspec.convert(raw.get("id"), RequestId)
    except msgspec.ValidationError:
        return ""


def _checked_range(request: Request, node: str) -> Request | ErrorAnswer:
    if request.type == "status":
        return request
    for name, value in (("from", request.from_), ("to", request.to)):
        if value is None:
            return refusal(
                request.id, node, "bad_request", f"{name} is missing: a time like 2026-03-03T22:00:00Z", name
            )
        if not FIRST <= value <= LAST:
            return refusal(request.id, node, "bad_request", f"{name} must lie in the years 1 to 9999", name)
    if request.from_ is not None and request.to is not None and request.from_ >= request.to:
        return refusal(request.id, node, "bad_request", "from must be before to", "from")
    return request


def range_question(request: Request, node: str) -> RangeQuestion:
    """A request that `read_request` let pass, as one about a range."""
    if request.from_ is None or request.to is None:
        raise WireError("from and to are missing", "from")
    return RangeQuestion(
        id=request.id,
        node=node,
        type=request.type,
        from_=request.from_,
        to=request.to,
        limit=request.limit,
        cursor=request.cursor,
        urls=request.urls,
        order=request.order,
        min_level=request.min_level,
        step=request.step,
    )


def refusal(request_id: str, node: str, code: ErrorCode, message: str, at: str | None = None) -> ErrorAnswer:
    """An answer that says no: what is wrong, and `at` which field."""
    return ErrorAnswer(id=request_id, node=node, error=ErrorBody(code, message, at))


def read_answer(data: bytes | bytearray | str) -> Answer:
    """The answer that `data` holds; WireError where it is none."""
    plain = bytes(data) if isinstance(data, bytearray) else data
    head = wire.decode(plain, _Head)
    if not head.ok:
        return wire.decode(plain, ErrorAnswer)
    wanted = ANSWERS.get(head.type)
    if wanted is None:
        raise WireError(f"type: no answer that this version knows: {head.type[:40]!r}", "type")
    return wire.decode(plain, wanted)
