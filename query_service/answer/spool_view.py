"""What lies in the spool, without listing a folder or reading a manifest twice that has not changed."""

from __future__ import annotations

import errno
import heapq
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from msgspec.structs import replace

from edge.catalog import CatalogSound
from edge.core.errors import BudgetSpent, SpoolError, SpoolMissing
from edge.core.ids import stream_of
from edge.core.instant import MICROSECONDS, Instant
from edge.core.values import Chunk, EndedSound, Hole, SoundSpan, SpoolState, Stream
from edge.spool.chunks import PartFile, SpoolFile
from edge.spool.spool import Spool

log = logging.getLogger(__name__)

_ALIVE_SECONDS = 10  # a recorder flushes every second: one that wrote nothing for so long is none
_KEPT_MANIFESTS = 512
_AT_ONCE = 256  # manifests that are read before others get a turn: 30 ms
_SETTLED_NS = 100_000_000  # changes within one tick of the kernel's clock leave a folder's time as it is


class SpoolView(NamedTuple):
    """The spool at one moment. `version` is another one whenever the listing may be.

    `flushed_at` is when the running stream's file being written last grew, if there is one; `seen_at` is when the
    recorder last wrote anything; `has_recorder` whether its process is there. `problem`: why the spool cannot be read
    now; `listed` is then what it held before.
    """

    listed: dict[str, SpoolFile]
    state: SpoolState | None
    flushed_at: Instant | None
    seen_at: Instant | None
    version: int
    has_recorder: bool = True
    problem: SpoolError | None = None

    def is_alive(self, now: Instant) -> bool:
        """Whether the recorder is there, and wrote of late."""
        return self.has_recorder and self.seen_at is not None and self.seen_at >= now - _ALIVE_SECONDS * MICROSECONDS


class SpoolWatcher:
    """Looks at a spool that others write. One thread."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._changed_at: tuple[int, ...] = ()  # the folders' mtimes of the listing kept, ns; empty: none is kept
        self._listed: dict[str, SpoolFile] = {}
        self._parts: list[PartFile] = []
        self._version = 0
        self._logged: set[str] = set()  # the problems there are now
        self._sounds_problem = ""  # that of `ended_sounds`

    def view(self) -> SpoolView:
        """The spool now, or why it cannot be read. Raises SpoolMissing."""
        try:
            view = self._view()
        except SpoolMissing:
            raise
        except SpoolError as problem:
            self._log(f"answers lack what is in the spool alone: {problem}")
            self._changed_at = ()
            return SpoolView(self._listed, None, None, None, self._version, problem=problem)
        if view.state is not None:
            self._logged.clear()
        return view

    def ended_sounds(self) -> tuple[EndedSound, ...]:
        """The sounds that ended in the chunk being written. Read them before the spool is listed: what is finished in
        between is in both, not in neither."""
        problem, sounds = "", tuple[EndedSound, ...]()
        try:
            sounds = self._spool.ended_sounds.read()
        except SpoolError as unreadable:
            problem = str(unreadable)
            if problem != self._sounds_problem:  # once, not with each answer
                log.warning("answers lack the sounds of the chunk being written: %s", problem)
        self._sounds_problem = problem
        return sounds

    def _view(self) -> SpoolView:
        """Raises SpoolError."""
        state = self._state()
        changed_at = self._folders_changed_at()
        if not changed_at or changed_at != self._changed_at or not self._parts_still_exist():
            looked_at = time.time_ns()
            # in this order: what is finished in between is in both, not in neither
            self._parts = self._spool.chunks.parts()
            self._listed = self._spool.chunks.finished(self._listed.values())
            self._version += 1
            self._changed_at = changed_at if looked_at - max(changed_at, default=0) > _SETTLED_NS else ()
        if state is None:
            return SpoolView(self._listed, None, None, None, self._version, self._has_recorder())
        own = [part.modified_at for part in self._parts if stream_of(part.chunk_id) == state.stream_id]
        seen_at = self._spool.state.recorder_seen_at(state, self._parts, self._listed)
        return SpoolView(self._listed, state, max(own, default=None), seen_at, self._version, self._has_recorder())

    def _has_recorder(self) -> bool:
        """Whether a recorder holds the spool. The kernel lets go of its lock when it dies."""
        try:
            return self._spool.recorder_lock.is_held()
        except SpoolError:
            return True  # we may not look

    def _parts_still_exist(self) -> bool:
        """Looks at the files being written, which grow without changing their folder. False when one is gone."""
        try:
            self._parts = [_now(part) for part in self._parts]
        except OSError:
            return False
        return True

    def _log(self, problem: str) -> None:
        """Logs it once, not with each answer."""
        if problem not in self._logged:
            log.warning("%s", problem)
        self._logged.add(problem)

    def _folders_changed_at(self) -> tuple[int, ...]:
        try:
            return tuple(folder.stat().st_mtime_ns for folder in self._spool.layout.folders())
        except (OSError, SpoolError):
            return ()  # listing them says what is wrong

    def _state(self) -> SpoolState | None:
        try:
            return self._spool.state.read()
        except SpoolError as problem:
            self._log(f"what the recorder does is not known: {problem}")
            return None


def _now(part: PartFile) -> PartFile:
    stat = part.path.stat()
    return part._replace(bytes=stat.st_size, modified_at=Instant(stat.st_mtime_ns // 1000))


class SpoolEntry(NamedTuple):
    """One chunk as its manifest tells it; times may since have been corrected."""

    chunk_id: str
    first_frame: int
    end_frame: int
    started_at: Instant
    ended_at: Instant
    uncertain: bool
    before: tuple[Hole, ...]
    sounds: tuple[SoundSpan, ...]


class SpoolSound(NamedTuple):
    """A sound as the spool's chunks tell it. `began_before`: in a chunk that only the catalog knows."""

    sound: CatalogSound
    began_before: bool


