"""What goes, and when, by the owner's wishes: local copies, quiet chunks, the oldest on a full disk, old archives.

Whatever goes is committed to the catalog first. What `imhearing hold` protects stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from edge.archiver.retention.removal import remove_chunks, remove_discarded
from edge.catalog import Catalog
from edge.catalog.holds import Holds, read_holds
from edge.configuration.settings import Archive, Recorder
from edge.core.instant import MICROSECONDS, Instant
from edge.core.values import Chunk
from edge.spool.spool import Spool

log = logging.getLogger(__name__)

T = TypeVar("T")

# the disk is low before the recorder stops, and before it would begin again
_LOW_BYTES = 100_000_000
_LOW_PART = 8  # but no more than this part of a small disk
_STEP = 20  # chunks removed before looking again
_LOOK = 1_000  # chunks or archives that are looked at together
_DAY = 86_400 * MICROSECONDS
_MARGIN = 60 * MICROSECONDS


class Keeper:
    """Acts by `[archive] keep_local, keep_remote, when_full` and `[recorder] keep`. Raises SpoolError, CatalogError."""

    def __init__(
        self,
        spool: Spool,
        catalog: Catalog,
        archive: Archive,
        recorder: Recorder,
        sound_level: Callable[[], float],
        busy_with: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._spool, self._catalog, self._archive = spool, catalog, archive
        self._quiet = Quiet(catalog, recorder, sound_level) if recorder.keep == "sounds" else None
        self._busy_with = busy_with  # the archive that is being uploaded now
        self._copies: dict[str, Instant] = {}  # chunks that the store has too: since when

    def stored(self, chunks: Mapping[str, Instant]) -> None:
        """These chunks are in the store since then; their copies here are to be kept as long as is wished."""
        if self._archive.keep_local:
            self._copies.update(chunks)
            for chunk_id in chunks:
                self._spool.chunks.mark_retained(chunk_id)
        else:
            remove_chunks(self._spool, chunks)

    def forgotten(self, chunk_ids: Iterable[str]) -> None:
        """The spool no longer has these."""
        for chunk_id in chunk_ids:
            self._copies.pop(chunk_id, None)

    def settled(self, due: list[Chunk]) -> list[Chunk]:
        """Those of the due chunks that may be planned: while it is open whether one is quiet, later ones wait too."""
        return due if self._quiet is None else self._quiet.settled(due)

    def tidy(self, now: Instant) -> None:
        """Lets go what may go now."""
        self._expire_copies(now)
        if self._is_low():
            self._make_room()
        if self._quiet is not None and (quiet := self._quiet.to_discard(now)):
            log.info("discarding %d quiet chunks", len(quiet))
            self._catalog.deletions.mark_gone(quiet, "quiet")
            remove_chunks(self._spool, quiet)
        if self._archive.keep_remote:
            self._expire_archives(Instant(now - round(self._archive.keep_remote * _DAY)))

    def _expire_copies(self, now: Instant) -> None:
        until = now - round(self._archive.keep_local * MICROSECONDS)
        old = [chunk_id for chunk_id, since in self._copies.items() if since <= until]
        remove_chunks(self._spool, old)
        self.forgotten(old)

    def _make_room(self) -> None:
        while self._is_low() and self._copies:
            oldest = sorted(self._copies, key=self._copies.__getitem__)[:_STEP]
            remove_chunks(self._spool, oldest)
            self.forgotten(oldest)
        if self._archive.when_full == "drop_oldest" and self._is_low():
            remove_discarded(self._spool, self._catalog)  # first what could not be removed last time
            while self._is_low() and self._drop_oldest():
                pass

    def _drop_oldest(self) -> bool:
        """Gives up some chunks that the store does not have; False when none may go."""
        holds = read_holds(self._catalog.path)
        found = self._free(self._catalog.queue.waiting, lambda chunk: holds.touch(chunk.started_at, chunk.ended_at))
        free = [chunk.chunk_id for chunk in found[:_STEP]]
        if not free:
            return self._unplan(holds)
        log.error("the disk is full: deleting %d chunks, from %s on, that were never uploaded", len(free), free[0])
        self._catalog.deletions.mark_gone(free, "dropped")
        remove_chunks(self._spool, free)
        return True

    def _unplan(self, holds: Holds) -> bool:
        """Takes back the newest plan that is not under way and of which any chunk may go."""
        for archive in reversed(self._catalog.archive_records.open_plans()):
            chunks = [
                row.chunk for row in self._catalog.archive_records.members(archive.archive_id) if row.gone is None
            ]
            may_go = any(not holds.touch(chunk.started_at, chunk.ended_at) for chunk in chunks)
            if may_go and archive.archive_id != self._busy_with():
                self._catalog.plans.discard(archive.archive_id, maybe_in_store=True)
                return True
        return False

    def _expire_archives(self, before: Instant) -> None:
        holds = read_holds(self._catalog.path)
        archives = self._free(
            lambda limit: self._catalog.archive_records.uploaded_before(before, limit),
            lambda archive: holds.touch(archive.started_at, archive.ended_at),
        )
        for archive in archives:
            log.info("%s was kept for as long as was asked", archive.archive_id)
            self._catalog.deletions.expire_archive(archive.archive_id)

    def _free(self, oldest: Callable[[int], list[T]], is_held: Callable[[T], bool]) -> list[T]:
        """Some of the oldest that are not held; looks further back only while all that it sees is held."""
        limit = _LOOK
        while True:
            found = oldest(limit)
            free = [one for one in found if not is_held(one)]
            if free or len(found) < limit:
                return free
            limit *= 4

    def _is_low(self) -> bool:
        return self._spool.disk.free_bytes() < min(_LOW_BYTES, self._spool.disk.total_bytes() // _LOW_PART)


class Quiet:
    """Which of the waiting chunks no sound touches, before or after which one nothing is to be kept either.

    `sound_level` is the limit in force, 0 while none is set. A chunk that was as loud is one sound, whatever its
    manifest tells: it may have been recorded while no limit, or another one, was set.
    """

    def __init__(self, catalog: Catalog, recorder: Recorder, sound_level: Callable[[], float]) -> None:
        self._catalog, self._sound_level = catalog, sound_level
        self._before = round(recorder.pre_roll * MICROSECONDS)
        self._after = round(recorder.post_roll * MICROSECONDS)
        self._patience = round(2 * recorder.record_period * MICROSECONDS) + _MARGIN
        self._loud: set[str] = set()  # decided: to be kept
        self._horizon = Instant(0)  # as far as sounds are known
        self._warned = False

    def to_discard(self, now: Instant) -> list[str]:
        """The quiet ones among those of which it is known. None while no sound level is set: nothing would be loud."""
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
        # where nothing newer comes, what is in no finished chunk by now will not tell of a sound
        self._horizon = max(newest, Instant(now - self._patience))
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

    def settled(self, due: list[Chunk]) -> list[Chunk]:
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
