"""The other nodes that the Ably key can see, one row each. They are queried on demand, and at most twice a minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal

from msgspec import Struct

from edge.core.instant import Instant
from query_service.client.fleet import FleetClient, query_fleet
from query_service.queries.protocol import Request, new_id
from query_service.queries.status import StatusAnswer

_KEPT_SECONDS = 30.0
_ANSWER_SECONDS = 5.0
_MOST = 200


class NodeRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`silent`: it is present and did not answer in time; `refused`: it said why it cannot, in `message`."""

    node: str
    state: Literal["recording", "paused", "no_device", "disk_full", "stopped", "unknown", "silent", "refused"]
    since: Instant | None = None
    message: str | None = None
    waiting: int | None = None  # chunks
    disk_hours_left: float | None = None
    last_upload: Instant | None = None


class OtherNodes:
    """All nodes that are present, but for `node` itself. In one event loop."""

    def __init__(self, node: str, connect: Callable[[], AbstractAsyncContextManager[FleetClient]]) -> None:
        self._node = node
        self._connect = connect
        self._asking = asyncio.Lock()
        self._rows: tuple[NodeRow, ...] = ()
        self._asked_at = float("-inf")

    async def rows(self) -> tuple[NodeRow, ...]:
        """By name, at most 200. Raises DoorError."""
        async with self._asking:  # whoever comes meanwhile gets the same answer
            if time.monotonic() - self._asked_at >= _KEPT_SECONDS:
                self._rows = await self._ask()
                self._asked_at = time.monotonic()
            return self._rows

    async def _ask(self) -> tuple[NodeRow, ...]:
        async with self._connect() as client:
            found = await query_fleet(client, Request(id=new_id(), type="status"), _ANSWER_SECONDS)
        rows = [_row(name, answer) for name, answer in found.answers.items() if isinstance(answer, StatusAnswer)]
        rows += [NodeRow(node=name, state="refused", message=error.message) for name, error in found.refused.items()]
        rows += [NodeRow(node=name, state="silent") for name in found.silent]
        return tuple(sorted((row for row in rows if row.node != self._node), key=lambda row: row.node)[:_MOST])


def _row(name: str, status: StatusAnswer) -> NodeRow:
    recorder = status.recorder
    is_off = not recorder.alive and recorder.state != "stopped"
    return NodeRow(
        node=name,
        state="unknown" if is_off else recorder.state,
        since=recorder.since,
        waiting=status.spool.chunks if status.spool else None,
        disk_hours_left=status.disk_hours_left,
        last_upload=status.last_upload,
    )
