"""Sounds page by page, in either order, from where the last page ended: within a session, never more than it may read.

Both orders have an index that holds all that is compared here, so nothing is sorted and no row is read in vain. What
lies outside of the range or is too quiet is skipped a slice at a time, because a statement keeps commits waiting.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from edge.catalog.budget import Budget
from edge.catalog.queries import sounds_with
from edge.catalog.tables import Tables
from edge.catalog.values import CatalogSound, SoundKey, SoundRange, SoundRun
from edge.core.instant import Instant

# the SQL below is made of constants of this module alone
_SLICE = 20_000  # entries of an index: 2 ms
_FEW = 5_000  # sounds of a range that are rather sorted than searched for among all
_LOUDER_THAN_ALL = 1e300
_BEYOND = 2**62  # any time
_KEY = "lafmax, started_at, sound_id"
_LOUDEST = "lafmax DESC, started_at, sound_id"

_STARTS = """SELECT "started_at", 0 FROM "sounds" AS s WHERE "started_at" >= $start AND "started_at" < $end
AND NOT EXISTS (SELECT 1 FROM "chunks" AS c WHERE c."chunk_id" = s."chunk_id" AND c."state" = 'aside')
ORDER BY "started_at\""""


class _Entry(NamedTuple):
    lafmax: float
    started_at: int
    sound_id: str


def sound_run(
    tables: Tables, wanted: SoundRange, after: SoundKey | None, limit: int, budget: Budget | None
) -> SoundRun:
    """At most `limit` sounds after that one; fewer where the budget ends first. `until` may lie beyond the last."""
    scan = _Scan(tables, wanted, budget)
    if not wanted.loudest_first:
        entries, until = scan.by_time(after, limit)
    elif scan.is_small():
        entries, until = scan.small(after, limit)
    else:
        entries, until = scan.by_level(after, limit)
    return SoundRun(_sounds(tables, entries), None if until is None else scan.key(until))


def count_sounds(tables: Tables, start: Instant, end: Instant) -> int:
    """How many sounds begin in [start, end), but for those of chunks that are set aside."""
    return len(sound_starts(tables, start, end))


def sound_starts(tables: Tables, start: Instant, end: Instant) -> list[int]:
    """When they begin, in order; but for those of chunks that are set aside."""
    return [at for at, _ in tables.rows(_STARTS, {"start": int(start), "end": int(end)})]  # Pony unpacks one column


def _sounds(tables: Tables, entries: list[_Entry]) -> list[CatalogSound]:
    found = sounds_with(tables, (entry.sound_id for entry in entries))
    return [found[entry.sound_id] for entry in entries if entry.sound_id in found]


class _Scan:
    def __init__(self, tables: Tables, wanted: SoundRange, budget: Budget | None) -> None:
        self._tables = tables
        self._wanted = wanted
        self._budget = budget
        self._values = {
            "first": int(wanted.start),
            "last": int(wanted.end),
            "least": -math.inf if wanted.min_level is None else wanted.min_level,
        }

    def key(self, entry: _Entry) -> SoundKey:
        return (-entry.lafmax if self._wanted.loudest_first else 0.0, entry.started_at, entry.sound_id)

    def is_small(self) -> bool:
        """Whether few sounds began in the range, however loud."""
        few = f"SELECT {_KEY} FROM sounds WHERE started_at >= $first AND started_at < $last LIMIT 1 OFFSET {_FEW}"  # noqa: S608
        return not self._tables.rows(few, self._values)

    def small(self, after: SoundKey | None, limit: int) -> tuple[list[_Entry], _Entry | None]:
        # the plus keeps SQLite from searching by level
        query = f"SELECT {_KEY} FROM sounds WHERE started_at >= $first AND started_at < $last AND +lafmax >= $least"  # noqa: S608
        rows = self._tables.rows(query, self._values)
        entries = sorted(map(_Entry._make, rows), key=self.key)
        coming = [entry for entry in entries if after is None or self.key(entry) > after]
        return coming[:limit], coming[limit - 1] if len(coming) > limit else None

    def by_time(self, after: SoundKey | None, limit: int) -> tuple[list[_Entry], _Entry | None]:
        _, at, name = after or (0.0, int(self._wanted.start), "")
        found: list[_Entry] = []
        here: _Entry | None = _Entry(0.0, at, name)
        while here is not None:
            condition = "(started_at, sound_id) > ($at, $name) AND started_at < $last"
            here = self._slice(found, limit, condition, "started_at, sound_id", here)
            if not self._may_go_on(found, limit):
                break
        return found, here

    def by_level(self, after: SoundKey | None, limit: int) -> tuple[list[_Entry], _Entry | None]:
        found: list[_Entry] = []
        here = _Entry(-after[0], *after[1:]) if after else _Entry(_LOUDER_THAN_ALL, _BEYOND, "")
        while True:
            # first the rest of those that are as loud, then those that are less so: each is one search of the index
            as_loud = "lafmax = $level AND (started_at, sound_id) > ($at, $name) AND started_at < $last"
            there = self._slice(found, limit, as_loud, "started_at, sound_id", here)
            if there is None:
                there = self._slice(found, limit, "lafmax < $level AND lafmax >= $least", _LOUDEST, here)
            if there is None:
                return found, None
            here = there
            if not self._may_go_on(found, limit):
                return found, here

    def _may_go_on(self, found: list[_Entry], limit: int) -> bool:
        return len(found) < limit and not (self._budget is not None and self._budget.should_stop)

    def _slice(self, found: list[_Entry], limit: int, condition: str, order: str, here: _Entry) -> _Entry | None:
        """Adds what is wanted of the next entries after `here`; how far it came, None where no entry is left."""
        values = {
            **self._values,
            "level": here.lafmax, "at": here.started_at, "name": here.sound_id, "limit": limit - len(found),
        }  # fmt: skip
        entries = f"SELECT {_KEY} FROM sounds WHERE {condition} ORDER BY {order}"  # noqa: S608
        inside = "started_at >= $first AND started_at < $last AND lafmax >= $least"
        query = f"SELECT {_KEY} FROM ({entries} LIMIT {_SLICE}) AS some WHERE {inside} ORDER BY {order} LIMIT $limit"  # noqa: S608
        rows = self._tables.rows(query, values)
        found += map(_Entry._make, rows)
        if len(found) == limit:
            return found[-1]
        end = self._tables.rows(f"{entries} LIMIT 1 OFFSET {_SLICE - 1}", values)
        return _Entry._make(end[0]) if end else None
