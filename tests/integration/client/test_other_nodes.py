"""What a node knows about the others that its Ably key can see."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from msgspec.structs import replace

from edge.configuration.settings import Settings
from edge.core.errors import DoorError
from query_service import api
from query_service.client.other_nodes import OtherNodes
from query_service.realtime.link import Link
from query_service.realtime.tokens import node_token
from tests.support.messaging.realtime import now


def test_each_other_node_has_a_row_and_one_that_does_not_answer_is_silent(fleet: Settings) -> None:
    async def run() -> None:
        token = node_token(fleet.ably.api_key, "attic", 60, now())
        link = Link(fleet.ably.endpoint, lambda: token, 60)
        await link.open()
        await link.enter("imhearing:nodes", {"node": "attic"})
        others = OtherNodes("porch", partial(api.connect_fleet, fleet))
        rows, again = await asyncio.gather(others.rows(), others.rows())
        assert [(row.node, row.state, row.waiting) for row in rows] == [
            ("attic", "silent", None),
            ("shed", "unknown", 3),
        ]
        await link.close()
        assert await others.rows() is rows is again  # nobody is queried again within half a minute

    asyncio.run(run())


def test_other_nodes_that_cannot_be_reached_are_an_error_each_time(fleet: Settings) -> None:
    unreachable = replace(fleet, ably=replace(fleet.ably, endpoint="127.0.0.1:9"))
    others = OtherNodes("porch", partial(api.connect_fleet, unreachable, timeout=1.0))

    async def run() -> None:
        for _ in range(2):
            with pytest.raises(DoorError):
                await others.rows()

    asyncio.run(run())
