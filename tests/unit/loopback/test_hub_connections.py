"""Tokens, heartbeats, malformed frames and limits of connections: frame by frame, with no sockets."""

from __future__ import annotations

from typing import Any

import pytest

from query_service.loopback.protocol import MODES, Action, Flag, Refusal
from query_service.realtime import tokens
from query_service.realtime.tokens import client_token
from tests.unit.loopback.hub_world import KEY, REPLIES, REQUESTS, Peer, World, actions, data


def test_a_new_token_is_requested_and_can_remove_modes(world: World) -> None:
    ann = world.client(ttl=100)
    ann.attach(REPLIES)
    world.advance(69)
    assert Action.AUTH not in actions(ann.read())
    world.advance(1)
    assert Action.AUTH in actions(ann.read())
    world.advance(1)
    assert Action.AUTH not in actions(ann.read())  # once
    token = client_token(KEY, "ann", 1_000, world.instant)
    [connected] = ann.send(Action.AUTH, auth={"accessToken": token})
    assert connected["connectionId"] == ann.connection.id
    world.advance(100)
    assert ann.outbox.close_code is None


@pytest.mark.parametrize("ttl", [1, 5, 30])
def test_a_token_too_short_lived_to_be_renewed_ahead_simply_expires(world: World, ttl: int) -> None:
    ann = world.client(ttl=ttl)
    for _ in range(ttl - 1):
        world.advance(1)
    assert Action.AUTH not in actions(ann.read())
    world.advance(1)
    expired = ann.read()[-1]
    assert (expired["action"], expired["error"]["code"]) == (Action.DISCONNECTED, 40142)


def test_a_new_token_can_add_the_modes_that_were_requested(world: World) -> None:
    narrow, wide = ({"*": operations} for operations in (["publish"], ["publish", "subscribe", "presence"]))
    ann = Peer(world, {"accessToken": tokens._sign(KEY, "ann", narrow, 60, world.instant)})
    everything, publish_only = ann.attach("a"), ann.attach("b", flags=int(Flag.PUBLISH))
    assert everything[0]["flags"] == publish_only[0]["flags"] == Flag.PUBLISH
    world.keyholder().publish("a", "missed")
    token = tokens._sign(KEY, "ann", wide, 60, world.instant)
    _, attached = ann.send(Action.AUTH, auth={"accessToken": token})
    assert (attached["action"], attached["channel"]) == (Action.ATTACHED, "a")
    assert attached["flags"] == MODES  # not RESUMED: there was no subscription so far
    world.keyholder().publish("a", "heard")
    assert data(ann.read()) == ["heard"]
    renewed = tokens._sign(KEY, "ann", wide, 90, world.instant)
    assert actions(ann.send(Action.AUTH, auth={"accessToken": renewed})) == [Action.CONNECTED]


def test_an_expired_token_closes_the_socket(world: World) -> None:
    ann = world.client(ttl=100)
    world.advance(100)
    assert ann.read()[-1]["error"]["code"] == 40142
    assert ann.outbox.close_code == 1000
    again = world.client(resume=ann.key)
    assert again.greeting["connectionId"] == ann.connection.id


def test_a_new_token_can_detach_channels(world: World) -> None:
    keyholder = world.keyholder(clientId="ann")
    keyholder.attach(REPLIES)
    keyholder.attach("other")
    token = client_token(KEY, "ann", 1_000, world.instant)
    connected, *changes = keyholder.send(Action.AUTH, auth={"accessToken": token})
    assert connected["action"] == Action.CONNECTED
    by_channel = {change["channel"]: change for change in changes}
    assert by_channel["other"]["error"]["code"] == 40160
    assert by_channel[REPLIES]["flags"] == Flag.RESUMED | Flag.SUBSCRIBE | Flag.PRESENCE_SUBSCRIBE
    assert len(changes) == 2
    world.keyholder().publish("other", "secret")
    assert data(keyholder.read()) == []


