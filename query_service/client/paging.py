"""Sends queries to a node, whatever carries them: page by page, and again while the node is busy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from msgspec.structs import replace

from edge.core.backoff import Backoff
from edge.core.errors import DoorError, QueryRefused
from edge.core.instant import Instant
from query_service.client.position import Position
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import QUERY_TYPES, Answer, GoodAnswer, PagedAnswer, Request, UnpagedAnswer, new_id
from query_service.queries.values import ErrorAnswer

MAX_PAGES = 10_000  # of one answer, each of 48 kB: coverage of more than thirty years
_BUSY_RETRY = 0.2  # seconds before a busy node is asked again the first time


class NodeClient(Protocol):
    """A way to one node. `query` raises DoorError when no answer comes within `timeout` seconds."""

    @property
    def node(self) -> str: ...
    async def query(self, request: Request, timeout: float) -> Answer: ...
    async def close(self) -> None: ...


class LocalFile(NamedTuple):
    """A finished chunk's file on this machine, and the SHA-256 that its bytes must have."""

    path: Path
    sha256: str


@runtime_checkable
class LocalFiles(Protocol):
    """A client with direct access to the node's own files: its chunks need no download."""

    def local_file(self, chunk_id: str) -> LocalFile | None: ...


async def query_node(
    client: NodeClient, request: Request, timeout: float = 10.0, first: Answer | None = None
) -> GoodAnswer:
    """The answer, all pages in one; errors as for `query`. For an answer too long to hold, use `pages`.

    `first`: the answer to `request`, where the node has given one already.
    """
    query_type = QUERY_TYPES[request.type]
    if not query_type.joins:
        return await query_page(client, request, timeout, first)
    answer: GoodAnswer = query_type.join([page async for page in pages(client, request, timeout, first)], request.id)
    return answer


async def pages(
    client: NodeClient, request: Request, timeout: float = 10.0, first: Answer | None = None
) -> AsyncIterator[PagedAnswer]:
    """The answer page by page, each with an id of its own; `timeout` in seconds is for each page.

    `first` as for `query_node`. Where the node refuses a cursor that it gave, it is queried for what is left. Raises
    DoorError where the pages do not fit the request.
    """
    number, cursors, position = 0, {request.cursor}, Position(request)
    reached = request.from_ if request.cursor is None else None
    while True:
        try:
            page = await query_page(client, request, timeout, first)
        except QueryRefused as refused:
            # another key than a moment ago: the node was installed anew, or has none that lasts
            rest = position.restarted() if refused.field == "cursor" else None
            if rest is None:
                raise
            request, cursors = rest, {None}
            continue
        if isinstance(page, UnpagedAnswer) or page.type != request.type:
            raise DoorError(f"node {client.node} answered a query of type {request.type} with {page.type}")
        if isinstance(page, CoverageAnswer):
            reached = _tiled_until(client.node, request, page, reached)
        yield position.take(page)
        if page.next is None:
            return
        if page.next in cursors:
            raise DoorError(f"node {client.node} repeats the same page")
        if (number := number + 1) == MAX_PAGES:
            raise DoorError(f"node {client.node} gave {number:,} pages, and more follow; query a shorter range")
        cursors.add(page.next)
        request, first = replace(request, id=new_id(), cursor=page.next), None


def _tiled_until(node: str, request: Request, page: CoverageAnswer, reached: Instant | None) -> Instant:
    """Where `page` ends. DoorError unless its intervals continue from `reached` without holes, within the range of the
    request: whoever writes sound by them would otherwise never reach an end.
    """
    if request.from_ is None or request.to is None:
        raise DoorError(f"node {node} answered a query without a range with one")
    for interval in page.intervals:
        begins = interval.from_ == reached or (reached is None and request.from_ <= interval.from_)
        if not begins or not interval.from_ < interval.to <= request.to:
            raise DoorError(
                f"node {node} gave an answer that does not fit the query: an interval from {interval.from_} to"
                f" {interval.to}, where one from {reached or request.from_} on, to {request.to} at most, was due"
            )
        reached = interval.to
    if not page.intervals or reached is None:
        raise DoorError(f"node {node} gave an empty page")
    if (page.next is None) != (reached == request.to):
        raise DoorError(f"node {node} gave an answer that ends at {reached}, not at {request.to}")
    return reached


async def coverage_pages(
    client: NodeClient, start: Instant, end: Instant, timeout: float = 10.0, *, urls: bool = False
) -> AsyncIterator[CoverageAnswer]:
    """As `pages`, for the coverage of [start, end)."""
    async for page in pages(client, Request(id=new_id(), from_=start, to=end, urls=urls), timeout):
        if isinstance(page, CoverageAnswer):
            yield page


async def query_page(client: NodeClient, request: Request, timeout: float, first: Answer | None = None) -> GoodAnswer:
    """One page; a busy node is asked again until `timeout` seconds are over. `first` as for `query_node`."""
    clock = asyncio.get_running_loop().time
    ends_at, backoff = clock() + timeout, Backoff(_BUSY_RETRY)
    answer = first or await client.query(request, timeout)
    while isinstance(answer, ErrorAnswer):
        error, delay = answer.error, backoff.next_delay()
        if isinstance(error.retry_after, float):
            delay = error.retry_after
        if error.code != "busy" or clock() + delay >= ends_at:
            raise QueryRefused(f"node {client.node}: {_one_line(error.message)}", error.code, error.field)
        await asyncio.sleep(delay)
        answer = await client.query(request, max(0.1, ends_at - clock()))
    return answer


def _one_line(text: str) -> str:
    """Further lines would look like ours."""
    return " ".join(text.split())