class SpoolIndex:
    """Kept between questions; one thread. The number of entries is that of chunks that wait for the archiver."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._entries: dict[str, SpoolEntry] = {}
        self._corrected: dict[str, SpoolEntry] = {}
        self._elsewhere: set[str] = set()  # the catalog answers for them
        self._unreadable: set[str] = set()
        self._manifests: dict[str, Chunk] = {}
        self._streams: dict[str, tuple[int, Stream]] = {}  # with the file's mtime, ns
        self._catalog: object = None

    def __len__(self) -> int:
        return len(self._entries)

    def refresh(
        self,
        listed: Iterable[str],
        known: Callable[[list[str]], set[str]],
        catalog: object,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Takes in what the spool lists now. `known`: which of some the catalog knows; `catalog` tells its file.

        Raises BudgetSpent once it `should_stop`: the next call goes on from there.
        """
        listed = set(listed)
        if catalog != self._catalog:
            self._elsewhere, self._catalog = set(), catalog
        self._entries = {name: entry for name, entry in self._entries.items() if name in listed}
        self._elsewhere &= listed
        self._unreadable &= listed
        new = sorted(listed - self._entries.keys() - self._elsewhere - self._unreadable)
        for first in range(0, len(new), _AT_ONCE):
            if first and should_stop():
                raise BudgetSpent("the spool is being read; try again soon")
            some = new[first : first + _AT_ONCE]
            here = known(some)
            self._elsewhere |= here
            self._take_in(name for name in some if name not in here)
        self._corrected = {name: self._corrected_entry(entry) for name, entry in self._entries.items()}

    def _take_in(self, chunk_ids: Iterable[str]) -> None:
        for chunk_id in chunk_ids:
            chunk = self._cached_chunk(chunk_id)
            if chunk is not None:
                self._entries[chunk_id] = SpoolEntry(**{name: getattr(chunk, name) for name in SpoolEntry._fields})

    def drop(self, chunk_ids: Iterable[str]) -> None:
        """The catalog answers for these from now on."""
        for chunk_id in chunk_ids:
            self._entries.pop(chunk_id, None)
            self._corrected.pop(chunk_id, None)
            self._elsewhere.add(chunk_id)

    def between(self, start: Instant, end: Instant, limit: int | None = None) -> list[SpoolEntry]:
        """At most `limit` entries with sound in [start, end), by their start, then their id."""
        found = [entry for entry in self._corrected.values() if entry.started_at < end and entry.ended_at > start]
        found.sort(key=lambda entry: (entry.started_at, entry.chunk_id))
        return found[:limit]

    def holes(self) -> Iterator[Hole]:
        """What lay before the streams that begin with one of these chunks."""
        for entry in self._entries.values():
            if entry.before:
                stream = self.stream(stream_of(entry.chunk_id))  # whose holes are corrected with its knots
                yield from stream.before if stream else entry.before

    def of_stream(self, stream_id: str) -> SpoolEntry | None:
        """The last of a stream's chunks here."""
        names = [name for name in self._entries if stream_of(name) == stream_id]
        return self._corrected[max(names)] if names else None

    def last(self, count: int) -> list[SpoolEntry]:
        """The `count` entries that began last."""
        return heapq.nlargest(count, self._corrected.values(), key=lambda entry: entry.started_at)

    def oldest(self, count: int) -> list[str]:
        """Some of these chunks, those known longest first."""
        return list(islice(self._entries, count))

    def with_sounds(self) -> list[str]:
        """Which of these chunks have sounds."""
        return [name for name, entry in self._entries.items() if entry.sounds]

    def sounds(self) -> Iterator[SpoolSound]:
        """The sounds of these chunks, each once: as the chunk with its latest part tells it."""
        latest: dict[str, tuple[SpoolEntry, SoundSpan]] = {}
        first: dict[str, SpoolEntry] = {}
        for name in sorted(self._corrected):
            entry = self._corrected[name]
            for span in entry.sounds:
                first.setdefault(span.sound_id, entry)
                latest[span.sound_id] = (entry, span)
        for sound_id, (entry, span) in latest.items():
            began_in = first[sound_id]
            started_at = _time_in(began_in, span.first_frame)
            ended_at = None if span.frames is None else _time_in(entry, span.first_frame + span.frames)
            sound = CatalogSound(sound_id, began_in.chunk_id, started_at, ended_at, span.lafmax, span.laeq)
            yield SpoolSound(sound, began_before=span.first_frame < began_in.first_frame)

    def chunk_by_id(self, chunk_id: str) -> Chunk | None:
        """As `chunk`, for one that was here when the spool was last looked at."""
        entry = self._corrected.get(chunk_id)
        return self.chunk(entry) if entry else None

    def chunk(self, entry: SpoolEntry, *, each_second: bool = False) -> Chunk | None:
        """The whole manifest with its times corrected; None when it went. Without the level of each second, unless
        asked for: those are not kept in memory."""
        chunk = self._read_chunk(entry.chunk_id) if each_second else self._cached_chunk(entry.chunk_id)
        if chunk is None:
            return None
        return replace(chunk, started_at=entry.started_at, ended_at=entry.ended_at, uncertain=entry.uncertain)

    def stream(self, stream_id: str) -> Stream | None:
        """A stream's record in the spool, as it is now; None where it is missing or damaged."""
        try:
            changed = self._spool.layout.stream_path(stream_id).stat().st_mtime_ns
            kept = self._streams.get(stream_id)
            if kept is None or kept[0] != changed:
                kept = self._streams[stream_id] = (changed, self._spool.streams.read(stream_id))
        except (OSError, SpoolError):
            return None
        return kept[1]

    def _cached_chunk(self, chunk_id: str) -> Chunk | None:
        """Without its levels per second, which would fill the memory; None where the spool no longer has it."""
        kept = self._manifests.get(chunk_id)
        if kept is not None:
            return kept
        chunk = self._read_chunk(chunk_id)
        if chunk is None:
            return None
        if chunk.levels is not None:
            chunk = replace(chunk, levels=replace(chunk.levels, per_second=()))
        if len(self._manifests) >= _KEPT_MANIFESTS:
            self._manifests.pop(next(iter(self._manifests)))
        self._manifests[chunk_id] = chunk
        return chunk

    def _read_chunk(self, chunk_id: str) -> Chunk | None:
        try:
            return self._spool.chunks.manifest(chunk_id)
        except SpoolError as problem:
            if problem.errno != errno.ENOENT:
                log.warning("left out of answers: %s", problem)
                self._unreadable.add(chunk_id)
            return None

    def _corrected_entry(self, entry: SpoolEntry) -> SpoolEntry:
        # manifests of an uncertain stream tell their times without its shift, and are never written again
        if not entry.uncertain:
            return entry
        stream = self.stream(stream_of(entry.chunk_id))
        if stream is None:
            return entry
        return entry._replace(
            started_at=Instant(entry.started_at + stream.shift),
            ended_at=Instant(entry.ended_at + stream.shift),
            uncertain=stream.uncertain,
        )


def _time_in(entry: SpoolEntry, frame: int) -> Instant:
    """The time of a frame of the chunk's stream, also one a little before or after it."""
    length, frames = entry.ended_at - entry.started_at, entry.end_frame - entry.first_frame
    return Instant(entry.started_at + (frame - entry.first_frame) * length // frames)
