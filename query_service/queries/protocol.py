"""Queries on the wire: the request, the table of query types, and how both are read. The same through every door.

A new query type is declared in a file of its own, named here, and computed in `query_service.answer`.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal, TypedDict

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import asdict

from edge.core import wire
from edge.core.errors import WireError
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import Positive
from query_service.queries.clip import CLIP, ClipAnswer
from query_service.queries.coverage import COVERAGE, CoverageAnswer
from query_service.queries.days import DAYS, DaysAnswer
from query_service.queries.declaration import QueryType
from query_service.queries.extent import EXTENT, ExtentAnswer
from query_service.queries.levels import DEFAULT_STEP, LEVELS, LevelsAnswer
from query_service.queries.sounds import SOUNDS, SoundsAnswer
from query_service.queries.states import STATES, StatesAnswer
from query_service.queries.status import STATUS, StatusAnswer
from query_service.queries.values import MAX_REQUEST, VERSION, ErrorAnswer, Order, RequestId, refusal

DEFAULT_LIMIT = 500
_MOST_EXACT = 2**53  # of integers in a float

ZoneName = Annotated[str, Meta(pattern="^[A-Za-z][A-Za-z0-9_+/-]{0,63}$")]
QueryName = Literal["coverage", "states", "sounds", "levels", "days", "extent", "status", "clip"]
QUERY_TYPES: dict[str, QueryType[Any]] = {
    query_type.name: query_type for query_type in (COVERAGE, STATES, SOUNDS, LEVELS, DAYS, EXTENT, STATUS, CLIP)
}
PagedAnswer = CoverageAnswer | StatesAnswer | SoundsAnswer | LevelsAnswer | DaysAnswer
UnpagedAnswer = ExtentAnswer | StatusAnswer | ClipAnswer
GoodAnswer = PagedAnswer | UnpagedAnswer
Answer = GoodAnswer | ErrorAnswer


class Request(Struct, frozen=True, kw_only=True):
    """One question. `from` is inclusive, `to` exclusive; `status` and `extent` need neither."""

    v: Literal[1] = VERSION
    id: RequestId
    type: QueryName = "coverage"
    from_: Annotated[Instant, Meta(examples=["2026-03-03T22:00:00Z"])] | None = field(name="from", default=None)
    to: Annotated[Instant, Meta(examples=["2026-03-03T22:10:00Z"])] | None = None
    limit: Positive = DEFAULT_LIMIT  # intervals, stretches, sounds, steps or days of one page, at most
    cursor: Annotated[str, Meta(max_length=512)] | None = None
    urls: bool = True
    order: Order | None = None  # of sounds, null: loudest; of levels, null: time
    min_level: float | None = None  # LAFmax of sounds, dB
    step: Annotated[int, Meta(ge=1, le=86_400)] = DEFAULT_STEP  # of levels, seconds
    zone: ZoneName | None = None  # whose days, IANA; null: the node's


class RangeRequest(Request, frozen=True, kw_only=True):
    """A checked request about a range of time, and the node that answers it."""

    node: str
    from_: Instant = field(name="from")
    to: Instant


class Question(TypedDict, total=False):
    """The fields of a request as callers in Python name them. The range is [start, end), of all types but `status`
    and `extent`.

    `limit`: intervals, stretches, sounds, steps or days of one page; `urls`: with links to archives and clips, by
    default without; `order` of sounds and levels; `min_level` (LAFmax, dB) of sounds; `step` of levels, in seconds;
    `zone` of days, by default the node's.
    """

    type: QueryName
    start: Instant | None
    end: Instant | None
    limit: int
    urls: bool
    order: Order
    min_level: float | None
    step: int
    zone: str | None


def request_for(question: Question) -> Request:
    """The request, with an id of its own."""
    names = {"start": "from_", "end": "to"}
    fields: dict[str, Any] = {names.get(name, name): value for name, value in question.items()}
    return Request(**{"id": new_id(), "urls": False, **fields})


def new_id() -> str:
    """A request's id: 96 random bits."""
    return secrets.token_urlsafe(12)


def read_request(data: bytes | str, node: str, *, urls: bool = True) -> Request | ErrorAnswer:
    """The request that `data` holds, or what to answer instead: `bad_request` names the field, `unknown_type`.

    `urls`: the default for a request that does not set it.
    """
    if len(data) > MAX_REQUEST:
        return refusal("", node, "bad_request", f"the request is larger than {MAX_REQUEST} bytes")
    try:
        raw = wire.decode(data, dict[str, Any])
    except WireError as problem:
        return refusal("", node, "bad_request", f"the request is not a JSON object: {problem}")
    request_id = _readable_id(raw)
    kind = raw.get("type")
    if isinstance(kind, str) and kind not in QUERY_TYPES:
        return refusal(request_id, node, "unknown_type", f"type must be one of {', '.join(QUERY_TYPES)}", "type")
    try:
        request = wire.convert({"urls": urls, **_with_integers(raw)}, Request)
    except WireError as problem:
        return refusal(request_id, node, "bad_request", str(problem), problem.field)
    return _checked_range(request, node)


def _with_integers(raw: dict[str, Any]) -> dict[str, Any]:
    """The same fields; to JSON, 60.0 and 6e1 are the integer 60."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= _MOST_EXACT else value
        for name, value in raw.items()
    }


def _readable_id(raw: dict[str, Any]) -> str:
    try:
        return msgspec.convert(raw.get("id"), RequestId)
    except msgspec.ValidationError:
        return ""


def _checked_range(request: Request, node: str) -> Request | ErrorAnswer:
    if not QUERY_TYPES[request.type].has_range:
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


def range_request(request: Request, node: str) -> RangeRequest:
    """A request that `read_request` accepted, as one about a range."""
    if request.from_ is None or request.to is None:
        raise WireError("from and to are missing", "from")
    return RangeRequest(node=node, **asdict(request))


class _AnswerKind(Struct):
    ok: bool
    type: str = ""


def read_answer(data: bytes | bytearray | str) -> Answer:
    """The answer that `data` holds; WireError where it is not one."""
    plain = bytes(data) if isinstance(data, bytearray) else data
    kind = wire.decode(plain, _AnswerKind)
    if not kind.ok:
        return wire.decode(plain, ErrorAnswer)
    query_type = QUERY_TYPES.get(kind.type)
    if query_type is None:
        raise WireError(f"type: this version knows no such answer: {kind.type[:40]!r}", "type")
    answer: Answer = wire.decode(plain, query_type.answer)
    return answer
