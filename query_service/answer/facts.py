"""Gathers what is known about a range: the spool first, then the catalog, a bounded number of chunks at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from edge.catalog import CatalogChunk, CatalogSound
from edge.core.errors import SpoolError
from edge.core.instant import Instant
from edge.core.values import Archive, Hole, SpoolState, Stream
from edge.spool.spool import Spool
from query_service.answer.spool_view import SpoolIndex, SpoolView, SpoolWatcher
from query_service.answer.tiling import KnownChunk, RangeFacts, Running


class CatalogFacts(Protocol):
    """What of the catalog's reading half is used here. Its methods raise CatalogBusy and CatalogError."""

    @property
    def path(self) -> Path: ...
    def chunks_between(self, start: Instant, end: Instant, limit: int) -> Sequence[CatalogChunk]: ...
    def chunk(self, chunk_id: str) -> CatalogChunk | None: ...
    def holes_between(self, start: Instant, end: Instant) -> Sequence[Hole]: ...
    def sounds_between(
        self, start: Instant, end: Instant, limit: int, *, loudest_first: bool = False
    ) -> Sequence[CatalogSound]: ...
    def archives(self, ids: Iterable[str]) -> Mapping[str, Archive]: ...
    def known(self, chunk_ids: Iterable[str]) -> set[str]: ...
    def streams(self, ids: Iterable[str]) -> Mapping[str, Stream]: ...


