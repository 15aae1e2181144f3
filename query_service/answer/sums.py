"""Sums of stretches of time: from the roll-up where it has all that is known, else from the chunks themselves."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

from edge.catalog.rollup.summary import QUARTER, Run, Summary, joined, summarize
from edge.catalog.rollup.tiling import tile
from edge.core.instant import MICROSECONDS, Instant
from query_service.answer.facts import FactReader
from query_service.queries.days import StateSeconds, UnitLevels

_QUARTERS = 6_144  # of the roll-up read at once, 64 days: 5 ms

Stretch = tuple[Instant, Instant]


class Sums:
    """Of these stretches, at `now`. What is asked for must be one of them, or its rest."""

    def __init__(self, reader: FactReader, stretches: Sequence[Stretch], now: Instant) -> None:
        self._reader, self._now = reader, now
        first, last = (stretches[0][0], stretches[-1][1]) if stretches else (now, now)
        self._sounds = reader.sounds_only_in_spool()
        live = [*reader.missing_in_rollup(first, last, now), *((at, at + 1) for at in self._sounds)]
        if last > now:
            live.append((now, last))
        self._live = joined((start // QUARTER, -(-end // QUARTER)) for start, end in live if start < end)
        self._coming = [run for stretch in stretches for run in self._runs(*stretch)]
        self._known: dict[Run, Summary] = {}

    def part(self, start: Instant, end: Instant) -> tuple[Summary, Instant]:
        """The sums from `start` on, and up to when, at most `end`. Raises CatalogBusy, BudgetSpent, QueryRefused."""
        clean_until = self._clean_until(start, end)
        if clean_until > start:
            return self._from_rollup((start // QUARTER, clean_until // QUARTER)), clean_until
        return self._from_chunks(start, self._live_until(start, end))

    def _runs(self, start: Instant, end: Instant) -> Iterator[Run]:
        """What `part` will read of the roll-up."""
        while start < end:
            until = self._clean_until(start, end)
            if until > start:
                yield start // QUARTER, until // QUARTER
            start = until if until > start else self._live_until(start, end)

    def _clean_until(self, start: Instant, end: Instant) -> Instant:
        """`start` if the roll-up cannot answer for it."""
        number, last = start // QUARTER, end // QUARTER
        if start % QUARTER or number >= last:
            return start
        live = self._next_live(number)
        return Instant(max(number, min(last, live[0]) if live else last) * QUARTER)

    def _live_until(self, start: Instant, end: Instant) -> Instant:
        number = start // QUARTER
        live = self._next_live(number)
        # else a stretch begins or ends within a quarter-hour
        return Instant(min(end, (live[1] if live and live[0] <= number else number + 1) * QUARTER))

    def _next_live(self, number: int) -> Run | None:
        """The next run with what the roll-up lacks, that quarter-hour included."""
        place = bisect_left(self._live, number, key=lambda run: run[1] - 1)
        return self._live[place] if place < len(self._live) else None

    def _from_rollup(self, run: Run) -> Summary:
        if run not in self._known:
            runs, quarters = [run], run[1] - run[0]
            for coming in self._coming[bisect_left(self._coming, (run[1], 0)) :]:
                quarters += coming[1] - coming[0]
                if quarters > _QUARTERS:
                    break
                runs.append(coming)
            self._known = dict(zip(runs, self._reader.catalog.rollup.summaries(runs), strict=True))
        return self._known[run]

    def _from_chunks(self, start: Instant, end: Instant) -> tuple[Summary, Instant]:
        reader, now = self._reader, self._now
        facts = reader.gather_levels(start, end, now, with_holes=True)
        reach = min(end, facts.until)
        summary = summarize(tile(facts, start, reach, now))
        summary.sounds = reader.catalog.rollup.count_sounds(start, reach)
        summary.sounds += bisect_left(self._sounds, reach) - bisect_left(self._sounds, start)
        return summary, reach


def totals(summary: Summary) -> dict[str, Any]:
    """The fields that days and the extent have in common."""
    seconds: dict[str, Any] = {"gap": {}, "expired": {}}
    for state, duration in summary.times.items():
        name, _, cause = state.partition(":")
        if duration:
            (seconds[name] if cause else seconds)[cause or name] = round(duration / MICROSECONDS, 6)
    return {
        "seconds": StateSeconds(**seconds),
        "gaps": summary.gaps,
        "sounds": summary.sounds,
        "levels": tuple(
            UnitLevels(
                unit=unit,
                seconds=levels.seconds,
                laeq=round(10 * math.log10(levels.energy / levels.seconds), 2),
                laeq_max=levels.maximum,
            )
            for unit, levels in sorted(summary.levels.items())
        ),
    }
