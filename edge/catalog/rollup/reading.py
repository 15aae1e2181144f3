"""Runs of quarter-hours -> their sums, in three statements however many runs there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from edge.catalog.rollup.summary import QUARTER, UNITS, UNKNOWN, LevelSum, Run, Summary, is_gap
from edge.catalog.tables import Tables
from edge.core import wire

# `$$` is a dollar for Pony
_RUNS = """(SELECT "key" AS "run", json_extract("value", '$$[0]') AS "first", json_extract("value", '$$[1]') AS "end"
FROM json_each($runs)) AS r"""
_IN_RUNS = f"""FROM {_RUNS} CROSS JOIN "quarters" AS q ON q."quarter" >= r."first" AND q."quarter" < r."end\""""
# most quarter-hours of a day are of one state, so that they make few groups
_SUMS = f"""SELECT r."run", q."times", count(*), sum(q."gaps"), sum(q."sounds"),
{", ".join(f'sum(q."{unit}_seconds"), sum(q."{unit}_energy"), max(q."{unit}_maximum")' for unit, _ in UNITS)}
{_IN_RUNS} GROUP BY r."run", q."times\""""
_LAST = 'SELECT "last_state" FROM "quarters" WHERE "quarter" < {} ORDER BY "quarter" DESC LIMIT 1'
_EDGES = f"""SELECT ({_LAST.format('r."first"')}), ({_LAST.format('r."end"')}),
(SELECT "first_state" FROM "quarters" WHERE "quarter" = r."first") FROM {_RUNS} ORDER BY r."run\""""  # noqa: S608
_ROWS = f"""SELECT r."run", q."quarter", q."last_state" {_IN_RUNS} ORDER BY r."run", q."quarter\""""

LOUDEST_SECONDS = """SELECT "quarter", "dbfs_maximum", "dba_maximum" FROM "quarters" WHERE "quarter" >= $first
AND "quarter" < $end AND "dbfs_seconds" + "dba_seconds" > 0"""


def summaries(tables: Tables, runs: Sequence[Run]) -> list[Summary]:
    """The sums of each run, within a session; without histograms."""
    values = {"runs": wire.encode(runs).decode()}
    before: list[str] = []
    found: list[Summary] = []
    for before_it, last, first in tables.rows(_EDGES, values):
        before.append(before_it or UNKNOWN)
        summary = Summary(first or before[-1], last or UNKNOWN)
        summary.gaps = int(is_gap(summary.first) and summary.first == before[-1])  # one that began earlier
        found.append(summary)
    missing = [end - first for first, end in runs]
    for number, times, rows, gaps, sounds, *levels in tables.rows(_SUMS, values):
        summary = found[number]
        missing[number] -= rows
        summary.gaps += gaps
        summary.sounds += sounds
        for place, (_, unit) in enumerate(UNITS):
            seconds, energy, maximum = levels[3 * place : 3 * place + 3]
            if seconds:
                summary.levels.setdefault(unit, LevelSum()).join(LevelSum(seconds, energy, maximum))
        for state, duration in wire.decode(times, dict[str, int]).items():
            summary.times[state] = summary.times.get(state, 0) + rows * duration
    sparse = [number for number, count in enumerate(missing) if count]
    for number, stretches in _lasting(tables, runs, before, sparse):
        for state, count in stretches.items():
            found[number].times[state] = found[number].times.get(state, 0) + count * QUARTER
    return found


def _lasting(
    tables: Tables, runs: Sequence[Run], before: Sequence[str], sparse: Sequence[int]
) -> Iterator[tuple[int, Counter[str]]]:
    """Of the `sparse` ones of these runs, how many of their quarter-hours without a row have which state."""
    values = {"runs": wire.encode([runs[number] for number in sparse]).decode()}
    rows = {place: list(group) for place, group in groupby(tables.rows(_ROWS, values), lambda row: row[0])}
    for place, number in enumerate(sparse):
        (first, end), stretches = runs[number], Counter[str]()
        state, reached = before[number], first
        for _, quarter, last_state in rows.get(place, []):
            stretches[state] += quarter - reached
            state, reached = last_state, quarter + 1
        stretches[state] += end - reached
        yield number, +stretches
