"""Puts questions to a node through any door: page by page, and again while it is busy."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Protocol

from msgspec.structs import replace

from edge.errors import DoorError, QueryRefused
from query_service.protocol import (
    Answer,
    ArchivePlace,
    CoverageAnswer,
    ErrorAnswer,
    GoodAnswer,
    Interval,
    Overlapped,
    Request,
)

_BUSY_PAUSE = 0.2  # seconds, doubled each time


class Door(Protocol):
    """A way to one node. `ask` raises DoorError when it stays silent for `timeout` seconds."""

    @property
    def node(self) -> str: ...
    async def ask(self, request: Request, timeout: float) -> Answer: ...
    async def close(self) -> None: ...


async def ask(door: Door, request: Request, timeout: float = 10.0) -> GoodAnswer:
    """The answer, all pages in one; errors as for `query`. Of a coverage that is too long to hold, take `pages`."""
    if request.type != "coverage":
        return await ask_once(door, request, timeout)
    intervals: list[Interval] = []
    archives: dict[str, ArchivePlace] = {}
    overlapped: list[Overlapped] = []
    left_out = 0
    async for page in pages(door, request, timeout):
        last = page
        intervals += page.intervals
        archives |= page.archives
        overlapped += page.overlapped
        left_out += page.overlapped_left_out
    return replace(
        last,
        id=request.id,
        intervals=tuple(intervals),
        archives=archives,
        overlapped=tuple(overlapped),
        overlapped_left_out=left_out,
        next=None,
    )


async def pages(door: Door, request: Request, timeout: float = 10.0) -> AsyncIterator[CoverageAnswer]:
    """The answer page by page, each with an id of its own; `timeout` in seconds is for each."""
    while True:
        page = await ask_once(door, request, timeout)
        if not isinstance(page, CoverageAnswer):
            raise DoorError(f"node {door.node} answered a coverage question with {page.type}")
        yield page
        if page.next is None:
            return
        if page.next == request.cursor:
            raise DoorError(f"node {door.node} gives the same page again and again")
        request = replace(request, id=new_id(), cursor=page.next)


async def ask_once(door: Door, request: Request, timeout: float) -> GoodAnswer:
    """One page; a busy node is asked again until `timeout` seconds are over."""
    clock = asyncio.get_running_loop().time
    ends_at, pause = clock() + timeout, _BUSY_PAUSE
    while True:
        answer = await door.ask(request, max(0.1, ends_at - clock()))
        if not isinstance(answer, ErrorAnswer):
            return answer
        error = answer.error
        if error.code != "busy" or clock() + pause >= ends_at:
            raise QueryRefused(f"node {door.node}: {error.message}", error.code, error.field)
        await asyncio.sleep(pause)
        pause *= 2


def new_id() -> str:
    """A request's id: 96 random bits."""
    return secrets.token_urlsafe(12)
