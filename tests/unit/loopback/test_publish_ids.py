"""A message published twice with one id is delivered once; ids are remembered for two minutes and within a limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query_service.loopback.protocol import AblyMessage, Action, Refusal
from query_service.loopback.publish_ids import PublishIds, publish_id
from tests.unit.loopback.hub_world import World, data


def test_a_repeated_message_id_is_acknowledged_and_delivered_once(world: World) -> None:
    listener, first, second = world.keyholder(), world.keyholder(), world.keyholder()
    listener.attach("a")
    for publisher in (first, second, first):
        assert publisher.publish("a", "once", id="unique")["action"] == Action.ACK
    first.publish("b", "elsewhere", id="unique")
    first.publish("a", "other", id="different")
    assert data(listener.read()) == ["once", "other"]
    world.advance(121)
    first.publish("a", "late", id="unique")
    assert data(listener.read()) == ["late"]


def test_a_refused_publish_does_not_use_up_its_id() -> None:
    world = World(message_rate=1.0)
    listener, publisher, other = world.keyholder(), world.keyholder(), world.keyholder()
    listener.attach("a")
    other.publish("a", "fills the rate")
    assert publisher.publish("a", "x", id="unique")["error"]["code"] == 42910
    listener.read()
    world.advance(2)
    assert publisher.publish("a", "x", id="unique")["action"] == Action.ACK
    assert data(listener.read()) == ["x"]


@pytest.mark.parametrize(
    "ids", [[""], ["x" * 300], ["a", "b"], ["a:0", None], ["a:0", "a:2"], [":0", ":1"], ["a:1", "a:0"]]
)
def test_ids_that_ably_would_refuse_are_refused(ids: list[str | None]) -> None:
    with pytest.raises(Refusal) as refused:
        publish_id([AblyMessage(id=each) for each in ids])
    assert refused.value.info.code == 40031


def test_the_id_of_a_publish_is_what_its_messages_share() -> None:
    assert publish_id([AblyMessage(), AblyMessage()]) is None
    assert publish_id([AblyMessage(id="a:0")]) == "a:0"
    assert publish_id([AblyMessage(id="a:0"), AblyMessage(id="a:1")]) == "a"


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 8)), max_size=60))
def test_repeats_are_recognised_within_the_time(publishes: list[tuple[str, str, int]]) -> None:
    ids, last, now = PublishIds(10.0, 100), dict[tuple[str, str], float](), 0.0
    for channel, key, pause in publishes:
        now += pause
        expected = (channel, key) in last and now - last[channel, key] < 10
        assert ids.is_repeat(channel, key, now) == expected
        if not expected:
            ids.add(channel, key, now)
            last[channel, key] = now


def test_the_oldest_ids_are_forgotten_first() -> None:
    ids = PublishIds(10.0, 2)
    for key in "xyz":
        ids.add("a", key, 0.0)
    assert [ids.is_repeat("a", key, 1.0) for key in "xyz"] == [False, True, True]