@pytest.mark.parametrize("auth", [None, {"accessToken": "rubbish"}, "bob"])
def test_an_invalid_new_token_closes_the_socket(world: World, auth: Any) -> None:
    ann = world.client()
    if auth == "bob":
        auth = {"accessToken": client_token(KEY, "bob", 60, world.instant)}
    [error] = ann.send(Action.AUTH, auth=auth)
    assert error["action"] == Action.ERROR
    assert ann.outbox.close_code == 1008


def test_heartbeats_are_echoed_and_sent_when_idle(world: World) -> None:
    ann = world.client()
    assert ann.send(Action.HEARTBEAT, id="7") == [{"action": 0, "id": "7"}]
    world.advance(5)
    assert ann.read() == []
    world.advance(5)
    assert ann.read() == [{"action": 0}]


@pytest.mark.parametrize("raw", ["", "[]", '{"action":"x"}', b"\xff\x00", '{"action":15,"messages":7}'])
def test_malformed_frames_are_answered_with_an_error_and_a_close(world: World, raw: str | bytes) -> None:
    ann = world.client()
    world.hub.receive(ann.connection, raw)
    [error] = ann.read()
    assert (error["action"], error["error"]["code"]) == (Action.ERROR, 40000)
    assert ann.outbox.close_code == 1008


def test_unknown_actions_are_ignored(world: World) -> None:
    ann = world.client()
    assert ann.send(22, channel=REQUESTS) == ann.send(9_999) == ann.send(-1) == []
    assert ann.outbox.close_code is None


@pytest.mark.parametrize("action", [Action.OBJECT, Action.ANNOTATION])
def test_annotations_and_objects_are_refused(world: World, action: Action) -> None:
    [nack] = world.keyholder().send(action, channel="a", msgSerial=0)
    assert (nack["action"], nack["msgSerial"], nack["error"]["code"]) == (Action.NACK, 0, 40000)


def test_a_frame_that_names_neither_channel_nor_serial_is_an_error_of_the_connection(world: World) -> None:
    for fields in ({"action": Action.ATTACH}, {"action": Action.MESSAGE, "messages": []}):
        ann = world.client()
        [error] = ann.send(**fields)
        assert error["action"] == Action.ERROR
        assert ann.outbox.close_code == 1008


def test_a_flood_of_frames_closes_the_socket(world: World) -> None:
    ann = world.client()
    for _ in range(500):
        ann.send(Action.HEARTBEAT)
    assert ann.send(Action.HEARTBEAT)[0]["error"]["code"] == 42920
    assert ann.outbox.close_code == 1008


def test_connections_are_limited_and_lost_ones_are_evicted() -> None:
    world = World(connections=2)
    ann, bob = world.client(), world.client("bob")
    with pytest.raises(Refusal) as refused:
        world.client("cid")
    assert refused.value.info.code == 80021
    ann.lose()
    world.client("cid")
    assert world.client("bob", resume=bob.key).greeting["connectionId"] == bob.connection.id


def test_attachments_are_limited() -> None:
    world = World(attachments=1)
    keyholder = world.keyholder()
    keyholder.attach("a")
    assert keyholder.attach("b")[0]["error"]["code"] == 90010
    assert keyholder.attach("a")[0]["action"] == Action.ATTACHED
    keyholder.send(Action.DETACH, channel="a")
    assert keyholder.attach("b")[0]["action"] == Action.ATTACHED


def test_close_is_acknowledged_and_final(world: World) -> None:
    ann = world.client()
    assert ann.send(Action.CLOSE) == [{"action": Action.CLOSED}]
    assert ann.outbox.close_code == 1000
    assert world.client(resume=ann.key).greeting["error"]["code"] == 80018


def test_one_client_cannot_take_all_connections() -> None:
    world = World(connections=5, client_connections=2)
    first, second = world.client(), world.client()
    with pytest.raises(Refusal, match="at most 2 connections of one client") as refused:
        world.client()
    assert refused.value.info.code == 80021
    world.client("bob")
    world.node()
    second.lose()
    world.client()  # in place of the lost one
    assert first.outbox.close_code is None
    world.keyholder()


def test_clients_without_a_client_id_do_not_count_as_one_client() -> None:
    world = World(connections=4, client_connections=2)
    for _ in range(4):
        world.keyholder()
    with pytest.raises(Refusal, match="at most 4 connections"):
        world.keyholder()
