"""Resumed connections and rewound channels: frame by frame, with no sockets."""

from __future__ import annotations

import pytest

from query_service.loopback.connections import ServerLimits
from query_service.loopback.protocol import Flag
from tests.unit.loopback.hub_world import REPLIES, Peer, World, data


def test_resume_delivers_missed_messages_in_order(world: World) -> None:
    ann, porch = world.client(), world.node()
    serial = ann.attach(REPLIES)[0]["channelSerial"]
    porch.publish(REPLIES, "0")
    serial = ann.read()[0]["channelSerial"]
    ann.lose()
    for text in "123":
        porch.publish(REPLIES, text)
    again = world.client(resume=ann.key)
    assert "error" not in again.greeting
    frames = again.attach(REPLIES, channelSerial=serial)
    assert frames[0]["flags"] & Flag.RESUMED
    assert frames[0]["channelSerial"] == serial
    assert data(frames) == ["1", "2", "3"]
    assert frames[-1]["channelSerial"] > serial


def test_reattaching_on_the_same_socket_delivers_nothing_twice(world: World) -> None:
    ann, porch = world.client(), world.node()
    serial = ann.attach(REPLIES)[0]["channelSerial"]
    porch.publish(REPLIES, "0")
    assert data(ann.read()) == ["0"]
    frames = ann.attach(REPLIES, channelSerial=serial)
    assert frames[0]["flags"] & Flag.RESUMED
    assert data(frames) == []


def test_a_connection_cannot_be_resumed_after_two_minutes(world: World) -> None:
    ann = world.client()
    ann.lose()
    world.advance(119)
    assert "error" not in world.client(resume=ann.key).greeting
    bob = world.client("bob")
    bob.lose()
    world.advance(121)
    again = world.client("bob", resume=bob.key)
    assert again.greeting["error"]["code"] == 80018
    assert again.greeting["connectionId"] != bob.connection.id


@pytest.mark.parametrize("way", ["resume", "recover"])
def test_each_socket_of_a_connection_gets_another_key_and_the_earlier_ones_still_work(world: World, way: str) -> None:
    def again(key: str) -> Peer:
        return world.client(resume=key) if way == "resume" else world.client(recover=key)

    first = world.client()
    second = again(first.key)
    third = again(first.key)  # as if the second had broken before its client read the new key
    fourth = again(second.key)
    peers = (first, second, third, fourth)
    assert len({peer.key for peer in peers}) == 4
    assert {peer.greeting["connectionId"] for peer in peers} == {first.connection.id}
    for key in (first.connection.id, f"{first.connection.id}!x-0", first.key.rpartition("-")[0], "", "!", "-"):
        assert again(key).greeting["connectionId"] != first.connection.id


def test_another_client_cannot_resume_a_connection(world: World) -> None:
    ann = world.client()
    ann.lose()
    assert world.client("bob", resume=ann.key).greeting["error"]["code"] == 80018


def test_a_second_socket_replaces_the_first(world: World) -> None:
    ann, porch = world.client(), world.node()
    serial = ann.attach(REPLIES)[0]["channelSerial"]
    again = world.client(resume=ann.key)
    assert ann.outbox.close_code == 1001
    ann.lose()  # the old socket ends afterwards: the new one stays
    again.attach(REPLIES, channelSerial=serial)
    porch.publish(REPLIES, "here")
    assert data(again.read()) == ["here"]


def test_rewind_delivers_earlier_messages(world: World) -> None:
    porch = world.node()
    for text in "123":
        porch.publish(REPLIES, text)
    frames = world.client().attach(REPLIES, params={"rewind": "2"})
    assert frames[0]["flags"] & Flag.HAS_BACKLOG
    assert frames[0]["params"] == {"rewind": "2"}
    assert data(frames) == ["2", "3"]
    assert data(world.client("ann").attach(REPLIES)) == []
    [error] = world.client().attach(REPLIES, params={"rewind": "soon"})
    assert (error["channel"], error["error"]["code"]) == (REPLIES, 40003)


def test_rewind_is_ignored_on_resume(world: World) -> None:
    world.node().publish(REPLIES, "old")
    for fields in ({"channelSerial": "0000000000000-000000000001"}, {"flags": int(Flag.ATTACH_RESUME)}):
        frames = world.client().attach(REPLIES, params={"rewind": "2"}, **fields)
        assert data(frames) == []
        assert not frames[0]["flags"] & Flag.RESUMED


def test_a_slow_reader_is_dropped_and_can_resume(world: World) -> None:
    world = World(queue_bytes=1_000)
    ann, porch = world.client(), world.node()
    serial = ann.attach(REPLIES)[0]["channelSerial"]
    for text in ("a" * 600, "b" * 600):
        porch.publish(REPLIES, text)
    assert ann.overflowed
    assert ann.read() == []
    ann.lose()
    world.limits = ServerLimits()
    again = world.client(resume=ann.key)
    assert data(again.attach(REPLIES, channelSerial=serial)) == ["a" * 600, "b" * 600]


def test_a_client_that_starts_again_recovers_its_connection(world: World) -> None:
    ann, porch = world.client(), world.node()
    serial = ann.attach(REPLIES)[0]["channelSerial"]
    porch.publish(REPLIES, "missed")
    again = world.client(recover=ann.key)
    assert again.greeting["connectionId"] == ann.connection.id
    assert "error" not in again.greeting
    assert ann.outbox.close_code == 1001
    frames = again.attach(REPLIES, channelSerial=serial)
    assert frames[0]["flags"] & Flag.RESUMED
    assert data(frames) == ["missed"]


def test_a_connection_that_cannot_be_recovered_is_replaced_by_a_new_one(world: World) -> None:
    ann = world.client()
    for key in ("_____!unknown", "rubbish"):
        greeting = world.client(recover=key).greeting
        assert greeting["error"]["code"] == 80018
        assert greeting["connectionId"] != ann.connection.id
