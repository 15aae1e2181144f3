"""Gathers what is known about a range: the spool first, then the catalog, a bounded number of chunks at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec.structs import asdict, replace

from edge.catalog import CatalogChunk, CatalogSound
from edge.catalog.budget import Budget
from edge.catalog.rollup.tiling import KnownChunk, RangeFacts, Running, overlap, tile
from edge.catalog.values import ChunkClaim, ChunkRun, SoundKey, SoundRange, SoundRun, sound_key
from edge.core.errors import BudgetSpent, QueryRefused, SpoolError
from edge.core.ids import stream_of
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import Archive, Chunk, EndedSound, Hole, SpoolState, Stream
from edge.spool.spool import Spool
from query_service.answer.catalog_facts import CatalogFacts, NoCatalog
from query_service.answer.crowd import Crowd, Crowds
from query_service.answer.scans import ALL, CHUNKS, SOUND
from query_service.answer.spool_view import SpoolEntry, SpoolIndex, SpoolView, SpoolWatcher
from query_service.answer.unfinished_sound import UnfinishedSound

_IN_SPOOL = 2_000  # manifests read from the spool at once: 0.2 s
_CHECKED = 512  # chunks of the spool: whether the catalog knows them by now
_LAST = 16  # chunks that began last: one of them ended last


class FactReader:
    """Reads spool and catalog for answers; keeps what cannot change. One thread at a time."""

    def __init__(self, spool: Spool, catalog: CatalogFacts) -> None:
        self.spool = spool
        self.catalog = catalog
        self._watcher = SpoolWatcher(spool)
        self._index = SpoolIndex(spool)
        self._indexed: tuple[int, object] | None = None
        self.budget = Budget()
        self._rows = self.budget.rows_left  # when the question began
        self.is_spool_unreadable = False  # as the last answer found it: what is in the spool alone is missing
        self._ordinals: dict[str, int] = {}
        self._crowds = Crowds()

    def without_catalog(self) -> FactReader:
        """A reader of the spool alone."""
        return FactReader(self.spool, NoCatalog(self.catalog.path))

    @contextlib.contextmanager
    def within(self, budget: Budget) -> Iterator[None]:
        """What is read meanwhile counts; BudgetSpent is raised once too much was."""
        self.budget, self._rows = budget, budget.rows_left
        with self.catalog.within(budget):
            yield

    def gather(
        self,
        start: Instant,
        end: Instant,
        limit: int,
        now: Instant,
        *,
        duration: int | None = None,
        with_holes: bool = False,
        times_only: bool = False,
    ) -> RangeFacts:
        """The facts of [start, end) from at most about `limit` chunks; `until` says how far they are complete.

        `duration`: with the level of each second, of about so many µs of sound; then without archives, and with holes
        only if `with_holes`. `times_only`: without levels and archives.

        Spool before catalog: a chunk leaves the spool only after the catalog committed where it went. Raises
        CatalogBusy, BudgetSpent, CatalogError.
        """
        with_holes |= duration is None
        rows, crowd = self.budget.rows_left, self._crowds.find(start, end, now)
        if crowd is None:
            facts, whole = self._gather(start, end, limit, now, duration, with_holes, times_only)
            if not whole:  # what left the spool while we read has a place in the catalog by now
                facts, _ = self._gather(start, end, limit, now, duration, with_holes, times_only)
            if facts.until > start or limit < rows:
                return facts
            alone, _ = self._gather(start, end, _IN_SPOOL, now, duration, False, times_only, ChunkRun([]))
            if alone.until <= start:
                raise QueryRefused(f"too many recordings in the spool claim the time at {start}", "internal")
            crowd = Crowd(start, tile(alone, start, alone.until, start)[0], self._rows)
            self._crowds.keep(crowd, end, now)
        return self._gather_crowd(crowd, end, now, duration, with_holes, times_only)

    def _gather_crowd(
        self, crowd: Crowd, end: Instant, now: Instant, duration: int | None, with_holes: bool, times_only: bool
    ) -> RangeFacts:
        """The facts of its piece. BudgetSpent until enough questions have read what claims it."""
        view = self._refreshed_view()
        crowd.read(
            lambda after, limit: self.catalog.claims(crowd.start, end, after, limit),
            lambda claim: self._is_here(claim, view),
            self.budget,
        )
        ids = crowd.chunk_ids if duration is None and not times_only else crowd.chunk_ids[:1]
        run = ChunkRun(self.catalog.chunks(ids, each_second=duration is not None), crowd.until)
        if len(run.chunks) < len(ids):
            self._crowds.drop(crowd, end)
            raise BudgetSpent("what claims the time has changed; repeat the question")
        facts, _ = self._gather(crowd.start, end, _IN_SPOOL, now, duration, with_holes, times_only, run)
        return replace(facts, left_out=crowd.count - len(ids))

    def _is_here(self, claim: ChunkClaim, view: SpoolView) -> bool:
        if claim.is_kept or claim.chunk_id in view.listed:
            return True
        return any(self._is_accounted_for(entry, view) for entry in self.catalog.chunks([claim.chunk_id]))

    def gather_levels(self, start: Instant, end: Instant, now: Instant, *, with_holes: bool = False) -> RangeFacts:
        """As `gather`, with the level of each second, from `start` on: something at least. BudgetSpent where another
        question can read more."""
        rows = self.budget.rows_left
        facts = self.gather(start, end, min(CHUNKS, rows), now, duration=SOUND, with_holes=with_holes)
        if facts.until > start:
            return facts
        if rows < self._rows:
            raise BudgetSpent("the question needs more of the catalog than one may read")
        return self.gather(start, end, self.budget.rows_left, now, duration=ALL, with_holes=with_holes)

    def _gather(
        self,
        start: Instant,
        end: Instant,
        limit: int,
        now: Instant,
        duration: int | None,
        with_holes: bool,
        times_only: bool,
        run: ChunkRun | None = None,
    ) -> tuple[RangeFacts, bool]:
        """`run`: the chunks of the catalog that count, if that is known."""
        view = self._refreshed_view()
        in_spool = self._index.between(start, end, min(limit, _IN_SPOOL))
        only_in_spool = _enough(in_spool, start, duration)
        known = self.catalog.known([entry.chunk_id for entry in only_in_spool]) if only_in_spool else set()
        self._index.drop(known)
        in_catalog, until = run or self.catalog.chunk_run(start, end, limit, duration=duration, times_only=times_only)
        is_cut = len(in_spool) == min(limit, _IN_SPOOL) or len(only_in_spool) < len(in_spool)
        ends = [until, only_in_spool[-1].started_at if is_cut else None]
        intact = [entry for entry in in_catalog if entry.aside is None]
        here = [entry for entry in intact if self._is_accounted_for(entry, view)]
        chunks = {entry.chunk.chunk_id: KnownChunk(entry.chunk, entry.where, entry.gone) for entry in here}
        for entry in only_in_spool:
            if entry.chunk_id in known:
                continue
            chunk = self._index.chunk(entry, each_second=duration is not None)
            if chunk is not None:
                chunks.setdefault(entry.chunk_id, KnownChunk(chunk))
        running = self._running(view, now)
        holes: list[Hole] = []
        if with_holes:
            until = min((each for each in ends if each is not None), default=end)
            holes, until = self._holes(view, start, max(until, start), now, limit)
            ends.append(until)
        facts = RangeFacts(
            chunks=self._with_ordinals(list(chunks.values()), {entry.chunk.chunk_id for entry in here}, running),
            holes=tuple(holes),
            running=running,
            archives={} if duration is not None or times_only else self._archives_of(chunks.values()),
            until=min((each for each in ends if each is not None), default=end),
        )
        return facts, len(here) == len(intact)

    def _archives_of(self, chunks: Iterable[KnownChunk]) -> dict[str, Archive]:
        return dict(self.catalog.archives({known.where.archive for known in chunks if known.where}))

    def last_chunk(self, start: Instant, now: Instant) -> Chunk | None:
        """The finished chunk that ended last, of those that began between `start` and now."""
        view = self._refreshed_view()
        self._index.drop(self.catalog.known(self._index.oldest(_CHECKED)))
        found = [self._index.chunk(entry) for entry in self._index.last(_LAST)]
        found += [
            entry.chunk
            for entry in self.catalog.last_chunks(start, Instant(now + 1), _LAST)
            if entry.aside is None and self._is_accounted_for(entry, view)
        ]
        recent = [chunk for chunk in found if chunk is not None and start <= chunk.started_at <= now]
        return max(recent, key=lambda chunk: chunk.ended_at, default=None)

    def sounds(self, wanted: SoundRange, after: SoundKey | None, limit: int) -> SoundRun:
        """The wanted sounds after that one, from catalog and spool: about `limit`, or fewer where the budget ends."""
        here = self._sounds_in_spool()
        in_catalog, until = self.catalog.sound_run(wanted, after, limit)
        found = {sound.sound_id: sound for sound in in_catalog if sound.sound_id not in here}
        for sound in here.values():
            key = sound_key(sound, loudest_first=wanted.loudest_first)
            is_wanted = wanted.start <= sound.started_at < wanted.end and (
                wanted.min_level is None or sound.lafmax >= wanted.min_level
            )
            if is_wanted and (after is None or key > after) and (until is None or key <= until):
                found[sound.sound_id] = sound
        by_key = sorted(found.values(), key=lambda sound: sound_key(sound, loudest_first=wanted.loudest_first))
        return SoundRun(by_key, until)

    def _sounds_in_spool(self) -> dict[str, CatalogSound]:
        """The sounds with a part that only the spool knows, whole; also those that ended in the chunk being written."""
        ended = self._watcher.ended_sounds()
        view = self._refreshed_view()
        running = view.state.stream_id if view.state else None
        self._index.drop(self.catalog.known(self._index.with_sounds()))
        found = {each.sound.sound_id: each for each in self._index.sounds()}
        here = [each for each in ended if stream_of(each.chunk_id) == running]
        wanted = {name for name, each in found.items() if each.began_before} | {each.sound_id for each in here}
        begun = {each.sound_id: each for each in self.catalog.sounds(sorted(wanted))}
        sounds = {
            name: _continued(begun[name], each.sound) if each.began_before and name in begun else each.sound
            for name, each in found.items()
        }
        for sound in here:
            before = sounds.get(sound.sound_id) or begun.get(sound.sound_id)
            if before is None:
                sounds[sound.sound_id] = self._unfinished(sound)
            elif before.ended_at is None:
                sounds[sound.sound_id] = _continued(before, sound)
        return sounds

    def _unfinished(self, sound: EndedSound) -> UnfinishedSound:
        stream = self._index.stream(stream_of(sound.chunk_id))
        return UnfinishedSound(**asdict(sound), uncertain=stream.uncertain if stream else True)

    def chunks(self, ids: Iterable[str]) -> dict[str, KnownChunk]:
        """Those of these chunks that are known, wherever they are, and were not found damaged."""
        wanted = set(ids)
        in_catalog = {entry.chunk.chunk_id: entry for entry in self.catalog.chunks(sorted(wanted))}
        found = {
            name: KnownChunk(entry.chunk, entry.where, entry.gone)
            for name, entry in in_catalog.items()
            if entry.aside is None
        }
        for name in wanted - in_catalog.keys():
            if chunk := self._index.chunk_by_id(name):
                found[name] = KnownChunk(chunk)
        return found

    def sound_only_in_spool(self, start: Instant, end: Instant) -> list[tuple[int, int]]:
        """Spans with a part in [start, end), of chunks that the catalog may not have yet."""
        self._refreshed_view()
        return [(entry.started_at, entry.ended_at) for entry in self._index.between(start, end)]

    def missing_in_rollup(self, start: Instant, end: Instant, now: Instant) -> list[tuple[int, int]]:
        """Spans of [start, end) in which the spool knows of sound, gaps or pauses that the catalog may not have yet."""
        spans, view = self.sound_only_in_spool(start, end), self.spool_view()
        holes = self._holes_in_spool(view, now)
        spans += [(hole.from_, hole.to) for hole in holes - self.catalog.rollup.known_holes(holes)]
        if running := self._running(view, now):
            spans.append((running.from_, running.to))
        return [(max(first, start), min(last, end)) for first, last in spans if first < end and last > start]

    def sounds_only_in_spool(self) -> list[Instant]:
        """When the sounds begin that the catalog does not have, in order."""
        found = self._sounds_in_spool()
        known = {sound.sound_id for sound in self.catalog.sounds(sorted(found))}
        return sorted(sound.started_at for name, sound in found.items() if name not in known)

    def kept_sound(self, now: Instant) -> tuple[Instant, Instant] | None:
        """From when to when there is sound that is kept; None where there is none."""
        spans, view = self.sound_only_in_spool(FIRST, LAST), self.spool_view()
        if running := self._running(view, now):
            spans.append((running.from_, running.to))
        if in_catalog := self.catalog.rollup.kept_sound():
            spans.append(in_catalog)
        return (Instant(min(start for start, _ in spans)), Instant(max(end for _, end in spans))) if spans else None

    def spool_view(self) -> SpoolView:
        """The spool now."""
        view = self._watcher.view()
        self.is_spool_unreadable = view.problem is not None
        return view

    def stream_here(self, stream_id: str) -> Stream | None:
        """A stream's record in the spool."""
        return self._index.stream(stream_id)

    def bits_of(self, stream_ids: Iterable[str]) -> dict[str, int]:
        """The bits of a sample in these streams, as far as they are known."""
        ids = set(stream_ids)
        known = {stream_id: stream.bits for stream_id, stream in self.catalog.streams(ids).items()}
        here = {stream_id: self._index.stream(stream_id) for stream_id in ids - known.keys()}
        return known | {stream_id: stream.bits for stream_id, stream in here.items() if stream is not None}

    def unknown_to_catalog(self) -> int:
        """How many of the spool's chunks the catalog did not know at the last gathering."""
        return len(self._index)

    def _refreshed_view(self) -> SpoolView:
        """The spool now, with the index of its chunks brought up to it."""
        view = self.spool_view()
        seen = (view.version, _file_id(self.catalog.path))
        if seen != self._indexed:
            self._index.refresh(view.listed, self.catalog.known, seen[1], lambda: self.budget.should_stop)
            self._indexed = seen
        return view

    def _is_accounted_for(self, entry: CatalogChunk, view: SpoolView) -> bool:
        if entry.where is not None or entry.gone is not None or entry.chunk.chunk_id in view.listed:
            return True
        try:  # finished and registered after the spool was listed, or lost
            return self.spool.chunks.has_audio(entry.chunk)
        except SpoolError:
            return True  # nothing shows that it is lost

    def _holes(
        self, view: SpoolView, start: Instant, until: Instant, now: Instant, limit: int
    ) -> tuple[list[Hole], Instant]:
        """The gaps and pauses of [start, until), and how far they are all there are."""
        in_catalog, complete_until = self.catalog.hole_run(start, until, limit)
        holes = {*in_catalog, *self._holes_in_spool(view, now)}
        until = until if complete_until is None else min(until, complete_until)
        return [hole for hole in holes if hole.from_ < until and hole.to > start], until

    def _holes_in_spool(self, view: SpoolView, now: Instant) -> set[Hole]:
        holes = set(self._index.holes())
        state = view.state
        if state is not None:
            holes.update(state.holes)
            if state.open_hole is not None:
                holes.add(Hole(state.open_hole.cause, state.open_hole.from_, now))
            stream = self._index.stream(state.stream_id) if state.stream_id else None
            holes.update(stream.before if stream else ())
        return holes

    def _running(self, view: SpoolView, now: Instant) -> Running | None:
        state = view.state
        if state is None or state.stream_id is None:
            return None
        stream = self._index.stream(state.stream_id)
        last = self._index.of_stream(state.stream_id)
        until = now if state.state == "recording" and view.is_alive(now) else view.flushed_at
        return running(state, stream, last.ended_at if last else None, until)

    def _with_ordinals(
        self, chunks: list[KnownChunk], in_catalog: set[str], running: Running | None
    ) -> tuple[KnownChunk, ...]:
        """Ordinals decide between streams that claim the same time; where none does they are not looked up.

        Of chunks in the catalog it is the catalog's, as for its roll-up and its claims: the spool may know the stream
        first, and one moment has one owner in every answer.
        """
        if not overlap(chunks, running):
            return tuple(chunks)
        wanted = {known.chunk.stream_id for known in chunks} - self._ordinals.keys()
        self._ordinals |= {stream_id: stream.ordinal for stream_id, stream in self.catalog.streams(wanted).items()}
        only_here = {known.chunk.stream_id for known in chunks if known.chunk.chunk_id not in in_catalog}
        streams = {stream_id: self._index.stream(stream_id) for stream_id in only_here - self._ordinals.keys()}
        in_spool = {stream_id: stream.ordinal for stream_id, stream in streams.items() if stream is not None}

        def ordinal(chunk: Chunk) -> int:
            other = 0 if chunk.chunk_id in in_catalog else in_spool.get(chunk.stream_id, 0)
            return self._ordinals.get(chunk.stream_id, other)

        return tuple(replace(known, ordinal=ordinal(known.chunk)) for known in chunks)


def _continued(before: CatalogSound, later: CatalogSound | EndedSound) -> CatalogSound:
    """A sound that began in an earlier chunk, as a later one knows it."""
    lafmax = max(before.lafmax, later.lafmax)
    return replace(before, ended_at=later.ended_at, lafmax=lafmax, laeq=later.laeq)


def _enough(entries: list[SpoolEntry], start: Instant, duration: int | None) -> list[SpoolEntry]:
    """The first of these with sound for `duration` µs after `start`, and the next one after `start`; None: all."""
    covered = 0
    for number, entry in enumerate(entries, 1):
        if duration is not None and covered >= duration and entry.started_at > start:
            return entries[:number]
        covered += entry.ended_at - max(entry.started_at, start)
    return entries


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


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
