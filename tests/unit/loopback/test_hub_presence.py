"""Who is present: frame by frame, with no sockets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from query_service.loopback.protocol import Action, Flag, Refusal
from query_service.realtime import tokens
from tests.unit.loopback.hub_world import KEY, NODES, Peer, World, actions


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
    lambda porch: (porch.lose(), porch.world.advance(16)),
], ids=["leave", "detach", "close", "lost"])  # fmt: skip
def test_a_leaving_member_is_announced(world: World, leave: Callable[[Peer], object]) -> None:
    ann, porch = world.client(), world.node()
    for peer in (ann, porch):
        peer.attach(NODES)
    porch.enter(NODES)
    ann.read()
    leave(porch)
    left = [member for frame in ann.read() for member in frame.get("presence", [])]
    assert [(member["clientId"], member["action"]) for member in left] == [("porch", 3)]


def test_a_client_can_request_the_members_again(world: World) -> None:
    ann, porch = world.client(), world.node()
    for peer in (ann, porch):
        peer.attach(NODES)
    assert ann.send(Action.SYNC, channel=NODES) == [{"action": Action.SYNC, "channel": NODES, "presence": []}]
    porch.enter(NODES)
    ann.read()
    [sync] = ann.send(Action.SYNC, channel=NODES)
    assert [(member["clientId"], member["action"]) for member in sync["presence"]] == [("porch", 1)]
    [error] = world.client("bob").send(Action.SYNC, channel=NODES)
    assert (error["action"], error["channel"], error["error"]["code"]) == (Action.ERROR, NODES, 40000)


@pytest.mark.parametrize(("choice", "present", "left"), [("0", 0, 1), ("1000", 1, 2), ("60000", 59, 61)])
def test_a_client_chooses_how_long_it_remains_present_without_a_socket(
    world: World, choice: str, present: int, left: int
) -> None:
    ann, porch = world.client(), world.node(remainPresentFor=choice)
    for peer in (ann, porch):
        peer.attach(NODES)
    porch.enter(NODES)
    ann.read()
    porch.lose()
    world.advance(present)
    assert [frame for frame in ann.read() if "presence" in frame] == []
    world.advance(left - present)
    assert [member["action"] for frame in ann.read() for member in frame.get("presence", [])] == [3]


@pytest.mark.parametrize("choice", ["soon", "", "-1", "1.5", "120001"])
def test_a_client_cannot_remain_present_for_longer_than_it_could_resume(world: World, choice: str) -> None:
    with pytest.raises(Refusal, match="remainPresentFor must be 0 to 120000") as refused:
        world.node(remainPresentFor=choice)
    assert refused.value.info.code == 40003


def test_a_short_break_does_not_end_presence(world: World) -> None:
    ann, porch = world.client(), world.node()
    for peer in (ann, porch):
        peer.attach(NODES)
    member = porch.enter(NODES)[0]["presence"][0]
    ann.read()
    porch.lose()
    world.advance(10)
    again = world.node(resume=porch.key)
    again.attach(NODES)
    again.enter(NODES, id=member["id"])
    world.advance(20)
    seen = [item for frame in ann.read() for item in frame.get("presence", [])]
    assert [(item["action"], item["id"]) for item in seen] == [(2, member["id"])]  # the same entry: nothing new
