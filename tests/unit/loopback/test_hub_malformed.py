"""A malformed field fails the operation it belongs to, and never the connection: frame by frame, with no sockets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from query_service.loopback.protocol import Action, Flag
from tests.unit.loopback.hub_world import Json, Peer, World, data

ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
VALID: dict[Action, Json] = {
    Action.HEARTBEAT: {"id": "7"},
    Action.ATTACH: {"channel": "a", "channelSerial": None, "flags": 0, "params": {"rewind": "1"}},
    Action.DETACH: {"channel": "a"},
    Action.SYNC: {"channel": "a"},
    Action.MESSAGE: {"channel": "a", "msgSerial": 5, "messages": [{"name": "n", "data": "d", "clientId": "ann"}]},
    Action.PRESENCE: {"channel": "a", "msgSerial": 5, "presence": [{"action": 2, "clientId": "ann", "data": "d"}]},
}


def odd_fields(action: Action) -> st.SearchStrategy[Json]:
    """A frame with some of its fields, or some of its message's fields, replaced by anything."""
    valid = VALID[action]
    parts = {name: value[0] for name, value in valid.items() if isinstance(value, list)}
    outer = st.dictionaries(st.sampled_from(["messages", "auth", *valid]), ODD, max_size=3)
    inner = st.dictionaries(st.sampled_from(["id", "encoding", "extras", "name", "action", "clientId"]), ODD)
    inside = inner.map(lambda odd: {name: [{**part, **odd}] for name, part in parts.items()})
    return st.builds(lambda out, within: {**valid, **within, **out, "action": action}, outer, inside)


@pytest.mark.parametrize("value", [1, 1.0, True, 2.5, None])
def test_channel_parameters_may_be_numbers_and_booleans(world: World, value: Any) -> None:
    node = world.node()
    for text in "123":
        node.publish("imhearing:replies:ann", text)
    ann = world.client()
    frames = ann.attach("imhearing:replies:ann", params={"rewind": value, "other": value})
    assert ann.outbox.close_code is None
    if value == 1 and value is not True:
        assert frames[0]["params"] == {"rewind": "1"}
        assert data(frames) == ["3"]
    elif value is None:
        assert (frames[0]["action"], data(frames)) == (Action.ATTACHED, [])
    else:
        assert (frames[0]["channel"], frames[0]["error"]["code"]) == ("imhearing:replies:ann", 40003)


@pytest.mark.parametrize(
    "fields",
    [
        {"params": {"rewind": [1]}},
        {"params": "rewind=1"},
        {"flags": "publish"},
        {"flags": -1},
        {"channelSerial": 7},
    ],
)
def test_a_malformed_attach_fails_its_channel_only(world: World, fields: Json) -> None:
    ann = world.keyholder()
    ann.attach("b")
    [error] = ann.attach("a", **fields)
    assert (error["action"], error["channel"], error["error"]["code"]) == (Action.ERROR, "a", 40000)
    assert_unharmed(ann)


@pytest.mark.parametrize("action", [Action.MESSAGE, Action.PRESENCE])
@pytest.mark.parametrize("body", [7, "x", {}, [7], [{"name": 5}], [{"clientId": 5}], [{"extras": "x"}], [{"id": []}]])
def test_a_malformed_publish_is_answered_with_a_nack(world: World, action: Action, body: Any) -> None:
    ann = world.keyholder(clientId="ann")
    ann.attach("b")
    kind = "messages" if action == Action.MESSAGE else "presence"
    if body == [{"name": 5}] and action == Action.PRESENCE:
        body = [{"encoding": 5, "action": 2}]
    [nack] = ann.send(action, channel="a", msgSerial=3, **{kind: body})
    assert (nack["action"], nack["msgSerial"], nack["count"]) == (Action.NACK, 3, 1)
    assert nack["error"]["code"] == 40000
    assert_unharmed(ann)


