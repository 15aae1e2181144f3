"""What may go from the spool, and when, as configured: local copies, quiet chunks, the oldest on a full disk.

What `imhearing hold` protects stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

from edge.archiver.retention.deletions import Deletions
from edge.catalog import Catalog
from edge.catalog.holds import Holds, read_holds
from edge.configuration.settings import Archive, Recorder
from edge.core.instant import MICROSECONDS, Instant
from edge.core.values import Chunk
from edge.spool.spool import Spool

log = logging.getLogger(__name__)

T = TypeVar("T")

# the disk is low before the recorder stops, and before it would resume
_LOW_BYTES = 100_000_000
_LOW_FRACTION = 8  # but never more than one in so many bytes of a small disk
_STEP = 20  # chunks removed before the disk is checked again
_BATCH = 1_000  # chunks or archives that are considered together
_QUIET_MARGIN = 60 * MICROSECONDS


def oldest_not_held(oldest: Callable[[int], list[T]], is_held: Callable[[T], bool]) -> list[T]:
    """Some of the oldest that are not held; searches further only while everything found is held."""
    limit = _BATCH
    while True:
        found = oldest(limit)
        free = [one for one in found if not is_held(one)]
        if free or len(found) < limit:
            return free
        limit *= 4


class RetentionPolicy:
    """Applies `[archive] keep_local, when_full` and `[recorder] keep`. Raises SpoolError, CatalogError."""

    def __init__(
        self,
        spool: Spool,
        catalog: Catalog,
        deletions: Deletions,
        archive: Archive,
        recorder: Recorder,
        sound_level: Callable[[], float],
        uploading: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`uploading` names the archive that is being uploaded now."""
        self._spool, self._catalog, self._deletions, self._archive = spool, catalog, deletions, archive
        self._quiet = QuietChunks(catalog, recorder, sound_level) if recorder.keep == "sounds" else None
        self._uploading = uploading
        self._retained: dict[str, Instant] = {}  # chunks that the store has too: since when

    def release(self, chunks: Mapping[str, Instant]) -> None:
        """These chunks have been in the store since then: their copies here are removed, or retained for a while."""
        if not self._archive.keep_local:
            self._deletions.remove_chunks(chunks)
            return
        self._retained.update(chunks)
        for chunk_id in chunks:
            self._spool.chunks.mark_retained(chunk_id)

    def ready_to_plan(self, due: list[Chunk]) -> list[Chunk]:
        """The due chunks before the first that may turn out to be quiet."""
        return due if self._quiet is None else self._quiet.ready_to_plan(due)

    def apply(self, now: Instant) -> None:
        """Deletes what may go now."""
        self._expire_copies(now)
        if self._is_disk_low():
            self._make_room()
        if self._quiet is not None and (quiet := self._quiet.to_discard(now)):
            log.info("discarding %d quiet chunks", len(quiet))
            self._deletions.give_up(quiet, "quiet")

    def _expire_copies(self, now: Instant) -> None:
        until = now - round(self._archive.keep_local * MICROSECONDS)
        self._remove_copies([chunk_id for chunk_id, since in self._retained.items() if since <= until])

    def _remove_copies(self, chunk_ids: list[str]) -> None:
        self._deletions.remove_chunks(chunk_ids)
        for chunk_id in chunk_ids:
            self._retained.pop(chunk_id, None)

    def _make_room(self) -> None:
        while self._is_disk_low() and self._retained:
            self._remove_copies(sorted(self._retained, key=self._retained.__getitem__)[:_STEP])
        if self._archive.when_full == "drop_oldest" and self._is_disk_low():
            self._deletions.remove_given_up()  # first what could not be removed last time
            while self._is_disk_low() and self._drop_oldest():
                pass

    def _drop_oldest(self) -> bool:
        """Gives up some chunks that the store does not have; False when none may go."""
        holds = read_holds(self._catalog.path)
        found = oldest_not_held(
            self._catalog.queue.waiting, lambda chunk: holds.touch(chunk.started_at, chunk.ended_at)
        )
        dropped = [chunk.chunk_id for chunk in found[:_STEP]]
        if not dropped:
            return self._take_back_a_plan(holds)
        log.error(
            "the disk is full: deleting %d chunks that were never uploaded, the oldest is %s", len(dropped), dropped[0]
        )
        self._deletions.give_up(dropped, "dropped")
        return True

    def _take_back_a_plan(self, holds: Holds) -> bool:
        """The newest plan that is not being uploaded and of which any chunk may go. False when there is none."""
        for archive in reversed(self._catalog.archive_records.open_plans()):
            rows = self._catalog.archive_records.members(archive.archive_id)
            chunks = [row.chunk for row in rows if row.gone is None]
            may_go = any(not holds.touch(chunk.started_at, chunk.ended_at) for chunk in chunks)
            if may_go and archive.archive_id != self._uploading():
                self._deletions.take_back_plan(archive.archive_id)
                return True
        return False

    def _is_disk_low(self) -> bool:
        disk = self._spool.disk
        return disk.free_bytes() < min(_LOW_BYTES, disk.total_bytes() // _LOW_FRACTION)


class QuietChunks:
    """`[recorder] keep = sounds`: which waiting chunks have no sound in them, nor close enough before or after them.

    `sound_level` is the active limit, 0 while none is set. A chunk that reached it counts as one sound even if its
    manifest lists none: it may have been recorded while no limit, or another one, was set.
    """

    def __init__(self, catalog: Catalog, recorder: Recorder, sound_level: Callable[[], float]) -> None:
        self._catalog, self._sound_level = catalog, sound_level
        self._before = round(recorder.pre_roll * MICROSECONDS)
        self._after = round(recorder.post_roll * MICROSECONDS)
        self._longest_wait = round(2 * recorder.record_period * MICROSECONDS) + _QUIET_MARGIN
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
        if chunk.sounds or self._catalog.loudness.has_sound_between(start, end, chunk.stream_id):
            return True
        return self._catalog.loudness.is_loud_between(start, end, level)
