"""The spool's chunks that the catalog does not know: when each was, without reading its manifest twice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from msgspec.structs import replace

from edge.errors import SpoolError
from edge.instant import Instant
from edge.model import Chunk, Hole, Stream
from edge.names import stream_of
from edge.spool import Spool

log = logging.getLogger(__name__)

_KEPT_MANIFESTS = 512


class Entry(NamedTuple):
    """One chunk as its manifest tells it; times may since have been corrected."""

    chunk_id: str
    first_frame: int
    end_frame: int
    started_at: Instant
    ended_at: Instant
    uncertain: bool
    before: tuple[Hole, ...]


class SpoolIndex:
    """Kept between questions; one thread. The number of entries is that of chunks that wait for the archiver."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._entries: dict[str, Entry] = {}
        self._corrected: dict[str, Entry] = {}
        self._elsewhere: set[str] = set()  # the catalog answers for them
        self._unreadable: set[str] = set()
        self._manifests: dict[str, Chunk] = {}
        self._streams: dict[str, tuple[int, Stream]] = {}  # with the file's mtime, ns
        self._catalog: object = None

    def __len__(self) -> int:
        return len(self._entries)

    def refresh(self, listed: Iterable[str], known: Callable[[list[str]], set[str]], catalog: object) -> None:
        """Takes in what the spool lists now. `known`: which of some the catalog knows; `catalog` tells its file."""
        listed = set(listed)
        if catalog != self._catalog:
            self._elsewhere, self._catalog = set(), catalog
        self._entries = {name: entry for name, entry in self._entries.items() if name in listed}
        self._elsewhere &= listed
        self._unreadable &= listed
        new = listed - self._entries.keys() - self._elsewhere - self._unreadable
        self._elsewhere |= known(sorted(new))
        for chunk_id in sorted(new - self._elsewhere):
            self._take_in(chunk_id)
        self._corrected = {name: self._corrected_entry(entry) for name, entry in self._entries.items()}

    def drop(self, chunk_ids: Iterable[str]) -> None:
        """The catalog answers for these from now on."""
        for chunk_id in chunk_ids:
            self._entries.pop(chunk_id, None)
            self._corrected.pop(chunk_id, None)
            self._elsewhere.add(chunk_id)

    def between(self, start: Instant, end: Instant, limit: int) -> list[Entry]:
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

    def of_stream(self, stream_id: str) -> Entry | None:
        """The last of a stream's chunks here."""
        names = [name for name in self._entries if stream_of(name) == stream_id]
        return self._corrected[max(names)] if names else None

    def chunk(self, entry: Entry) -> Chunk | None:
        """The whole manifest with its times corrected, without the level of each second; None when it went."""
        chunk = self._manifest(entry.chunk_id)
        if chunk is None:
            return None
        return replace(chunk, started_at=entry.started_at, ended_at=entry.ended_at, uncertain=entry.uncertain)

    def stream(self, stream_id: str) -> Stream | None:
        """A stream's record in the spool, as it is now; None where it is missing or damaged."""
        try:
            changed = self._spool.stream_path(stream_id).stat().st_mtime_ns
            kept = self._streams.get(stream_id)
            if kept is None or kept[0] != changed:
                kept = self._streams[stream_id] = (changed, self._spool.stream(stream_id))
        except (OSError, SpoolError):
            return None
        return kept[1]

    def _take_in(self, chunk_id: str) -> None:
        chunk = self._manifest(chunk_id)
        if chunk is None:
            return
        self._entries[chunk_id] = Entry(
            chunk_id,
            chunk.first_frame,
            chunk.end_frame,
            chunk.started_at,
            chunk.ended_at,
            chunk.uncertain,
            chunk.before,
        )

    def _manifest(self, chunk_id: str) -> Chunk | None:
        kept = self._manifests.get(chunk_id)
        if kept is not None:
            return kept
        try:
            chunk = self._spool.manifest(chunk_id)
        except SpoolError as problem:
            if self._spool.manifest_path(chunk_id).exists():
                log.warning("left out of answers: %s", problem)
                self._unreadable.add(chunk_id)
            return None
        if chunk.levels is not None:
            chunk = replace(chunk, levels=replace(chunk.levels, per_second=()))
        if len(self._manifests) >= _KEPT_MANIFESTS:
            self._manifests.pop(next(iter(self._manifests)))
        self._manifests[chunk_id] = chunk
        return chunk

    def _corrected_entry(self, entry: Entry) -> Entry:
        # a correction shifts a stream and makes it certain; manifests written before it stay as they are
        if not entry.uncertain:
            return entry
        stream = self.stream(stream_of(entry.chunk_id))
        if stream is None or stream.uncertain:
            return entry
        return entry._replace(
            started_at=Instant(entry.started_at + stream.shift),
            ended_at=Instant(entry.ended_at + stream.shift),
            uncertain=False,
        )
