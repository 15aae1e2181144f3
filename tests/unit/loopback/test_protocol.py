"""Any received bytes give a frame or a refusal; sent frames are equivalent in both encodings."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from query_service.loopback.inbound import decode
from query_service.loopback.protocol import (
    AblyMessage,
    Action,
    Format,
    Frame,
    Presence,
    PresenceMessage,
    Refusal,
    as_bytes,
    as_text,
    encode,
    size_of,
)

FORMATS: tuple[Format, ...] = ("json", "msgpack")
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = ["action", "channel", "msgSerial", "messages", "presence", "flags", "params", "auth", "name", "data", "extras"]
parts = st.dictionaries(st.sampled_from([*names, "encoding"]), plain | st.just("base64"), max_size=5)
frames = st.dictionaries(st.sampled_from(names), plain | st.lists(parts, max_size=2), max_size=8).map(
    lambda fields: {**fields, "action": 15}
)
messages = st.builds(
    AblyMessage,
    name=st.none() | st.text(max_size=20),
    data=st.none() | st.text(max_size=50) | st.binary(max_size=50),
    encoding=st.none() | st.sampled_from(["json", "utf-8"]),
    client_id=st.none() | st.text(max_size=10),
    extras=st.none() | st.dictionaries(st.text(max_size=5), st.integers(-(2**31), 2**31) | st.text(), max_size=3),
)


@given(st.binary(max_size=300) | st.text(max_size=300), st.sampled_from(FORMATS))
def test_random_bytes_are_decoded_or_refused(raw: bytes | str, form: Format) -> None:
    with contextlib.suppress(Refusal):
        assert isinstance(decode(raw, form).action, int)


@given(frames)
def test_frames_with_wrong_types_are_refused_or_can_be_encoded(fields: dict[str, Any]) -> None:
    try:
        raw = msgspec.msgpack.encode(fields)
    except (OverflowError, ValueError):
        return
    try:
        frame = decode(raw, "msgpack")
        for message in frame.messages or []:
            whole = as_bytes(message)
            size_of(whole)
            encode(Frame(action=15, messages=[whole]), "json")
            encode(Frame(action=15, messages=[whole]), "msgpack")
    except Refusal:
        return


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"action":"15"}',
        '{"action":15,"messages":{}}',
        '{"action":15,"messages":[1]}',
        '{"action":15,"msgSerial":-1}',
        '{"action":15,"msgSerial":1e400}',
        '{"action":15,"msgSerial":99999999999999999999999}',
        '{"action":10,"params":{"rewind":[1]}}',
        '{"action":0,"id":"' + "x" * 300 + '"}',
        '{"action":15,"messages":' + "[" * 100_000,
        '{"action":15,"channel":"\\ud800"}',
        '{"action":15,"messages":[{"data":' + "9" * 5_000 + "}]}",
    ],
)
def test_malformed_json_is_refused(raw: str) -> None:
    with pytest.raises(Refusal, match="malformed frame"):
        decode(raw, "json")


def test_text_on_a_binary_connection_is_refused() -> None:
    with pytest.raises(Refusal, match="msgpack"):
        decode('{"action":0}', "msgpack")


@given(messages)
def test_json_and_msgpack_carry_the_same_message(message: AblyMessage) -> None:
    frame = Frame(action=Action.MESSAGE, channel="c", messages=[message])
    binary = msgspec.msgpack.decode(bytes(encode(frame, "msgpack")))  # type: ignore[arg-type]
    text = json.loads(encode(frame, "json"))
    sent = msgspec.convert(text["messages"][0], AblyMessage)
    assert as_bytes(sent) == message
    assert msgspec.convert(binary["messages"][0], AblyMessage) == message
    assert binary["action"] == text["action"] == 15


@given(messages)
def test_a_message_survives_a_base64_round_trip(message: AblyMessage) -> None:
    assert as_bytes(as_text(message)) == message
    assert size_of(as_bytes(as_text(message))) == size_of(message)


@pytest.mark.parametrize("data", ["not base64!", "YWJ", None, 5])
def test_invalid_base64_is_refused(data: object) -> None:
    with pytest.raises(Refusal) as caught:
        as_bytes(AblyMessage(data=data, encoding="json/base64"))
    assert caught.value.info.code == 40013


def test_message_size_is_counted_as_ably_counts_it() -> None:
    message = AblyMessage(
        name="answer", data=b"x" * 100, client_id="ann", extras={"headers": {"id": "1"}}, id="ignored"
    )
    assert size_of(message) == 6 + 100 + 3 + len('{"headers":{"id":"1"}}')
    assert size_of(AblyMessage(data="ü")) == 2


@pytest.mark.parametrize("data", [{"a": 1}, [1], 5, True])
def test_data_that_is_neither_text_nor_bytes_is_refused(data: object) -> None:
    with pytest.raises(Refusal) as caught:
        size_of(AblyMessage(data=data))
    assert caught.value.info.code == 40013


@pytest.mark.parametrize("value", [2**70, -(2**70)])
def test_extras_that_one_encoding_cannot_carry_are_refused(value: int) -> None:
    with pytest.raises(Refusal) as caught:
        size_of(AblyMessage(extras={"headers": {"n": value}}))
    assert caught.value.info.code == 40013


def test_presence_bytes_are_base64_encoded_in_json() -> None:
    frame = Frame(action=Action.SYNC, presence=[PresenceMessage(action=Presence.PRESENT, data=b"\x00\xff")])
    sent = json.loads(encode(frame, "json"))["presence"][0]
    assert sent == {"action": 1, "data": base64.b64encode(b"\x00\xff").decode(), "encoding": "base64"}
