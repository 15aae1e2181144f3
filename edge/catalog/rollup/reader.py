"""What the roll-up, and the rows that it sums up, say about stretches of time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

from edge.catalog.queries import KEPT, STORED_ARCHIVES, known_holes
from edge.catalog.rollup.reading import LOUDEST_SECONDS, summaries
from edge.catalog.rollup.summary import Summary
from edge.catalog.sound_order import count_sounds
from edge.catalog.tables import Tables
from edge.core.instant import Instant
from edge.core.values import Hole

Session = Callable[[], contextlib.AbstractContextManager[Tables]]


class RollupReader:
    """A part of `CatalogReader`, with the same errors; `session` opens one of its sessions."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def summaries(self, runs: Sequence[tuple[int, int]]) -> list[Summary]:
        """The sums of each of these runs of quarter-hours, numbered as `QUARTER` says; without histograms."""
        with self._session() as tables:
            return summaries(tables, runs)

    def loudest_seconds(self, first: int, end: int) -> list[tuple[int, float | None, float | None]]:
        """Of the quarter-hours from `first` up to `end` with levels: its number, the loudest second in dBFS and dBA."""
        with self._session() as tables:
            return [*tables.rows(LOUDEST_SECONDS, {"first": first, "end": end})]

    def known_holes(self, holes: Iterable[Hole]) -> set[Hole]:
        """Those of these gaps and pauses that the catalog has."""
        with self._session() as tables:
            return known_holes(tables, holes)

    def count_sounds(self, start: Instant, end: Instant) -> int:
        """How many sounds begin in [start, end), but for those of chunks that are set aside."""
        with self._session() as tables:
            return count_sounds(tables, start, end)

    def kept_sound(self) -> tuple[Instant, Instant] | None:
        """From when to when there is sound that is not given up; None where there is none."""
        with self._session() as tables:
            first, last = tables.rows(KEPT, {})[0]
            return None if first is None else (Instant(first), Instant(last))

    def stored_archives(self, after: str) -> tuple[int, int, str | None]:
        """How many of the next archives after that ID are in the store and stay there, of how many bytes, and the last
        of their IDs; None at the end."""
        with self._session() as tables:
            count, size, last = tables.rows(STORED_ARCHIVES, {"after": after})[0]
            return int(count or 0), int(size or 0), last
