"""Random histories of a node in microseconds around 1970, and a slow, obvious model of the state at each instant."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from edge.catalog import CatalogChunk, CatalogSound
from edge.catalog.values import ChunkClaim, ChunkRun, HoleRun, SoundKey, SoundRange, SoundRun
from edge.core.errors import SpoolError
from edge.core.ids import chunk_id
from edge.core.instant import Instant
from edge.core.values import Archive, Chunk, ClockStamp, Hole, HoleCause, OpenHole, SpoolState, Stream, Where
from edge.spool.chunks import PartFile, SpoolChunks, SpoolFile
from edge.spool.layout import SpoolLayout
from edge.spool.spool import RecorderLock, Spool
from edge.spool.state import StateFile, StreamRecords
from query_service.answer.catalog_facts import NoCatalog

NODE = "porch"
BOOT = "boot"
LENGTH = 60  # of the time in which histories happen, µs
CAUSES: tuple[HoleCause, ...] = ("restart", "crash", "paused", "device_lost")
Place = Literal["spool", "both", "stored", "quiet", "erased", "aside", "unregistered"]


class History(Struct, frozen=True):
    """All facts about a node, and the time of the query."""

    streams: tuple[Stream, ...]
    places: tuple[tuple[Chunk, Place], ...]
    holes: tuple[Hole, ...]  # in the catalog
    state: SpoolState
    flushed_at: Instant | None
    now: Instant


def make_chunk(stream: Stream, seq: int, start: int, end: int) -> Chunk:
    return Chunk(
        chunk_id=chunk_id(stream.stream_id, seq),
        node=NODE,
        stream_id=stream.stream_id,
        seq=seq,
        first_frame=seq * 100,
        frames=7,
        rate=8_000,
        channels=1,
        format="flac",
        bytes=1,
        sha256=hashlib.sha256(stream.stream_id.encode()).hexdigest(),
        crc32=0,
        started_at=Instant(start),
        ended_at=Instant(end),
        uncertain=stream.uncertain,
        clock=ClockStamp(BOOT, 8_000.0),
    )


def make_stream(number: int, uncertain: bool, before: tuple[Hole, ...] = ()) -> Stream:
    return Stream(
        stream_id=f"20260101T000000Z-aa{'hgfedcba'[number]}a",
        node=NODE,
        ordinal=number,  # sorted by it, ids are not
        boot_id=BOOT,
        device="noise",
        rate=8_000,
        channels=1,
        bits=16,
        format="flac",
        chunk_frames=100,
        uncertain=uncertain,
        utc_offset=0,
        knots=((0, Instant(0)),),
        before=before,
    )


@st.composite
def holes(draw: st.DrawFn) -> Hole:
    start = draw(st.integers(0, LENGTH - 1))
    return Hole(draw(st.sampled_from(CAUSES)), Instant(start), Instant(start + draw(st.integers(1, 15))))


@st.composite
def histories(draw: st.DrawFn) -> History:
    streams: list[Stream] = []
    places: list[tuple[Chunk, Place]] = []
    at = 0
    for number in range(draw(st.integers(0, 4))):
        before = tuple(draw(st.lists(holes(), max_size=1)))
        uncertain: bool = draw(st.booleans())
        stream = make_stream(number, uncertain, before)
        # mostly one after the other, now and then back in time, as after a boot without a clock
        at = draw(st.integers(0, LENGTH)) if draw(st.integers(0, 3)) == 0 else at + draw(st.integers(0, 5))
        for seq in range(draw(st.integers(0, 5))):
            length = draw(st.integers(1, 9))
            chunk = make_chunk(stream, seq, at, at + length)
            if seq == 0:
                chunk = replace(chunk, before=stream.before)
            places.append((chunk, draw(st.sampled_from(Place.__args__))))  # type: ignore[attr-defined]
            at += length
        streams.append(stream)
    now = Instant(draw(st.integers(0, LENGTH + 10)))
    flushed = draw(st.one_of(st.none(), st.integers(0, LENGTH)))
    return History(
        tuple(streams),
        tuple(places),
        tuple(draw(st.lists(holes(), max_size=3))),
        spool_states(draw, streams, at, now),
        None if flushed is None else Instant(flushed),
        now,
    )


def spool_states(draw: st.DrawFn, streams: Sequence[Stream], last_end: int, now: Instant) -> SpoolState:
    # `since` long ago: what is alive is told by the file being written
    long_ago = Instant(-60_000_000)
    waiting = tuple(draw(st.lists(holes(), max_size=1)))
    is_recording: bool = draw(st.booleans())
    if streams and is_recording:
        knot = (0, Instant(last_end))
        return SpoolState(
            state="recording",
            since=long_ago,
            boot_id=BOOT,
            ordinal=streams[-1].ordinal,
            stream_id=streams[-1].stream_id,
            knot=knot,
            holes=waiting,
        )
    opened = (
        OpenHole(draw(st.sampled_from(CAUSES)), Instant(draw(st.integers(0, LENGTH)))) if draw(st.booleans()) else None
    )
    return SpoolState(state="stopped", since=long_ago, boot_id=BOOT, ordinal=9, holes=waiting, open_hole=opened)


def catalog_entry(chunk: Chunk, place: Place) -> CatalogChunk | None:
    """What the catalog knows of a chunk in this place; None if nothing."""
    where = Where(f"{chunk.chunk_id}-00000000", chunk.member, 50, 1, chunk.sha256)
    match place:
        case "unregistered":
            return None
        case "spool":
            return CatalogChunk(chunk)
        case "both" | "stored":
            return CatalogChunk(chunk, where)
        case "quiet":
            return CatalogChunk(chunk, None, "quiet")
        case "erased":
            return CatalogChunk(chunk, where, "erased")
        case "aside":
            return CatalogChunk(chunk, None, None, "damaged")


class FakeCatalog(NoCatalog):
    """The reading half of the catalog, on a history."""

    def __init__(self, history: History) -> None:
        super().__init__(Path("/nonexistent/catalog.db"))
        self._history = history
        found = (catalog_entry(chunk, place) for chunk, place in history.places)
        self._entries = sorted(
            (known for known in found if known), key=lambda known: (known.chunk.started_at, known.chunk.chunk_id)
        )

    def chunk_run(
        self, start: Instant, end: Instant, limit: int, *, duration: int | None = None, times_only: bool = False
    ) -> ChunkRun:
        inside = [e for e in self._entries if e.chunk.started_at < end and e.chunk.ended_at > start][:limit]
        return ChunkRun(inside, inside[-1].chunk.started_at if len(inside) == limit else None)

    def claims(
        self, start: Instant, end: Instant, after: tuple[Instant, str] | None, limit: int
    ) -> Sequence[ChunkClaim]:
        ordinals = {stream.stream_id: stream.ordinal for stream in self._history.streams}
        found = (
            ChunkClaim(chunk.started_at, chunk.chunk_id, chunk.ended_at, chunk.uncertain, ordinals[chunk.stream_id],
                  entry.where is not None or entry.gone is not None)
            for entry in self._entries if entry.aside is None
            for chunk in [entry.chunk]
        )  # fmt: skip
        inside = (c for c in found if c.started_at < end and c.ended_at > start and (after is None or c[:2] > after))
        return list(islice(inside, limit))

    def chunks(self, ids: Iterable[str], *, each_second: bool = False) -> Sequence[CatalogChunk]:
        wanted = set(ids)
        return [known for known in self._entries if known.chunk.chunk_id in wanted]

    def last_chunks(self, start: Instant, end: Instant, limit: int) -> Sequence[CatalogChunk]:
        return [known for known in self._entries if start <= known.chunk.started_at < end][-limit:]

    def sound_run(self, wanted: SoundRange, after: SoundKey | None, limit: int) -> SoundRun:
        return SoundRun([])

    def sounds(self, ids: Iterable[str]) -> Sequence[CatalogSound]:
        return []

    def hole_run(self, start: Instant, end: Instant, limit: int) -> HoleRun:
        registered = [hole for known in self._entries for hole in known.chunk.before]
        inside = sorted(
            (h for h in [*self._history.holes, *registered] if h.from_ < end and h.to > start), key=lambda h: h.from_
        )[:limit]
        return HoleRun(inside, inside[-1].from_ if len(inside) == limit else None)

    def archives(self, ids: Iterable[str]) -> Mapping[str, Archive]:
        return {name: make_archive(name) for name in ids}

    def known(self, chunk_ids: Iterable[str]) -> set[str]:
        return {known.chunk.chunk_id for known in self._entries} & set(chunk_ids)

    def streams(self, ids: Iterable[str]) -> Mapping[str, Stream]:
        wanted = set(ids)
        return {stream.stream_id: stream for stream in self._history.streams if stream.stream_id in wanted}


def make_archive(name: str) -> Archive:
    return Archive(
        archive_id=name,
        node=NODE,
        bucket="sounds",
        key=f"imhearing/porch/1970/01/01/{name}.zip",
        bytes=100,
        sha256=None,
        chunks=1,
        started_at=Instant(0),
        ended_at=Instant(1),
        planned_at=Instant(2),
    )


class FakeSpool(Spool):
    """The reading half of the spool, on a history."""

    def __init__(self, history: History) -> None:
        super().__init__(Path("/nonexistent/spool"), NODE)
        self.layout = _FakeLayout(self.path)
        self.chunks = _FakeChunks(self.layout, history)
        self.streams = _FakeStreams(self.layout, history)
        self.state = _FakeState(self.layout, history)
        self.recorder_lock = _HeldLock(self.layout)


class _FakeLayout(SpoolLayout):
    def stream_path(self, stream_id: str) -> Path:
        return Path(__file__)  # any file that exists: its mtime is compared


class _FakeChunks(SpoolChunks):
    def __init__(self, layout: SpoolLayout, history: History) -> None:
        super().__init__(layout, NODE)
        self._folder, self._history = layout.path, history
        here = ("spool", "both", "unregistered", "aside")
        self._here = {chunk.chunk_id: chunk for chunk, place in history.places if place in here}

    def finished(self, known: Iterable[SpoolFile] = ()) -> dict[str, SpoolFile]:
        return {name: SpoolFile(name, str(self._folder / name), 1) for name in self._here}

    def manifest(self, chunk_id: str) -> Chunk:
        return self._here[chunk_id]

    def parts(self) -> list[PartFile]:
        history = self._history
        if history.flushed_at is None or history.state.stream_id is None:
            return []
        part = chunk_id(history.state.stream_id, 99)
        return [PartFile(part, "flac", self._folder / f"{part}.flac.part", 1, history.flushed_at)]


class _HeldLock(RecorderLock):
    def is_held(self) -> bool:
        return True


class _FakeState(StateFile):
    def __init__(self, layout: SpoolLayout, history: History) -> None:
        super().__init__(layout)
        self._history = history

    def read(self) -> SpoolState | None:
        return self._history.state


class _FakeStreams(StreamRecords):
    def __init__(self, layout: SpoolLayout, history: History) -> None:
        super().__init__(layout, NODE)
        self._history = history

    def read(self, stream_id: str) -> Stream:
        for stream in self._history.streams:
            if stream.stream_id == stream_id:
                return stream
        raise SpoolError("no such stream")


def expected_state(history: History, moment: int) -> tuple[str, ...]:
    """The state at one instant, and its chunk or cause. Slow, and written exactly as the rules are stated."""
    ordinals = {stream.stream_id: stream.ordinal for stream in history.streams}
    best: tuple[tuple[bool, int, int], tuple[str, ...]] | None = None
    for chunk, place in history.places:
        if place != "aside" and chunk.started_at <= moment < chunk.ended_at:
            rank = (not chunk.uncertain, ordinals[chunk.stream_id], chunk.seq)
            shown = {"quiet": "expired", "erased": "expired", "both": "recorded", "stored": "recorded"}.get(
                place, "pending"
            )
            cause = (place,) if shown == "expired" else ()
            if best is None or rank > best[0]:
                best = (rank, (shown, chunk.chunk_id, *cause))
    state = history.state
    if state.stream_id is not None and state.knot is not None and history.flushed_at is not None:
        stream = next(s for s in history.streams if s.stream_id == state.stream_id)
        pending_ends = [
            chunk.ended_at
            for chunk, place in history.places
            if place == "unregistered" and chunk.stream_id == state.stream_id
        ]
        start = min([state.knot[1], *pending_ends[-1:]])
        # everything happens within microseconds of now: whoever flushed is alive
        if start <= moment < history.now:
            rank = (not stream.uncertain, stream.ordinal, -1)
            if best is None or rank > best[0]:
                best = (rank, ("recording",))
    if best is not None:
        return best[1]
    if moment >= history.now:
        return ("future",)
    inside = [hole for hole in _reported_holes(history) if hole.from_ <= moment < hole.to]
    if not inside:
        return ("gap", "unknown")
    hole = min(inside, key=lambda hole: (-hole.from_, hole.to, hole.cause))
    return ("paused",) if hole.cause == "paused" else ("gap", hole.cause)


def _reported_holes(history: History) -> list[Hole]:
    reported = [*history.holes, *history.state.holes]
    for chunk, _ in history.places:
        reported += chunk.before
    if history.state.open_hole is not None:
        reported.append(Hole(history.state.open_hole.cause, history.state.open_hole.from_, history.now))
    for stream in history.streams:
        if stream.stream_id == history.state.stream_id:
            reported += stream.before
    return reported
