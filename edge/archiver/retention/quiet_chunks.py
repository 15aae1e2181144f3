"""`[recorder] keep = sounds`: which chunks are quiet and may be discarded."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge.catalog import Catalog
from edge.catalog.holds import read_holds
from edge.configuration.settings import Recorder
from edge.core.instant import MICROSECONDS, Instant
from edge.core.values import Chunk

log = logging.getLogger(__name__)

_MARGIN = 60 * MICROSECONDS


class QuietChunks:
    """Which waiting chunks have no sound in them, nor close enough before or after them.

    `sound_level` is the active limit, 0 while none is set. A chunk that reached it counts as one sound even if its
    manifest lists none: it may have been recorded while no limit, or another one, was set.
    """

    def __init__(self, catalog: Catalog, recorder: Recorder, sound_level: Callable[[], float]) -> None:
        self._catalog, self._sound_level = catalog, sound_level
        self._before = round(recorder.pre_roll * MICROSECONDS)
        self._after = round(recorder.post_roll * MICROSECONDS)
        self._longest_wait = round(2 * recorder.record_period * MICROSECONDS) + _MARGIN
        self._loud: set[str] = set()  # these are kept
        self._horizon = Instant(0)  # until then all sounds are known
        self._warned = False

    def to_discard(self, now: Instant) -> list[str]:
        """The waiting chunks that are known to be quiet. None while no sound level is set: nothing would be loud."""
        level = self._sound_level()
        if not level:
            if not self._warned:
                log.warning("[recorder] keep = sounds, but no sound_level is set: everything is kept")
            self._warned = True
            return []
        self._warned = False
        waiting = self._catalog.queue.waiting(5_000)
        self._loud &= {chunk.chunk_id for chunk in waiting}
        newest = max((chunk.ended_at for chunk in waiting), default=Instant(0))
        # without newer chunks, a sound that is in no finished chunk by now will not turn up any more
        self._horizon = max(newest, Instant(now - self._longest_wait))
        holds = read_holds(self._catalog.path)
        found = []
        for chunk in waiting:
            if chunk.chunk_id in self._loud or not self._is_known(chunk):
                continue
            if holds.touch(chunk.started_at, chunk.ended_at) or self._is_near_sound(chunk, level):
                self._loud.add(chunk.chunk_id)
            else:
                found.append(chunk.chunk_id)
        return found

    def ready_to_plan(self, due: list[Chunk]) -> list[Chunk]:
        if not self._sound_level():
            return due
        ready = []
        for chunk in due:
            if chunk.chunk_id not in self._loud:
                break
            ready.append(chunk)
        return ready

    def _is_known(self, chunk: Chunk) -> bool:
        return chunk.ended_at + self._before <= self._horizon

    def _is_near_sound(self, chunk: Chunk, level: float) -> bool:
        start, end = Instant(chunk.started_at - self._after), Instant(chunk.ended_at + self._before)
        if chunk.sounds or self._catalog.has_sound_between(start, end, chunk.stream_id):
            return True
        return self._catalog.is_loud_between(start, end, level)
