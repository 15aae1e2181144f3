"""Any request gets an answer or an error that says why; answers survive encoding."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import wire
from edge.core.errors import WireError
from edge.core.instant import Instant
from edge.core.values import Where
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import Request, read_answer, read_request
from query_service.queries.values import (
    MAX_REQUEST,
    ArchivePlace,
    Cut,
    ErrorAnswer,
    Expired,
    Future,
    Gap,
    Overlapped,
    Paused,
    Pending,
    Recorded,
    Recording,
    refusal,
)

GOOD: dict[str, Any] = {
    "v": 1,
    "id": "abcdefghijk",
    "type": "coverage",
    "from": "2026-03-03T22:00:00Z",
    "to": "2026-03-03T22:10:00+00:00",
    "limit": 500,
    "cursor": None,
    "urls": True,
}


def read(**changes: Any) -> Request | ErrorAnswer:
    return read_request(json.dumps({**GOOD, **changes}), "porch")


def test_a_complete_request_is_parsed_and_encodes_back() -> None:
    request = read()
    assert isinstance(request, Request)
    assert str(request.from_) == "2026-03-03T22:00:00.000000Z"
    assert read_request(wire.encode(request), "porch") == request


def test_optional_fields_of_a_request_may_be_omitted() -> None:
    short = {name: GOOD[name] for name in ("id", "from", "to")}
    request = read_request(json.dumps(short), "porch")
    assert request == read()
    assert isinstance(read_request(b'{"id": "x", "type": "status"}', "porch"), Request)
    assert isinstance(read(comment="unknown fields are ignored"), Request)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"v": 2}, "v"),
        ({"id": ""}, "id"),
        ({"id": 7}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"type": None}, "type"),
        ({"from": None}, "from"),
        ({"from": "yesterday"}, "from"),
        ({"from": 0}, "from"),
        ({"from": "2026-03-03T22:00:00"}, "from"),
        ({"from": "0001-01-01T00:00:00+14:00"}, "from"),
        ({"to": "9999-12-31T23:59:59-14:00"}, "to"),
        ({"to": None}, "to"),
        ({"to": "2026-03-03T22:00:00Z"}, "from"),
        ({"to": "2026-03-03T21:00:00Z"}, "from"),
        ({"limit": 0}, "limit"),
        ({"limit": -1}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"cursor": 1}, "cursor"),
        ({"cursor": "x" * 513}, "cursor"),
        ({"urls": "yes"}, "urls"),
    ],
)
def test_an_invalid_request_is_answered_with_the_field(changes: dict[str, Any], field: str) -> None:
    answer = read(**changes)
    assert isinstance(answer, ErrorAnswer)
    assert (answer.error.code, answer.error.field) == ("bad_request", field)
    assert answer.id == ("" if field == "id" else GOOD["id"])
    assert read_answer(wire.encode(answer)) == answer


def test_an_unknown_query_type_has_its_own_error_code() -> None:
    answer = read(type="weather")
    assert isinstance(answer, ErrorAnswer)
    assert (answer.error.code, answer.error.field, answer.id) == ("unknown_type", "type", GOOD["id"])


def test_a_huge_limit_is_accepted() -> None:
    assert isinstance(read(limit=10**9), Request)


@pytest.mark.parametrize("number", ["60.0", "6e1", "600E-1"])
def test_an_integer_may_be_written_with_a_decimal_point_or_exponent(number: str) -> None:
    """As in JSON Schema, and as some languages do."""
    for field in ("limit", "step"):
        request = read_request(f'{{"id": "a", "type": "status", "{field}": {number}}}', "porch")
        assert isinstance(request, Request)
        assert getattr(request, field) == 60
        assert type(getattr(request, field)) is int


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"id": "\xff"}', b"[" * 5_000, b'"id"'])
def test_a_payload_that_is_not_an_object_is_answered_without_an_id(data: bytes) -> None:
    answer = read_request(data, "porch")
    assert isinstance(answer, ErrorAnswer)
    assert (answer.id, answer.error.code) == ("", "bad_request")


def test_an_oversized_request_is_refused_without_parsing() -> None:
    answer = read_request(json.dumps({**GOOD, "padding": "x" * MAX_REQUEST}), "porch")
    assert isinstance(answer, ErrorAnswer)
    assert answer.error.code == "bad_request"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), anything), st.booleans())
def test_any_json_gives_a_request_or_one_clear_error(changes: dict[str, Any], complete: bool) -> None:
    data = json.dumps({**GOOD, **changes} if complete else changes)
    answer = read_request(data, "porch")
    if isinstance(answer, ErrorAnswer):
        assert answer.error.code in {"bad_request", "unknown_type"}
        assert answer.error.message
        assert read_answer(wire.encode(answer)) == answer


@given(st.binary(max_size=200))
def test_random_bytes_are_answered_with_an_error(data: bytes) -> None:
    assert isinstance(read_request(data, "porch"), ErrorAnswer)


def chunked(**more: Any) -> dict[str, Any]:
    return {
        "from_": Instant(0),
        "to": Instant(10),
        "uncertain": True,
        "chunk_id": "20260303T220000Z-abcd-000000",
        "rate": 48_000,
        "channels": 1,
        "format": "flac",
        "first_frame": 5,
        "frames": 6,
        "laeq": -40.5,
        "lafmax": None,
        "unit": "dBFS",
        "cut": Cut(1, 2),
        **more,
    }


WHERE = Where("20260303T220000Z-abcd-000000-0123abcd", "20260303T220000Z-abcd-000000.flac", 60, 70, "0" * 64)
SPAN = {"from_": Instant(0), "to": Instant(10)}
INTERVALS = (
    Recorded(**chunked(where=WHERE)),
    Recorded(**chunked(where=WHERE, encrypted=True)),
    Pending(**chunked()),
    Recording(**SPAN, uncertain=False, stream_id="20260303T220000Z-abcd"),
    Paused(**SPAN),
    Gap(**SPAN, cause="device_lost"),
    Expired(**SPAN, cause="erased", uncertain=False, chunk_id="20260303T220000Z-abcd-000000", where=WHERE),
    Expired(**SPAN, cause="quiet", uncertain=False, chunk_id="20260303T220000Z-abcd-000000", where=None),
    Future(**SPAN),
)


def test_an_answer_survives_encoding_and_decoding() -> None:
    answer = CoverageAnswer(
        id="x",
        node="porch",
        from_=Instant(0),
        to=Instant(10),
        intervals=INTERVALS,
        archives={WHERE.archive: ArchivePlace(s3="s3://b/k", bucket="b", key="k", url="https://b/k")},
        overlapped=(Overlapped(**SPAN, chunk_id="20260303T220000Z-abcd-000000", uncertain=True, where=WHERE),),
        next="more",
    )
    assert read_answer(wire.encode(answer)) == answer
    assert read_answer(bytearray(wire.encode(answer))) == answer


def test_a_recorded_interval_has_the_documented_fields() -> None:
    plain = wire.to_plain(INTERVALS[0])
    assert plain == {
        "state": "recorded",
        "from": "1970-01-01T00:00:00.000000Z",
        "to": "1970-01-01T00:00:00.000010Z",
        "uncertain": True,
        "chunk_id": "20260303T220000Z-abcd-000000",
        "rate": 48_000,
        "channels": 1,
        "format": "flac",
        "first_frame": 5,
        "frames": 6,
        "laeq": -40.5,
        "lafmax": None,
        "unit": "dBFS",
        "cut": {"first": 1, "frames": 2},
        "where": {
            "archive": WHERE.archive,
            "member": WHERE.member,
            "offset": 60,
            "length": 70,
            "sha256": "0" * 64,
        },
    }
    states = [wire.to_plain(interval)["state"] for interval in INTERVALS]
    assert states == ["recorded"] * 2 + ["pending", "recording", "paused", "gap", "expired", "expired", "future"]


def test_an_error_has_the_documented_fields() -> None:
    plain = wire.to_plain(refusal("x", "porch", "bad_request", "from must be before to", "from"))
    assert plain == {
        "v": 1,
        "id": "x",
        "node": "porch",
        "ok": False,
        "error": {"code": "bad_request", "message": "from must be before to", "field": "from"},
    }


@pytest.mark.parametrize("data", [b"", b"{}", b'{"ok": true}', b'{"ok": true, "type": "song"}', b'{"ok": false}'])
def test_a_malformed_answer_is_rejected(data: bytes) -> None:
    with pytest.raises(WireError):
        read_answer(data)


EXTENT: dict[str, Any] = {
    "v": 1, "id": "a", "node": "porch", "ok": True, "type": "extent",
    "from": "2026-03-03T22:00:00Z", "to": "2026-03-03T22:10:00Z", "seconds": {"recorded": 600.0}, "gaps": 0,
    "sounds": 0, "levels": [], "archives": 1, "bytes": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    "lie",
    [
        {"to": None},
        {"from": None},
        {"seconds": {"recorded": 1e300}},
        {"seconds": {"recorded": -1e300}},
        {"seconds": {"gap": {"power": 1e300}}},
        {"seconds": {"expired": {"quiet": -1.0}}},
    ],
)
def test_an_answer_that_no_calendar_can_hold_is_refused(lie: dict[str, Any]) -> None:
    read_answer(json.dumps(EXTENT))
    with pytest.raises(WireError):
        read_answer(json.dumps({**EXTENT, **lie}))
