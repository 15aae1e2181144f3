from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import ids as names
from edge.core.instant import Instant

HOSTILE = ["", "..", "../x", "20261122T054408Z-k3f9-000000\n", "20261122T054408Z-k3f9-00000Z", "a/b", "x\0", "ＡＢＣ"]


@given(st.integers(0, 4_000_000_000_000_000), st.integers(0, 999_999))
def test_identifiers_match_their_patterns_and_can_be_parsed(micros: int, seq: int) -> None:
    stream_id = names.new_stream_id(Instant(micros))
    chunk_id = names.chunk_id(stream_id, seq)
    assert re.fullmatch(names.STREAM_PATTERN, stream_id)
    assert names.is_chunk_id(chunk_id)
    assert (names.stream_of(chunk_id), names.seq_of(chunk_id)) == (stream_id, seq)
    assert re.fullmatch(names.SOUND_PATTERN, names.sound_id(stream_id, seq))


def test_streams_started_at_the_same_time_get_different_ids() -> None:
    assert len({names.new_stream_id(Instant(0)) for _ in range(50)}) > 40


@pytest.mark.parametrize("text", HOSTILE)
def test_malformed_identifiers_are_rejected(text: str) -> None:
    assert not names.is_chunk_id(text)
    assert not names.is_node_name(text)


@given(st.text())
def test_any_host_name_becomes_a_valid_node_name(host: str) -> None:
    assert names.is_node_name(names.node_name_from_host(host))


def test_all_is_not_a_valid_node_name() -> None:
    assert not names.is_node_name("all")
    assert names.node_name_from_host("all") == "node"
