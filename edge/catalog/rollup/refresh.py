"""Recomputes the quarter-hours that a session of the writer has touched, before it commits.

They are never added to or subtracted from, so that no error can stay or grow.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator

from msgspec.structs import replace

from edge.catalog.budget import Budget
from edge.catalog.queries import chunk_run, hole_run, stream_records
from edge.catalog.rollup.summary import (
    QUARTER,
    UNITS,
    UNKNOWN,
    LevelSum,
    Run,
    Summary,
    is_gap,
    joined,
    summarize_quarters,
)
from edge.catalog.rollup.tiling import KnownChunk, RangeFacts, overlap, tile
from edge.catalog.sound_order import sound_starts
from edge.catalog.tables import Tables, select
from edge.core import wire
from edge.core.instant import LAST, Instant

_AT_ONCE = 512  # chunks in memory
_UNLIMITED = 2**62
_NEVER = Instant(LAST + QUARTER)  # nothing in the catalog is in the future: that depends on when it is read

_EXTENT = """SELECT min("started_at"), max("ended_at") FROM (
SELECT min("started_at") AS "started_at", max("ended_at") AS "ended_at" FROM "chunks"
UNION ALL SELECT min("started_at"), max(max("started_at", "ended_at")) FROM "holes")"""
_COLUMNS = (
    *("quarter", "first_state", "last_state", "times", "gaps", "sounds"),
    *(f"{name}_{value}" for name, _ in UNITS for value in ("seconds", "energy", "maximum", "histogram")),
)
# by SQL: entities would stay in memory for the whole session
_PUT = f"INSERT INTO quarters ({', '.join(_COLUMNS)}) VALUES ({', '.join(f'${name}' for name in _COLUMNS)})"  # noqa: S608


def fill(tables: Tables) -> None:
    """Computes all of it, within a session, where there is none."""
    if select(q for q in tables.Quarter).exists():
        return
    first, last = tables.rows(_EXTENT, {})[0]
    if first is not None:
        _recompute(tables, first // QUARTER, last // QUARTER + 1)


def refresh(tables: Tables) -> None:
    """Within a session: brings the roll-up up to what the session has changed so far."""
    tables.db.flush()
    touched = tables.rows('SELECT DISTINCT "started_at", "ended_at", "is_hole" FROM "touched"', {})
    if not touched:
        return
    tables.db.execute('DELETE FROM "touched"')
    runs: list[Run] = []
    for started_at, ended_at, is_hole in touched:
        first, last = started_at // QUARTER, max(started_at, ended_at) // QUARTER
        runs += _changed_by_hole(tables, first, last) if is_hole else [(first, last + 1)]
    for first, end in joined(runs):
        _recompute(tables, first, end)


def _changed_by_hole(tables: Tables, first: int, last: int) -> Iterator[Run]:
    """A hole can be as long as a clock was wrong. Sound outdoes it: what is all sound is left as it is."""
    yield first, first + 1
    yield last, last + 1
    if last - first < 2:
        return
    values = {"first": first, "last": last, "start": first * QUARTER, "end": last * QUARTER}
    for number, _ in tables.rows(  # Pony unpacks a single column
        'SELECT "quarter", 0 FROM "quarters" WHERE "quarter" > $first AND "quarter" < $last'
        """ AND ("times" LIKE '%"gap:%' OR "times" LIKE '%"paused"%')""",
        values,
    ):
        yield number, number + 1
    holes = 'SELECT "started_at", "ended_at" FROM "holes" WHERE "started_at" < $end AND "ended_at" > $start'
    for edge in {edge // QUARTER for hole in tables.rows(holes, values) for edge in hole}:
        if first < edge < last:
            yield edge, edge + 1


def _recompute(tables: Tables, first: int, end: int) -> None:
    tables.db.flush()
    quarters = tables.Quarter
    select(q for q in quarters if q.quarter >= first and q.quarter < end).delete(bulk=True)
    before = tables.rows(
        'SELECT "last_state", 0 FROM "quarters" WHERE "quarter" < $first ORDER BY "quarter" DESC LIMIT 1',
        {"first": first},
    )
    state = before[0][0] if before else UNKNOWN
    start, stop = Instant(first * QUARTER), Instant(end * QUARTER)
    sounds = sound_starts(tables, start, stop)
    begun: dict[int, Summary] = {}
    while start < stop:
        facts = _facts(tables, start, stop)
        for number, summary in summarize_quarters(tile(facts, start, facts.until, _NEVER), sounds).items():
            begun.setdefault(number, Summary()).join(summary)
        start = facts.until
        for number in sorted(number for number in begun if (number + 1) * QUARTER <= start):
            summary = begun.pop(number)
            summary.sounds = bisect_left(sounds, (number + 1) * QUARTER) - bisect_left(sounds, number * QUARTER)
            state = _put(tables, number, summary, state)


def _put(tables: Tables, number: int, summary: Summary, state: str) -> str:
    """`state`: the one before it; gives the one after it."""
    columns: dict[str, object] = {
        "quarter": number,
        "first_state": summary.first,
        "last_state": summary.last,
        "times": wire.encode(dict(sorted(summary.times.items()))).decode(),
        "gaps": summary.gaps - (is_gap(state) and state == summary.first),
        "sounds": summary.sounds,
    }
    for name, unit in UNITS:
        levels = summary.levels.get(unit, LevelSum())
        columns |= {
            f"{name}_seconds": levels.seconds,
            f"{name}_energy": levels.energy,
            f"{name}_maximum": levels.maximum if levels.seconds else None,
            f"{name}_histogram": wire.encode(_packed(levels.histogram)).decode(),
        }
    tables.db.execute(_PUT, {}, columns)
    return summary.last


def _packed(histogram: dict[int, int]) -> list[int]:
    if not histogram:
        return []
    first = min(histogram)
    return [first, *(histogram.get(bin_, 0) for bin_ in range(first, max(histogram) + 1))]


def _facts(tables: Tables, start: Instant, end: Instant) -> RangeFacts:
    """What is known from `start` on, of some chunks at least."""
    budget = Budget(_UNLIMITED, _UNLIMITED, math.inf)
    limit = _AT_ONCE
    while True:
        found, until = chunk_run(tables, start, end, limit, budget, _UNLIMITED)
        if until is None or until > start:
            break
        limit *= 8  # so many claim one moment
    holes, holes_until = hole_run(tables, start, end if until is None else until, limit)
    chunks = [KnownChunk(entry.chunk, entry.where, entry.gone) for entry in found if entry.aside is None]
    if overlap(chunks):
        streams = stream_records(tables, {known.chunk.stream_id for known in chunks})
        ordinals = {name: stream.ordinal for name, stream in streams.items()}
        chunks = [replace(known, ordinal=ordinals.get(known.chunk.stream_id, 0)) for known in chunks]
    ends = [each for each in (until, holes_until) if each is not None]
    return RangeFacts(tuple(chunks), tuple(holes), None, {}, min(ends, default=end))
