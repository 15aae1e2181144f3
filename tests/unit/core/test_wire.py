from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import wire
from edge.core.errors import WireError
from edge.core.instant import Instant
from edge.core.values import Chunk, Hole, PauseOrder
from tests.support.spool.chunks import make_chunk


def test_a_manifest_survives_a_json_round_trip() -> None:
    chunk = make_chunk(3)
    assert wire.decode(wire.encode(chunk), Chunk) == chunk
    assert wire.convert(wire.to_plain(chunk), Chunk) == chunk
    assert wire.decode(wire.encode_pretty(chunk), Chunk) == chunk


def test_instants_become_text_and_from_loses_its_underscore() -> None:
    assert wire.encode(Hole("crash", Instant(0), Instant(1))) == (
        b'{"cause":"crash","from":"1970-01-01T00:00:00.000000Z","to":"1970-01-01T00:00:00.000001Z"}'
    )


def test_unknown_fields_are_ignored() -> None:
    assert wire.decode(b'{"until": null, "mood": "good"}', PauseOrder) == PauseOrder()


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b'{"until": 5}', "until"),
        (b'{"until": "tomorrow"}', "until"),
        (b"[]", None),
        (b"{", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
    ],
)
def test_an_invalid_field_is_named(data: bytes, field: str | None) -> None:
    with pytest.raises(WireError) as caught:
        wire.decode(data, PauseOrder)
    assert caught.value.field == field


def test_a_missing_field_is_named() -> None:
    with pytest.raises(WireError) as caught:
        wire.decode(b'{"cause": "crash", "to": "2026-03-03T22:00:00Z"}', Hole)
    assert caught.value.field == "from"


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_wire_error(data: bytes) -> None:
    try:
        wire.decode(data, Chunk)
    except WireError:
        return
    raise AssertionError("rubbish was taken for a manifest")
