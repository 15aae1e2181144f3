"""Puts questions to a node through any door: page by page, and again while it is busy."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Protocol

from msgspec.structs import replace

from edge.core.backoff import Backoff
from edge.core.errors import DoorError, QueryRefused
from edge.core.instant import Instant
from query_service.queries.protocol import (
    UNPAGED,
    Answer,
    CoverageAnswer,
    ErrorAnswer,
    GoodAnswer,
    LevelsAnswer,
    PagedAnswer,
    Request,
    SoundsAnswer,
    UnpagedAnswer,
)

_BUSY_RETRY = 0.2  # seconds before a busy node is asked again the first time


class Door(Protocol):
    """A way to one node. `ask` raises DoorError when it stays silent for `timeout` seconds."""

    @property
    def node(self) -> str: ...
    async def ask(self, request: Request, timeout: float) -> Answer: ...
    async def close(self) -> None: ...


async def ask(door: Door, request: Request, timeout: float = 10.0) -> GoodAnswer:
    """The answer, all pages in one; errors as for `query`. Of an answer that is too long to hold, take `pages`."""
    if request.type in UNPAGED:
        return await ask_once(door, request, timeout)
    answered = [page async for page in pages(door, request, timeout)]
    return joined(request, answered)


async def pages(
    door: Door, request: Request, timeout: float = 10.0, reached: Instant | None = None
) -> AsyncIterator[PagedAnswer]:
    """The answer page by page, each with an id of its own; `timeout` in seconds is for each.

    DoorError where the pages do not fit the question. `reached`: where those before `request.cursor` ended, if known.
    """
    cursors = {request.cursor}
    if request.cursor is None:
        reached = request.from_
    while True:
        page = await ask_once(door, request, timeout)
        if isinstance(page, UnpagedAnswer) or page.type != request.type:
            raise DoorError(f"node {door.node} answered a question of type {request.type} with {page.type}")
        if isinstance(page, CoverageAnswer):
            reached = tiled_until(door.node, request, page, reached)
        yield page
        if page.next is None:
            return
        if page.next in cursors:
            raise DoorError(f"node {door.node} gives the same page again and again")
        cursors.add(page.next)
        request = replace(request, id=new_id(), cursor=page.next)


def tiled_until(node: str, request: Request, page: CoverageAnswer, reached: Instant | None) -> Instant:
    """Where `page` ends. DoorError unless its intervals go on from `reached` without holes, in the range that was asked
    for: whoever writes sound by them would otherwise never come to an end.
    """
    if request.from_ is None or request.to is None:
        raise DoorError(f"node {node} answered a question without a range with one")
    for interval in page.intervals:
        begins = interval.from_ == reached or (reached is None and request.from_ <= interval.from_)
        if not begins or not interval.from_ < interval.to <= request.to:
            raise DoorError(
                f"node {node} gave an answer that does not fit the question: an interval from {interval.from_} to"
                f" {interval.to}, where one from {reached or request.from_} on, to {request.to} at most, was due"
            )
        reached = interval.to
    if not page.intervals or reached is None:
        raise DoorError(f"node {node} gave a page of an answer with nothing in it")
    if (page.next is None) != (reached == request.to):
        raise DoorError(f"node {node} gave an answer that ends at {reached}, not at {request.to}")
    return reached


async def coverage_pages(door: Door, request: Request, timeout: float = 10.0) -> AsyncIterator[CoverageAnswer]:
    """As `pages`, of a coverage question."""
    async for page in pages(door, request, timeout):
        if isinstance(page, CoverageAnswer):
            yield page


def joined(request: Request, answered: list[PagedAnswer]) -> PagedAnswer:
    """The pages of one answer, in order, as one."""
    last = answered[-1]
    if isinstance(last, CoverageAnswer):
        coverage = [page for page in answered if isinstance(page, CoverageAnswer)]
        return replace(
            last,
            id=request.id,
            intervals=tuple(interval for page in coverage for interval in page.intervals),
            archives={name: place for page in coverage for name, place in page.archives.items()},
            overlapped=tuple(loser for page in coverage for loser in page.overlapped),
            overlapped_left_out=sum(page.overlapped_left_out for page in coverage),
            next=None,
        )
    if isinstance(last, SoundsAnswer):
        told = [page for page in answered if isinstance(page, SoundsAnswer)]
        return replace(
            last,
            id=request.id,
            sounds=tuple(sound for page in told for sound in page.sounds),
            archives={name: place for page in told for name, place in page.archives.items()},
            next=None,
        )
    steps = [page for page in answered if isinstance(page, LevelsAnswer)]
    return replace(last, id=request.id, levels=tuple(step for page in steps for step in page.levels), next=None)


async def ask_once(door: Door, request: Request, timeout: float) -> GoodAnswer:
    """One page; a busy node is asked again until `timeout` seconds are over."""
    clock = asyncio.get_running_loop().time
    ends_at, backoff = clock() + timeout, Backoff(_BUSY_RETRY)
    while True:
        answer = await door.ask(request, max(0.1, ends_at - clock()))
        if not isinstance(answer, ErrorAnswer):
            return answer
        error, delay = answer.error, backoff.next_delay()
        if error.code != "busy" or clock() + delay >= ends_at:
            raise QueryRefused(f"node {door.node}: {_one_line(error.message)}", error.code, error.field)
        await asyncio.sleep(delay)


def _one_line(text: str) -> str:
    """Its lines would look like ours."""
    return " ".join(text.split())


def new_id() -> str:
    """A request's id: 96 random bits."""
    return secrets.token_urlsafe(12)