def test_a_publish_without_a_usable_serial_fails_its_channel(world: World) -> None:
    for serial in (None, "3", -1, 2**53, 1.5):
        ann = world.keyholder()
        ann.attach("b")
        [error] = ann.send(Action.MESSAGE, channel="a", msgSerial=serial, messages=[{"data": "x"}])
        assert (error["action"], error["channel"], error["error"]["code"]) == (Action.ERROR, "a", 40000)
        assert_unharmed(ann)


@pytest.mark.parametrize("channel", [7, True, 1.5])
def test_a_channel_name_that_is_no_text_fails_that_channel(world: World, channel: Any) -> None:
    ann = world.keyholder()
    ann.attach("b")
    [error] = ann.send(Action.ATTACH, channel=channel)
    assert (error["channel"], error["error"]["code"]) == ({True: "true"}.get(channel, str(channel)), 40000)
    [nack] = ann.send(Action.MESSAGE, channel=channel, msgSerial=0, messages=[{"data": "x"}])
    assert (nack["action"], nack["error"]["code"]) == (Action.NACK, 40000)
    assert_unharmed(ann)


@pytest.mark.parametrize("id_", [7, [], {}, True, "x" * 300])
def test_a_malformed_heartbeat_is_answered_with_an_error_in_a_heartbeat(world: World, id_: Any) -> None:
    ann = world.keyholder()
    ann.attach("b")
    [answer] = ann.send(Action.HEARTBEAT, id=id_)
    assert (answer["action"], answer["error"]["code"]) == (Action.HEARTBEAT, 40000)
    assert_unharmed(ann)


def test_fields_that_an_operation_does_not_use_cannot_fail_it(world: World) -> None:
    ann = world.keyholder()
    assert ann.send(Action.HEARTBEAT, messages=7, channel=[], id="7") == [{"action": Action.HEARTBEAT, "id": "7"}]
    assert ann.send(Action.ATTACH, channel="a", presence=1, msgSerial="x", auth=0)[0]["action"] == Action.ATTACHED
    assert ann.send(Action.DETACH, channel="a", params=1)[0]["action"] == Action.DETACHED
    assert ann.send(Action.CLOSE, id=[], channel=7) == [{"action": Action.CLOSED}]


@given(st.sampled_from(sorted(VALID)).flatmap(odd_fields), st.sampled_from(["json", "msgpack"]))
def test_no_field_of_an_addressed_frame_can_end_the_connection(fields: Json, form: str) -> None:
    world = World()
    ann = world.keyholder(clientId="ann")
    ann.attach("b")
    encode = msgspec.json.encode if form == "json" else msgspec.msgpack.encode
    decode: Any = msgspec.json.decode if form == "json" else msgspec.msgpack.decode
    ann.connection.form = "json" if form == "json" else "msgpack"
    try:
        raw = encode(fields)
    except (OverflowError, ValueError):
        return
    world.hub.receive(ann.connection, raw.decode() if form == "json" else raw)
    answers = [decode(frame) for frame in ann.outbox.take()]
    assert answers
    names_an_operation = isinstance(fields.get("channel"), str | int | float) or fields["action"] == Action.HEARTBEAT
    serial = fields.get("msgSerial")
    has_serial = fields["action"] in (Action.MESSAGE, Action.PRESENCE) and type(serial) is int and 0 <= serial < 2**53
    if names_an_operation or has_serial:
        assert ann.outbox.close_code is None
        ann.connection.form = "json"
        assert_unharmed(ann)


def assert_unharmed(peer: Peer) -> None:
    """The connection is open, and its attachment to `b` delivers."""
    assert peer.outbox.close_code is None
    other = peer.world.keyholder()
    other.publish("b", "still here")
    [frame] = [frame for frame in peer.read() if frame["action"] == Action.MESSAGE]
    assert (frame["channel"], data([frame])) == ("b", ["still here"])
    assert peer.attach("c", flags=int(Flag.SUBSCRIBE))[0]["action"] == Action.ATTACHED
