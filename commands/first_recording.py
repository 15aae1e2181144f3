"""What `query` and `fetch` share: which part of a range is before the node's first recording."""

from __future__ import annotations

import argparse
import asyncio
from typing import cast

from msgspec.structs import replace

from commands.show.coverage_bar import Before
from edge.configuration.settings import Settings
from edge.core.errors import DoorError, QueryRefused
from edge.core.instant import FIRST
from query_service import api
from query_service.api import Via
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import Request, new_id
from query_service.queries.values import Gap, Interval


def before_first_recording(interval: Interval, settings: Settings, via: Via, args: argparse.Namespace) -> Before | None:
    """`interval`, the first of a range, if it is before anything the node knows of, which the node calls a gap.

    Asks the node. None, too, where it does not answer: the gap then stays one.
    """
    if not isinstance(interval, Gap) or interval.cause != "unknown":
        return None

    async def earliest() -> Interval:
        request = Request(id=new_id(), from_=FIRST, to=interval.to, limit=1, urls=False)
        async with api.connect(settings, via, node=args.node, timeout=args.timeout) as client:
            page = await anext(aiter(api.pages(client, request, args.timeout)))
        return cast(CoverageAnswer, page).intervals[0]

    try:
        is_before = asyncio.run(earliest()) == replace(interval, from_=FIRST)
    except (DoorError, QueryRefused):
        return None
    return Before(from_=interval.from_, to=interval.to) if is_before else None
