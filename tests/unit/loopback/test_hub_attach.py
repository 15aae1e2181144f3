"""Modes and parameters that clients request when they attach: frame by frame, with no sockets."""

from __future__ import annotations

from typing import Any

import pytest

from query_service.loopback.protocol import Action, Flag
from tests.unit.loopback.hub_world import World


def test_the_parameter_modes_selects_modes_and_overrides_flags(world: World) -> None:
    peer = world.keyholder()
    [attached] = peer.attach("a", params={"modes": "publish,presence"}, flags=int(Flag.SUBSCRIBE))
    assert attached["flags"] == Flag.PUBLISH | Flag.PRESENCE
    assert attached["params"] == {"modes": "publish,presence"}


def test_modes_that_this_server_does_not_have_are_not_replaced_by_all(world: World) -> None:
    annotation_subscribe = 1 << 22
    [error] = world.keyholder().attach("a", flags=annotation_subscribe)
    assert (error["action"], error["error"]["code"]) == (Action.ERROR, 40160)


@pytest.mark.parametrize(
    "params", [{"modes": "everything"}, {"modes": ""}, {"occupancy": "metrics"}, {"rewindLimit": 5}]
)
def test_a_parameter_that_cannot_be_applied_is_refused(world: World, params: Any) -> None:
    peer = world.keyholder()
    [error] = peer.attach("a", params=params)
    assert (error["channel"], error["error"]["code"]) == ("a", 40003)
    assert error["error"]["href"] == "https://help.ably.io/error/40003"
    assert peer.outbox.close_code is None


def test_unknown_parameters_are_not_confirmed(world: World) -> None:
    [attached] = world.keyholder().attach("a", params={"delta": "vcdiff", "unknown": 1})
    assert attached["action"] == Action.ATTACHED
    assert "params" not in attached
