"""Extent: the sums of all that is kept, and from when to when that is."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from edge.catalog.rollup.summary import Summary
from edge.core.errors import CatalogBusy
from edge.core.instant import MICROSECONDS, Instant
from query_service.answer.facts import FactReader
from query_service.answer.scans import Scans
from query_service.answer.sums import Sums, totals
from query_service.queries.extent import ExtentAnswer
from query_service.queries.protocol import Request

_SLICE = 64 * 86_400 * MICROSECONDS  # they begin with a quarter-hour, so that the roll-up has all of them


class _Begun(NamedTuple):
    """`summary` has all from `start` to `reached`; of the archives, those up to `archive_id` are counted."""

    start: Instant
    reached: Instant
    summary: Summary
    archives: int = 0
    bytes: int = 0
    archive_id: str | None = ""  # None: all of them


def answer_extent(request: Request, node: str, reader: FactReader, scans: Scans, now: Instant) -> ExtentAnswer:
    """It has no pages: what takes more than one question may is put off. Raises CatalogError, SpoolError."""
    start, end = reader.kept_sound(now) or (now, now)
    resumed = scans.resume(request)
    begun = resumed if isinstance(resumed, _Begun) and resumed.start == start else _Begun(start, start, Summary())
    edges = [start, *range((start // _SLICE + 1) * _SLICE, end, _SLICE), end]
    slices = [(Instant(at), Instant(until)) for at, until in pairwise(edges) if at < until]
    sums = Sums(reader, slices, now)
    try:
        for _, slice_end in slices:
            while begun.reached < slice_end:
                found, reached = sums.part(begun.reached, slice_end)
                begun.summary.join(found)
                begun = begun._replace(reached=reached)
                _stop_if_spent(request, reader, scans, begun)
        while begun.archive_id is not None:
            archives, size, last = reader.catalog.rollup.stored_archives(begun.archive_id)
            begun = begun._replace(archives=begun.archives + archives, bytes=begun.bytes + size, archive_id=last)
            if last is not None:
                _stop_if_spent(request, reader, scans, begun)
    except CatalogBusy:
        scans.keep(request, begun)
        raise
    return ExtentAnswer(
        id=request.id,
        node=node,
        from_=start if slices else None,
        to=end if slices else None,
        archives=begun.archives,
        bytes=begun.bytes,
        **totals(begun.summary),
    )


def _stop_if_spent(request: Request, reader: FactReader, scans: Scans, begun: _Begun) -> None:
    if reader.budget.should_stop:
        scans.stop(request, begun)
