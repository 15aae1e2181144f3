"""Whether there was anything to hear at a time: retention keeps what is near it and drops the quiet rest."""

from __future__ import annotations

import math

from edge.catalog.file import CatalogFile
from edge.catalog.queries import touching
from edge.catalog.tables import select
from edge.core.instant import Instant

_LOUDEST_DBFS = 10.0  # dB: anything below was not measured in dBA, where no microphone is that quiet
_LONGEST_SOUND = 86_400_000_000  # µs


class Loudness:
    """The sounds that were found, and how loud chunks were."""

    def __init__(self, file: CatalogFile) -> None:
        self._file = file

    def has_sound_between(self, start: Instant, end: Instant, stream_id: str) -> bool:
        """Whether any sound has a part in [start, end). One without an end counts for its own stream alone."""
        with self._file.session() as tables:
            table, first, last = tables.Sound, int(start), int(end)
            earliest = first - _LONGEST_SOUND
            return bool(
                select(
                    s
                    for s in table
                    if s.started_at < last
                    and s.started_at > earliest
                    and (s.ended_at > first or (s.ended_at is None and s.stream_id == stream_id))
                ).exists()
            )

    def is_loud_between(self, start: Instant, end: Instant, level: float) -> bool:
        """Whether a chunk with sound in [start, end) that is not gone was as loud as `level`, or was not measured."""
        with self._file.session() as tables:
            chunks, loudest_dbfs = touching(tables.Chunk, start, end), _LOUDEST_DBFS if level > 0 else -math.inf
            loud = select(
                c
                for c in chunks
                if c.state != "gone" and (c.lafmax is None or c.lafmax >= level or c.lafmax < loudest_dbfs)
            )
            return bool(loud.exists())