class FactReader:
    """Reads spool and catalog for answers; keeps what cannot change. One thread at a time."""

    def __init__(self, spool: Spool, catalog: CatalogFacts) -> None:
        self.spool = spool
        self._catalog = catalog
        self._watcher = SpoolWatcher(spool)
        self._index = SpoolIndex(spool)
        self._indexed: tuple[int, object] | None = None
        self.is_spool_unreadable = False  # as the last answer found it: what is in the spool alone is missing
        self._ordinals: dict[str, int] = {}

    def gather(
        self, start: Instant, end: Instant, limit: int, now: Instant, *, each_second: bool = False
    ) -> RangeFacts:
        """The facts of [start, end) from at most about `limit` chunks; `until` says how far they are complete.

        `each_second`: with the level of each second, which takes longer.

        Spool before catalog: a chunk leaves the spool only after the catalog committed where it went. Raises
        CatalogBusy, CatalogError.
        """
        facts, whole = self._gather(start, end, limit, now, each_second)
        if not whole:  # what left the spool while we read has a place in the catalog by now
            facts, _ = self._gather(start, end, limit, now, each_second)
        return facts

    def _gather(
        self, start: Instant, end: Instant, limit: int, now: Instant, each_second: bool
    ) -> tuple[RangeFacts, bool]:
        view = self._refreshed_view()
        only_in_spool = self._index.between(start, end, limit)
        known = self._catalog.known([entry.chunk_id for entry in only_in_spool]) if only_in_spool else set()
        self._index.drop(known)
        in_catalog = self._catalog.chunks_between(start, end, limit)
        catalog_until = in_catalog[-1].chunk.started_at if len(in_catalog) >= limit else end
        until = min(catalog_until, only_in_spool[-1].started_at if len(only_in_spool) == limit else end)
        intact = [entry for entry in in_catalog if entry.aside is None]
        here = [entry for entry in intact if self._is_accounted_for(entry, view)]
        chunks = {entry.chunk.chunk_id: KnownChunk(entry.chunk, entry.where, entry.gone) for entry in here}
        for entry in only_in_spool:
            chunk = None if entry.chunk_id in known else self._index.chunk(entry, each_second=each_second)
            if chunk is not None:
                chunks.setdefault(entry.chunk_id, KnownChunk(chunk))
        running = self._running(view, now)
        facts = RangeFacts(
            chunks=self._with_ordinals(list(chunks.values()), running),
            holes=tuple(self._holes(view, start, max(until, start), now)),
            running=running,
            archives=dict(self._catalog.archives({c.where.archive for c in chunks.values() if c.where})),
            until=until,
        )
        return facts, len(here) == len(intact)

    def sounds(self, start: Instant, end: Instant, limit: int, *, loudest_first: bool) -> list[CatalogSound]:
        """At most `limit` sounds that the catalog knows, and all that only the spool knows, that began in the range."""
        self._refreshed_view()
        in_catalog = self._catalog.sounds_between(start, end, limit, loudest_first=loudest_first)
        found = {sound.sound_id: sound for sound in in_catalog}
        for sound in self._index.sounds():
            before = found.get(sound.sound_id)
            if before is not None:  # the end of what began in a chunk that the catalog knows
                found[sound.sound_id] = replace(
                    before, ended_at=sound.ended_at, lafmax=max(before.lafmax, sound.lafmax), laeq=sound.laeq
                )
            elif start <= sound.started_at < end:
                found[sound.sound_id] = sound
        return list(found.values())

    def chunk(self, chunk_id: str) -> KnownChunk | None:
        """One chunk, wherever it is; None where it is not known or was found damaged."""
        entry = self._catalog.chunk(chunk_id)
        if entry is not None:
            return None if entry.aside is not None else KnownChunk(entry.chunk, entry.where, entry.gone)
        chunk = self._index.chunk_by_id(chunk_id)
        return KnownChunk(chunk) if chunk else None

    def archives(self, ids: Iterable[str]) -> dict[str, Archive]:
        return dict(self._catalog.archives(ids))

    def spool_view(self) -> SpoolView:
        """The spool now."""
        view = self._watcher.view()
        self.is_spool_unreadable = view.problem is not None
        return view

    def stream_here(self, stream_id: str) -> Stream | None:
        """A stream's record in the spool."""
        return self._index.stream(stream_id)

    def unknown_to_catalog(self) -> int:
        """How many of the spool's chunks the catalog did not know at the last gathering."""
        return len(self._index)

    def _refreshed_view(self) -> SpoolView:
        """The spool now, with the index of its chunks brought up to it."""
        view = self.spool_view()
        seen = (view.version, _file_id(self._catalog.path))
        if seen != self._indexed:
            self._index.refresh(view.listed, self._catalog.known, seen[1])
            self._indexed = seen
        return view

    def _is_accounted_for(self, entry: CatalogChunk, view: SpoolView) -> bool:
        if entry.where is not None or entry.gone is not None or entry.chunk.chunk_id in view.listed:
            return True
        try:  # finished and registered after the spool was listed, or lost
            return self.spool.chunks.has_audio(entry.chunk)
        except SpoolError:
            return True  # nothing shows that it is lost

    def _holes(self, view: SpoolView, start: Instant, until: Instant, now: Instant) -> list[Hole]:
        holes = set(self._catalog.holes_between(start, until))
        holes.update(self._index.holes())
        state = view.state
        if state is not None:
            holes.update(state.holes)
            if state.open_hole is not None:
                holes.add(Hole(state.open_hole.cause, state.open_hole.from_, now))
            stream = self._index.stream(state.stream_id) if state.stream_id else None
            holes.update(stream.before if stream else ())
        return [hole for hole in holes if hole.from_ < until and hole.to > start]

    def _running(self, view: SpoolView, now: Instant) -> Running | None:
        state = view.state
        if state is None or state.stream_id is None:
            return None
        stream = self._index.stream(state.stream_id)
        last = self._index.of_stream(state.stream_id)
        until = now if state.state == "recording" and view.is_alive(now) else view.flushed_at
        return running(state, stream, last.ended_at if last else None, until)

    def _with_ordinals(self, chunks: list[KnownChunk], running: Running | None) -> tuple[KnownChunk, ...]:
        """Ordinals decide between streams that claim the same time; where none does they are not looked up."""
        if not _overlap(chunks, running):
            return tuple(chunks)
        wanted = {known.chunk.stream_id for known in chunks} - self._ordinals.keys()
        for stream_id, stream in self._catalog.streams(wanted).items():
            self._ordinals[stream_id] = stream.ordinal
        for stream_id in wanted - self._ordinals.keys():
            if stream_here := self._index.stream(stream_id):
                self._ordinals[stream_id] = stream_here.ordinal
        return tuple(replace(known, ordinal=self._ordinals.get(known.chunk.stream_id, 0)) for known in chunks)


def running(
    state: SpoolState, stream: Stream | None, last_end: Instant | None, until: Instant | None
) -> Running | None:
    """The sound of the running stream that is in no finished chunk. `last_end`: of its last chunk in the spool.
    `until`: now while the recorder lives, else as far as it wrote.

    It may begin before the last finished chunk's end (state and chunk are written one after the other): chunks of the
    same stream are stronger.
    """
    uncertain = stream.uncertain if stream else True
    start = state.knot[1] if state.knot else last_end or state.since
    if last_end is not None:
        start = min(start, last_end)
    if until is None or until <= start:
        return None
    return Running(start, until, state.stream_id or "", state.ordinal, uncertain)


def _overlap(chunks: list[KnownChunk], running: Running | None) -> bool:
    """Whether two claim the same time."""
    spans = [(known.chunk.started_at, known.chunk.ended_at) for known in chunks]
    if running is not None:
        spans.append((running.from_, running.to))
    spans.sort()
    return any(later[0] < earlier[1] for earlier, later in pairwise(spans))


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
