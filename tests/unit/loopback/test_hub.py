"""The rules between connections and channels, frame by frame, with a clock in hand and no sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from edge.configuration.settings import Secret
from edge.core.instant import Instant
from query_service.loopback.auth import Authority
from query_service.loopback.connections import ServerLimits, SocketQueue
from query_service.loopback.hub import Hub
from query_service.loopback.protocol import Action, Flag, Refusal
from query_service.realtime import tokens
from query_service.realtime.tokens import client_token, node_token

KEY = Secret("app.key:0123456789abcdef0123456789abcdef")
REQUESTS, REPLIES, NODES = "imhearing:requests:porch", "imhearing:replies:ann", "imhearing:nodes"

Json = dict[str, Any]


class World:
    """A hub and the time in it."""

    def __init__(self, **limits: Any) -> None:
        self.now = 1_795_326_248.0
        self.limits = ServerLimits(**limits)
        self.hub = Hub(Authority(KEY), self.limits, clock=lambda: self.now, monotonic=lambda: self.now)

    @property
    def instant(self) -> Instant:
        return Instant.from_seconds(self.now)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.hub.tick()

    def client(self, name: str = "ann", ttl: int = 3_600, **query: str) -> Peer:
        return Peer(self, {"accessToken": client_token(KEY, name, ttl, self.instant), **query})

    def node(self, name: str = "porch", ttl: int = 3_600, **query: str) -> Peer:
        return Peer(self, {"accessToken": node_token(KEY, name, ttl, self.instant), **query})

    def keyholder(self, **query: str) -> Peer:
        return Peer(self, {"key": KEY.reveal(), **query})


class Peer:
    """A client: sends frames as JSON, reads what came."""

    def __init__(self, world: World, query: dict[str, str]) -> None:
        self.world = world
        self.overflowed = False
        self.outbox = SocketQueue(world.limits, self._overflow)
        self.connection = world.hub.connect(query, self.outbox)
        self.greeting = self.read()[0]
        self.serial = 0

    def _overflow(self) -> None:
        self.overflowed = True

    @property
    def key(self) -> str:
        return str(self.greeting["connectionDetails"]["connectionKey"])

    def read(self) -> list[Json]:
        return [json.loads(frame) for frame in self.outbox.take()]

    def send(self, action: int, **fields: Any) -> list[Json]:
        """Sends a frame; what came until now."""
        self.world.hub.receive(self.connection, json.dumps({"action": action, **fields}))
        return self.read()

    def attach(self, channel: str, **fields: Any) -> list[Json]:
        return self.send(Action.ATTACH, channel=channel, **fields)

    def publish(self, channel: str, data: Any = "x", **message: Any) -> Json:
        """The last frame that came: ACK or NACK."""
        self.serial += 1
        return self.send(
            Action.MESSAGE, channel=channel, msgSerial=self.serial - 1, messages=[{"data": data, **message}]
        )[-1]

    def enter(self, channel: str, action: int = 2, **member: Any) -> list[Json]:
        self.serial += 1
        return self.send(
            Action.PRESENCE, channel=channel, msgSerial=self.serial - 1, presence=[{"action": action, **member}]
        )

    def lose(self) -> None:
        self.world.hub.lost(self.connection, self.outbox)


def actions(frames: list[Json]) -> list[int]:
    return [frame["action"] for frame in frames]


def data(frames: list[Json]) -> list[Any]:
    return [message["data"] for frame in frames for message in frame.get("messages", [])]


@pytest.fixture
def world() -> World:
    return World()


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
    world.pass_time(1.0)
    assert ann.publish(REQUESTS)["action"] == Action.ACK


def test_rate_limit_of_one_channel(world: World) -> None:
    peers = [world.client(name) for name in ("ann", "bob")]
    answers = [peer.publish(REQUESTS, str(index)) for index in range(30) for peer in peers]
    refused = [answer["error"]["code"] for answer in answers if answer["action"] == Action.NACK]
    assert refused == [42910] * 10


def test_a_subscriber_above_its_rate_is_told_about_dropped_messages(world: World) -> None:
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
    world.pass_time(119)
    assert "error" not in world.client(resume=ann.key).greeting
    bob = world.client("bob")
    bob.lose()
    world.pass_time(121)
    again = world.client("bob", resume=bob.key)
    assert again.greeting["error"]["code"] == 80018
    assert again.greeting["connectionId"] != bob.connection.id


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


def test_presence_is_visible_to_permitted_clients_and_to_oneself(world: World) -> None:
    only_present = tokens._sign(KEY, "shed", {NODES: ["presence"]}, 60, world.instant)
    ann, porch, shed = world.client(), world.node(), Peer(world, {"accessToken": only_present})
    for peer in (ann, porch, shed):
        peer.attach(NODES)
    own = porch.enter(NODES, data='{"version":"1"}', encoding="json")
    assert actions(own) == [Action.PRESENCE, Action.ACK]
    [frame] = ann.read()
    [member] = frame["presence"]
    assert (member["clientId"], member["action"], member["data"]) == ("porch", 2, '{"version":"1"}')
    assert member["id"] == f"{porch.connection.id}:0:0"
    assert shed.read() == []  # it may be present, not look
    attached, sync = world.client("bob").attach(NODES)
    assert attached["flags"] & Flag.HAS_PRESENCE
    assert (sync["action"], sync["presence"][0]["action"], sync["presence"][0]["clientId"]) == (16, 1, "porch")


def test_a_client_cannot_impersonate_a_node(world: World) -> None:
    ann = world.client()
    ann.attach(NODES)
    assert ann.enter(NODES)[-1]["error"]["code"] == 40160
    assert world.node("shed").enter(NODES, clientId="porch")[-1]["error"]["code"] == 40012
    assert world.keyholder().enter(NODES)[-1]["error"]["code"] == 91000


@pytest.mark.parametrize("leave", [
    lambda porch: porch.enter(NODES, action=3),
    lambda porch: porch.send(Action.DETACH, channel=NODES),
    lambda porch: porch.send(Action.CLOSE),
    lambda porch: (porch.lose(), porch.world.pass_time(16)),
], ids=["leave", "detach", "close", "lost"])  # fmt: skip
def test_members_leave(world: World, leave: Callable[[Peer], object]) -> None:
    ann, porch = world.client(), world.node()
    for peer in (ann, porch):
        peer.attach(NODES)
    porch.enter(NODES)
    ann.read()
    leave(porch)
    left = [member for frame in ann.read() for member in frame.get("presence", [])]
    assert [(member["clientId"], member["action"]) for member in left] == [("porch", 3)]


def test_a_short_break_does_not_end_presence(world: World) -> None:
    ann, porch = world.client(), world.node()
    for peer in (ann, porch):
        peer.attach(NODES)
    member = porch.enter(NODES)[0]["presence"][0]
    ann.read()
    porch.lose()
    world.pass_time(10)
    again = world.node(resume=porch.key)
    again.attach(NODES)
    again.enter(NODES, id=member["id"])
    world.pass_time(20)
    seen = [item for frame in ann.read() for item in frame.get("presence", [])]
    assert [(item["action"], item["id"]) for item in seen] == [(2, member["id"])]  # the same entry: nothing new


def test_a_new_token_is_requested_and_can_remove_modes(world: World) -> None:
    ann = world.client(ttl=100)
    ann.attach(REPLIES)
    world.pass_time(69)
    assert Action.AUTH not in actions(ann.read())
    world.pass_time(1)
    assert Action.AUTH in actions(ann.read())
    world.pass_time(1)
    assert Action.AUTH not in actions(ann.read())  # once
    token = client_token(KEY, "ann", 1_000, world.instant)
    [connected] = ann.send(Action.AUTH, auth={"accessToken": token})
    assert connected["connectionId"] == ann.connection.id
    world.pass_time(100)
    assert ann.outbox.close_code is None


def test_an_expired_token_closes_the_socket(world: World) -> None:
    ann = world.client(ttl=100)
    world.pass_time(100)
    assert ann.read()[-1]["error"]["code"] == 40142
    assert ann.outbox.close_code == 1000
    again = world.client(resume=ann.key)
    assert again.greeting["connectionId"] == ann.connection.id


def test_a_new_token_can_detach_channels(world: World) -> None:
    keyholder = world.keyholder(clientId="ann")
    keyholder.attach(REPLIES)
    keyholder.attach("other")
    token = client_token(KEY, "ann", 1_000, world.instant)
    connected, error = keyholder.send(Action.AUTH, auth={"accessToken": token})
    assert connected["action"] == Action.CONNECTED
    assert (error["channel"], error["error"]["code"]) == ("other", 40160)
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
    world.pass_time(5)
    assert ann.read() == []
    world.pass_time(5)
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
    assert ann.send(21, channel=REQUESTS) == ann.send(9_999) == ann.send(-1) == []
    assert ann.outbox.close_code is None


def test_a_frame_without_a_channel_or_serial_is_an_error(world: World) -> None:
    for fields in ({"action": Action.ATTACH}, {"action": Action.MESSAGE, "channel": REQUESTS, "messages": []}):
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


def test_detach_stops_delivery(world: World) -> None:
    ann, porch = world.client(), world.node()
    ann.attach(REPLIES)
    assert ann.send(Action.DETACH, channel=REPLIES) == [{"action": Action.DETACHED, "channel": REPLIES}]
    porch.publish(REPLIES)
    assert ann.read() == []
