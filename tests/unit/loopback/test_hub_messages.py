"""What clients may attach to and publish, and who receives it: frame by frame, with no sockets."""

from __future__ import annotations

import pytest

from query_service.loopback.protocol import Action, Flag
from tests.unit.loopback.hub_world import NODES, REPLIES, REQUESTS, Peer, World, actions, data


def test_the_connected_frame_contains_the_limits(world: World) -> None:
    greeting = world.client().greeting
    assert greeting["action"] == Action.CONNECTED
    details = greeting["connectionDetails"]
    assert details["connectionKey"].startswith(greeting["connectionId"] + "!")
    assert details | {"connectionKey": ""} == {
        "clientId": "ann",
        "connectionKey": "",
        "connectionStateTtl": 120_000,
        "maxIdleInterval": 15_000,
        "maxMessageSize": 65_536,
        "maxFrameSize": 262_144,
        "maxInboundRate": 50,
    }


def test_modes_follow_the_tokens_capability(world: World) -> None:
    ann, porch = world.client(), world.node()
    cases: list[tuple[Peer, str, int]] = [
        (ann, REQUESTS, Flag.PUBLISH),
        (ann, REPLIES, Flag.SUBSCRIBE | Flag.PRESENCE_SUBSCRIBE),
        (ann, NODES, Flag.SUBSCRIBE | Flag.PRESENCE_SUBSCRIBE),
        (porch, REPLIES, Flag.PUBLISH),
        (porch, NODES, Flag.PRESENCE | Flag.SUBSCRIBE | Flag.PRESENCE_SUBSCRIBE),
        (porch, REQUESTS, Flag.SUBSCRIBE | Flag.PRESENCE_SUBSCRIBE),
    ]
    for peer, channel, flags in cases:
        [attached] = peer.attach(channel)
        assert (attached["action"], attached["flags"]) == (Action.ATTACHED, flags)


@pytest.mark.parametrize("channel", ["imhearing:replies:bob", "imhearing:replies", "other", "imhearing:replies:*"])
def test_attach_without_capability_is_rejected(world: World, channel: str) -> None:
    [error] = world.client().attach(channel)
    assert (error["action"], error["channel"]) == (Action.ERROR, channel)
    assert (error["error"]["code"], error["error"]["statusCode"]) == (40160, 401)


def test_requesting_only_forbidden_modes_is_rejected(world: World) -> None:
    [error] = world.client().attach(REQUESTS, flags=int(Flag.SUBSCRIBE))
    assert error["error"]["code"] == 40160
    [attached] = world.keyholder().attach(REQUESTS, flags=int(Flag.SUBSCRIBE))
    assert attached["flags"] == Flag.SUBSCRIBE


def test_messages_are_stamped_by_the_server_not_by_the_client(world: World) -> None:
    ann, porch = world.client(), world.node()
    porch.attach(REQUESTS)
    claims = {
        "connectionId": "forged",
        "timestamp": 1,
        "serial": "s",
        "name": "query",
        "extras": {"headers": {"id": "7"}},
    }
    assert ann.publish(REQUESTS, "ping", **claims)["action"] == Action.ACK
    [frame] = porch.read()
    assert frame["messages"] == [
        {"name": "query", "data": "ping", "clientId": "ann", "extras": {"headers": {"id": "7"}}}
    ]
    assert frame["connectionId"] == ann.connection.id
    assert frame["timestamp"] == round(world.now * 1000)


@pytest.mark.parametrize("claimed", ["bob", "*", "porch"])
def test_publishing_under_another_client_id_is_rejected(world: World, claimed: str) -> None:
    nack = world.client().publish(REQUESTS, clientId=claimed)
    assert (nack["action"], nack["error"]["code"]) == (Action.NACK, 40012)


