"""Random days of a node, in a real catalog and a real spool: streams, gaps, what is being recorded, any zone."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from edge.archiver.plan.plan import make_plan
from edge.catalog import Catalog, CatalogReader
from edge.catalog.budget import Budget
from edge.core.ids import chunk_id, sound_id
from edge.core.instant import Instant
from edge.core.values import Chunk, Hole, HoleCause, Levels, LevelUnit, OpenHole, SoundSpan, SpoolState
from edge.spool.spool import Spool
from query_service.answer.facts import FactReader
from query_service.answer.node_answers import Responder
from query_service.queries.protocol import Answer, Request
from query_service.queries.values import ErrorAnswer
from tests.support.catalog import TARGET
from tests.support.spool.chunks import BOOT, RATE, SECOND, make_chunk, make_stream, put_chunk, set_mtime

HOUR = 3_600
# where clocks change within the next days, and where days begin within a quarter-hour
BASES = {
    "2026-03-28T20:00:00Z": ("Europe/Berlin", "UTC", "Asia/Kathmandu"),
    "2026-10-24T20:00:00Z": ("Europe/Berlin", "America/Los_Angeles"),
    "2026-04-04T12:00:00Z": ("Australia/Lord_Howe", "Asia/Kolkata"),
    "1930-06-01T22:00:00Z": ("Europe/Amsterdam",),
    "2011-12-29T10:00:00Z": ("Pacific/Apia",),
}
STREAMS = tuple(f"20260303T220000Z-{name}" for name in ("abcd", "zzzz", "aaaa"))
Place = Literal["spool", "waiting", "stored", "quiet", "erased"]


class PlacedChunk(Struct, frozen=True):
    start: int  # seconds after the base
    length: int
    place: Place
    unit: LevelUnit
    levels: list[int]
    sounds: list[int]


class Story(Struct, frozen=True):
    base: str
    zone: str
    streams: list[list[PlacedChunk]]
    holes: list[tuple[HoleCause, int, int]]  # before the first stream, which the catalog may have
    holes_known: bool
    open_since: int | None
    running_for: int
    now: int
    limit: int
    cpu: float
    rows: int

    def at(self, seconds: float) -> Instant:
        return Instant(Instant.parse(self.base) + round(seconds * SECOND))


moments = st.integers(0, 80).map(lambda n: n * 1_871)
chunks = st.builds(
    PlacedChunk, moments, st.sampled_from([1, 60, 900, 5_000, 40_000]), st.sampled_from(Place.__args__),  # type: ignore[attr-defined]
    st.sampled_from(["dBA", "dBFS"]), st.lists(st.integers(-60, -20), max_size=5),
    st.lists(st.integers(0, 50), max_size=2, unique=True),
)  # fmt: skip
holes = st.tuples(st.sampled_from(["crash", "paused", "restart"]), moments, st.integers(1, 90_000))
stories = st.sampled_from(sorted(BASES)).flatmap(
    lambda base: st.builds(
        Story, st.just(base), st.sampled_from(BASES[base]), st.lists(st.lists(chunks, max_size=4), max_size=3),
        st.lists(holes, max_size=2),
        st.booleans(), st.one_of(st.none(), moments), st.integers(0, 3_000), moments, st.integers(1, 5),
        st.sampled_from([0.0, 0.04, 0.2]), st.sampled_from([16, 6_000]),
    )
)  # fmt: skip


def _chunk(story: Story, stream: str, seq: int, placed: PlacedChunk) -> Chunk:
    first = seq * RATE * 100_000
    spans = tuple(
        SoundSpan(sound_id(stream, first + at * 100), first + at * 100, 50, -20.0, -25.0) for at in placed.sounds
    )
    levels = Levels(placed.unit, False, -40.0, -30.0, -10.0, -30.0, -40.0, -50.0, tuple(map(float, placed.levels)))
    return replace(
        make_chunk(seq, b"x", stream_id=stream, sounds=spans), levels=levels, chunk_id=chunk_id(stream, seq),
        first_frame=first, frames=placed.length * RATE, started_at=story.at(placed.start),
        ended_at=story.at(placed.start + placed.length),
    )  # fmt: skip


# both claim the same second, one of them without a level; of neither stream the catalog knows more than the chunk
TWO_STREAMS = Story(
    "2026-03-28T20:00:00Z", "UTC",
    [[PlacedChunk(0, 60, "waiting", "dBA", [], [])], [], [PlacedChunk(0, 1, "waiting", "dBA", [-20], [])]],
    [], False, None, 0, 200_000, 5, 0.0, 6_000,
)  # fmt: skip
# what the spool alone has of one moment is more than what is read at once
OVERLAPPING_IN_SPOOL = Story(
    "2026-03-28T20:00:00Z", "UTC",
    [[PlacedChunk(0, 40_000, "spool", "dBA", [], [])] for _ in STREAMS], [], False, None, 0, 200_000, 5, 0.0, 16,
)  # fmt: skip


class Node(Struct):
    """`make` a responder with that budget."""

    make: Callable[[Callable[[], Budget]], Responder]
    clock: Callable[[], float]
    chunks: dict[str, Chunk]
    running: tuple[Instant, Instant] | None


@contextlib.contextmanager
def node(story: Story) -> Iterator[Node]:
    now = [0.0]

    def clock() -> float:
        now[0] += story.cpu
        return now[0]

    with tempfile.TemporaryDirectory() as name, contextlib.closing(Catalog(Path(name) / "catalog.db")) as catalog:
        spool = Spool(Path(name) / "spool", "porch")
        spool.create()
        catalog.open()
        found = {}
        for number, placed in enumerate(story.streams):
            holes = tuple(Hole(cause, story.at(at), story.at(at + length)) for cause, at, length in story.holes)
            stream = make_stream(STREAMS[number], ordinal=number, before=holes if number == 0 else ())
            spool.streams.write(stream)
            if story.holes_known:
                catalog.registration.put_stream(stream)
            for seq, one in enumerate(placed):
                chunk = found[chunk_id(STREAMS[number], seq)] = _chunk(story, STREAMS[number], seq, one)
                _put(spool, catalog, chunk, one.place)
        _write_state(story, spool)
        with contextlib.closing(CatalogReader(catalog.path)) as catalog_reader:
            reader = FactReader(spool, catalog_reader)
            yield Node(
                lambda budget: Responder(
                    "porch", reader, lambda _: None, clock=lambda: story.at(story.now), make_budget=budget
                ),
                clock,
                found,
                _running(story, found),
            )


def _running(story: Story, chunks: dict[str, Chunk]) -> tuple[Instant, Instant] | None:
    """What is being recorded: from where its last chunk in the spool ended, if that is earlier than the state says."""
    if not (story.streams and story.running_for and story.open_since is None):
        return None
    placed = story.streams[-1]
    ends = [story.at(one.start + one.length) for one in placed[-1:] if one.place == "spool"]
    start = min([story.at(story.now - story.running_for), *ends])
    return (start, story.at(story.now)) if start < story.at(story.now) else None


def _put(spool: Spool, catalog: Catalog, chunk: Chunk, place: Place) -> None:
    if place in ("spool", "waiting"):
        put_chunk(spool, chunk, b"x")
    if place != "spool":
        catalog.registration.add_chunks([chunk])
    if place == "stored":
        plan = make_plan([chunk], {}, TARGET)
        catalog.plans.commit(plan.archive(Instant(1)), plan.members, plan.manifest)
        catalog.plans.mark_uploaded(plan.archive_id, "0" * 64, Instant(1))
    if place in ("quiet", "erased"):
        catalog.deletions.mark_gone([chunk.chunk_id], place)


def _write_state(story: Story, spool: Spool) -> None:
    if story.streams and story.running_for and story.open_since is None:
        stream = STREAMS[len(story.streams) - 1]
        part = spool.layout.part_path(chunk_id(stream, 99), "flac")
        part.write_bytes(b"x")
        set_mtime(part, story.at(story.now))
        knot = (0, story.at(story.now - story.running_for))
        spool.state.write(
            SpoolState(state="recording", since=knot[1], boot_id=BOOT, ordinal=9, stream_id=stream, knot=knot)
        )
        return
    hole = None if story.open_since is None else OpenHole("device_lost", story.at(story.open_since))
    spool.state.write(SpoolState(state="stopped", since=story.at(0), boot_id=BOOT, ordinal=9, open_hole=hole))


def pages(responder: Responder, request: Request) -> Iterator[Any]:
    busy = 0
    while True:
        answer: Answer = responder.answer(request)
        if isinstance(answer, ErrorAnswer):
            assert answer.error.code == "busy", answer
            busy += 1
            assert busy < 1_000, "no progress"
            continue
        yield answer
        if getattr(answer, "next", None) is None:
            return
        request = replace(request, cursor=answer.next)  # type: ignore[union-attr]