def test_publishing_requires_the_capability_attached_or_not(world: World) -> None:
    ann, bob = world.client(), world.client("bob")
    bob.attach("imhearing:replies:bob")
    for channel in ("imhearing:replies:bob", "imhearing:events:porch", NODES):
        assert ann.publish(channel)["error"]["code"] == 40160
    assert bob.read() == []
    keyholder = world.keyholder()
    keyholder.attach(REQUESTS, flags=int(Flag.SUBSCRIBE))
    assert keyholder.publish(REQUESTS)["error"]["code"] == 40160


def test_a_repeated_publish_takes_effect_once(world: World) -> None:
    ann, porch = world.client(), world.node()
    porch.attach(REQUESTS)
    assert ann.publish(REQUESTS, "one")["action"] == Action.ACK
    ann.lose()
    again = world.client(resume=ann.key)
    assert again.greeting["connectionId"] == ann.connection.id
    assert again.publish(REQUESTS, "one") == {"action": Action.ACK, "msgSerial": 0, "count": 1}
    assert data(porch.read()) == ["one"]


def test_a_repeated_rejected_publish_is_rejected_again(world: World) -> None:
    ann = world.client()
    assert ann.publish(REPLIES)["action"] == Action.NACK
    ann.lose()
    assert world.client(resume=ann.key).publish(REPLIES)["action"] == Action.NACK


def test_another_message_with_the_same_serial_is_published(world: World) -> None:
    ann, porch = world.client(), world.node()
    porch.attach(REQUESTS)
    ann.publish(REQUESTS, "one")
    ann.serial = 0
    ann.publish(REQUESTS, "two")
    assert data(porch.read()) == ["one", "two"]


def test_the_message_size_limit_is_ablys(world: World) -> None:
    ann = world.client()
    assert ann.publish(REQUESTS, "x" * 65_533)["action"] == Action.ACK  # with the 3 letters of `ann`
    assert ann.publish(REQUESTS, "x" * 65_534)["error"]["code"] == 40009
    empty = ann.send(Action.MESSAGE, channel=REQUESTS, msgSerial=9, messages=[])
    assert empty[0]["error"]["code"] == 40000


def test_the_message_rate_limit_is_ablys(world: World) -> None:
    ann = world.client()
    answers = [ann.publish(REQUESTS, str(index)) for index in range(51)]
    assert actions(answers) == [Action.ACK] * 50 + [Action.NACK]
    assert answers[-1]["error"]["code"] == 42911
    world.advance(1.0)
    assert ann.publish(REQUESTS)["action"] == Action.ACK


def test_the_message_rate_of_one_channel_is_limited(world: World) -> None:
    peers = [world.client(name) for name in ("ann", "bob")]
    answers = [peer.publish(REQUESTS, str(index)) for index in range(30) for peer in peers]
    refused = [answer["error"]["code"] for answer in answers if answer["action"] == Action.NACK]
    assert refused == [42910] * 10


def test_a_subscriber_above_its_rate_is_notified_of_dropped_messages(world: World) -> None:
    listener = world.keyholder(clientId="all")
    for channel in ("a", "b"):
        listener.attach(channel)
    for name in ("ann", "bob"):
        publisher = world.keyholder(clientId=name)
        for index in range(30):
            publisher.publish({"ann": "a", "bob": "b"}[name], str(index))
    frames = listener.read()
    assert len(data(frames)) == 50
    [output] = [frame for frame in frames if frame["action"] == Action.ATTACHED]
    assert (output["channel"], output["error"]["code"], output["flags"] & Flag.RESUMED) == ("b", 80020, 0)


def test_echo_can_be_disabled(world: World) -> None:
    loud, quiet = world.keyholder(), world.keyholder(echo="false")
    for peer in (loud, quiet):
        peer.attach("a")
    quiet.publish("a", "mine")
    assert data(quiet.read()) == []
    assert data(loud.read()) == ["mine"]


def test_detach_stops_delivery(world: World) -> None:
    ann, porch = world.client(), world.node()
    ann.attach(REPLIES)
    assert ann.send(Action.DETACH, channel=REPLIES) == [{"action": Action.DETACHED, "channel": REPLIES}]
    porch.publish(REPLIES)
    assert ann.read() == []
