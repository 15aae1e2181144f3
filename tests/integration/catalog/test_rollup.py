"""The roll-up, against a slow oracle that looks at every stretch between two moments at which anything changes."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.archiver.plan.plan import make_plan
from edge.catalog import Catalog, CatalogChunk, CatalogReader
from edge.catalog.rollup.summary import QUARTER, Summary
from edge.catalog.rows import silenced
from edge.catalog.values import SoundRange
from edge.core.ids import chunk_id, sound_id
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import Chunk, DiscardedChunk, Hole, Levels, SoundSpan, Stream
from tests.support.catalog import TARGET, make_chunks
from tests.support.spool.chunks import RATE, SECOND, START, make_chunk, make_stream

EXAMPLES = settings().max_examples
NOW = Instant(START)
FIRST_QUARTER = START // QUARTER
QUARTERS = 6  # with anything in them
BEFORE = 4 * 35_064  # four years: where only a wrong clock has been
STREAMS = tuple(f"20260303T220000Z-{name}" for name in ("abcd", "zzzz", "aaaa"))

Step = tuple[Any, ...]


def state_of(owner: object) -> str:
    match owner:
        case CatalogChunk():
            return f"expired:{owner.gone}" if owner.gone else "recorded" if owner.where else "pending"
        case Hole():
            return "paused" if owner.cause == "paused" else f"gap:{owner.cause}"
        case _:
            return "gap:unknown"


class Oracle:
    """Everything in a catalog, and who owns each moment."""

    def __init__(self, catalog: Catalog, path: Path) -> None:
        self._chunks = [entry for entry in catalog.every_chunk() if entry.aside is None]
        streams = catalog.streams({entry.chunk.stream_id for entry in self._chunks})
        self._ordinals = defaultdict(int, {name: stream.ordinal for name, stream in streams.items()})
        with contextlib.closing(sqlite3.connect(path)) as db:
            rows = db.execute("SELECT cause, started_at, ended_at FROM holes").fetchall()
        self._holes = [Hole(cause, Instant(begin), Instant(end)) for cause, begin, end in rows]
        aside = {entry.chunk.chunk_id for entry in catalog.every_chunk() if entry.aside is not None}
        found = catalog.sound_run(SoundRange(FIRST, LAST), None, 10_000).sounds
        self._sounds = [sound.started_at for sound in found if sound.chunk_id not in aside]

    def owner(self, moment: int) -> object:
        chunks = [e for e in self._chunks if e.chunk.started_at <= moment < e.chunk.ended_at]
        if chunks:
            return max(chunks, key=self._strength)
        holes = [hole for hole in self._holes if hole.from_ <= moment < hole.to]
        return min(holes, key=lambda hole: (-hole.from_, hole.to, hole.cause)) if holes else None

    def _strength(self, entry: CatalogChunk) -> tuple[bool, int, str, int]:
        chunk = entry.chunk
        return not chunk.uncertain, self._ordinals[chunk.stream_id], chunk.stream_id, chunk.seq

    def summary(self, start: int, end: int) -> Summary:
        points = {start, end}
        for entry in self._chunks:
            points |= {int(entry.chunk.started_at), int(entry.chunk.ended_at)}
        for hole in self._holes:
            points |= {int(hole.from_), int(hole.to)}
        times = Counter[str]()
        states: list[str] = []
        for here, there in pairwise(sorted(point for point in points if start <= point <= end)):
            state = state_of(self.owner(here))
            times[state] += there - here
            if not states or states[-1] != state:
                states.append(state)
        sounds = sum(start <= at < end for at in self._sounds)
        gaps = sum(state.startswith("gap:") for state in states)
        return Summary(states[0], states[-1], dict(times), gaps, sounds)

    def levels(self, start: int, end: int) -> dict[str, list[float]]:
        found: dict[str, list[float]] = defaultdict(list)
        for entry in self._chunks:
            chunk = entry.chunk
            if entry.gone == "erased" or chunk.levels is None:
                continue
            for second, level in enumerate(chunk.levels.per_second):
                at = chunk.started_at + Fraction(
                    second * chunk.rate * (chunk.ended_at - chunk.started_at), chunk.frames
                )
                if start <= at < end and at < chunk.ended_at and self.owner(math.floor(at)) is entry:
                    found[chunk.levels.unit].append(level)
        return found


@contextlib.contextmanager
def catalog_in_folder() -> Iterator[tuple[Catalog, Path]]:
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Catalog(Path(folder) / "c.db")) as catalog:
        yield catalog, Path(folder) / "c.db"


seconds = st.integers(0, QUARTERS * 900 * 4).map(lambda quarter: quarter / 4)
lengths = st.sampled_from([0.25, 1, 37, 60, 300, 900, 2_000, 20_000])
kinds: dict[str, st.SearchStrategy[Step]] = {
    "chunk": st.tuples(
        st.sampled_from(STREAMS), st.integers(0, 5), seconds, lengths, st.booleans(),
        st.sampled_from(["dBA", "dBFS", "none"]), st.lists(st.integers(-70, 20), max_size=40),
        st.lists(st.integers(0, 3_000), max_size=2),
    ),
    "stream": st.tuples(
        st.sampled_from(STREAMS), st.integers(1, 3), st.booleans(), st.sampled_from([0, -450, 900, 10_000]),
        st.lists(
            st.tuples(
                st.sampled_from(["crash", "restart", "paused", "unknown"]), st.one_of(seconds, st.just(-BEFORE * 900)),
                st.sampled_from([0, 1, 450, 900, 3_000, BEFORE * 900]),
            ),
            max_size=2,
        ),
    ),
    "upload": st.tuples(st.booleans()),
    "restore": st.tuples(),
    "expire": st.tuples(),
    "keep": st.tuples(),
    "gone": st.tuples(st.integers(0, 9), st.sampled_from(["quiet", "dropped", "erased"])),
    "aside": st.tuples(st.integers(0, 9)),
    "requeue": st.tuples(),
    "rewrite": st.tuples(st.integers(0, 9)),
}  # fmt: skip
steps = st.lists(
    st.sampled_from(["chunk", "chunk", "chunk", *kinds]).flatmap(
        lambda kind: kinds[kind].map(lambda values: (kind, *values))
    ),
    min_size=1,
    max_size=14,
)


def _chunk(
    stream: str, seq: int, start: float, length: float, uncertain: bool, unit: Any, levels: list[int], sounds: list[int]
) -> Chunk:
    frames, first = max(1, round(length * RATE)), seq * RATE * 1_000
    each = tuple(float(level) + 0.5 for level in levels)
    spans = tuple(
        SoundSpan(sound_id(stream, first + 8 * at), first + 8 * at, 100, -20.0, -25.0) for at in sorted(set(sounds))
    )
    at = Instant(START + round(start * SECOND))
    return replace(
        make_chunk(seq, b"x", stream_id=stream, sounds=spans), chunk_id=chunk_id(stream, seq), first_frame=first,
        frames=frames, started_at=at, ended_at=Instant(at + round(length * SECOND)), uncertain=uncertain,
        levels=None if unit == "none" else Levels(unit, False, -40.0, -30.0, -10.0, -30.0, -40.0, -50.0, each),
    )  # fmt: skip


def _stream(stream: str, ordinal: int, uncertain: bool, shift: int, holes: list[tuple[Any, float, float]]) -> Stream:
    before = tuple(
        Hole(cause, at := Instant(START + round(begin * SECOND)), Instant(at + round(length * SECOND)))
        for cause, begin, length in holes
    )
    return make_stream(stream, ordinal=ordinal, uncertain=uncertain, shift=shift * SECOND, before=before)


def _upload(catalog: Catalog, is_taken_back: bool) -> None:
    if waiting := catalog.queue.waiting(3):
        plan = make_plan(waiting, catalog.streams({chunk.stream_id for chunk in waiting}), TARGET)
        catalog.plans.commit(plan.archive(NOW), plan.members, plan.manifest)
        if is_taken_back:
            catalog.plans.take_back(plan.archive_id)
        else:
            catalog.plans.mark_uploaded(plan.archive_id, "0" * 64, NOW)


def _restore(catalog: Catalog) -> None:
    known = [_chunk(STREAMS[0], 9, 30, 60, False, "dBFS", [3], []), *catalog.queue.waiting(1)]
    plan = make_plan(known, {}, TARGET)
    catalog.registration.restore_archive(replace(plan.archive(NOW), uploaded_at=NOW), plan.members)


def _rewrite(catalog: Catalog, number: int) -> None:
    for old in catalog.archive_records.uploaded_ids()[:1]:
        described = catalog.archive_records.chunks_for_manifest(old)
        rows = [row for row in catalog.archive_records.members(old) if row.gone is None]
        members = [described[row.chunk.chunk_id] for row in rows]
        erased = [DiscardedChunk(silenced(chunk), "erased") for chunk in members[number : number + 1]]
        members[number : number + 1] = []
        if members or erased:
            plan = make_plan(members, {}, TARGET, erased, old)
            catalog.plans.commit_rewrite(plan.archive(NOW), plan.manifest)
            archive = catalog.archives([plan.archive_id])[plan.archive_id]
            catalog.plans.mark_rewritten(archive, "1" * 64, NOW, plan.members, plan.discarded)


def _keep(catalog: Catalog) -> None:
    for archive in catalog.archive_records.pending_deletion():
        catalog.deletions.keep_archive(archive.archive_id, NOW)


def _expire(catalog: Catalog) -> None:
    for archive_id in catalog.archive_records.uploaded_ids()[:1]:
        catalog.deletions.expire_archive(archive_id)


def _some_id(catalog: Catalog, number: int) -> list[str]:
    return [entry.chunk.chunk_id for entry in catalog.every_chunk()][number : number + 1]


# as the archiver does; a step that has nothing to work on does nothing
ACTIONS: dict[str, Callable[..., object]] = {
    "chunk": lambda catalog, *values: catalog.registration.add_chunks([_chunk(*values)]),
    "stream": lambda catalog, *values: catalog.registration.put_stream(_stream(*values)),
    "upload": _upload,
    "restore": _restore,
    "expire": _expire,
    "keep": _keep,
    "gone": lambda catalog, number, cause: catalog.deletions.mark_gone(_some_id(catalog, number), cause),
    "aside": lambda catalog, number: catalog.queue.set_aside(dict.fromkeys(_some_id(catalog, number), "damaged")),
    "requeue": lambda catalog: catalog.queue.requeue(catalog.queue.aside()),
    "rewrite": _rewrite,
}


def assert_equal(found: Summary, oracle: Oracle, start: int, end: int) -> None:
    wanted, levels = oracle.summary(start, end), oracle.levels(start, end)
    assert replace(found, levels={}, times={s: t for s, t in found.times.items() if t}) == wanted
    assert set(found.levels) == set(levels)
    for unit, sums in found.levels.items():
        assert (sums.seconds, sums.maximum) == (len(levels[unit]), max(levels[unit]))
        assert math.isclose(sums.energy, sum(10 ** (level / 10) for level in levels[unit]))


def assert_histograms(path: Path, oracle: Oracle) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT quarter, dbfs_histogram, dba_histogram FROM quarters").fetchall()
    for quarter, *histograms in rows:
        levels = oracle.levels(quarter * QUARTER, (quarter + 1) * QUARTER)
        for unit, text in zip(("dBFS", "dBA"), histograms, strict=True):
            first, *counts = json.loads(text) or [0]
            assert {first + n: count for n, count in enumerate(counts) if count} == Counter(
                map(math.floor, levels[unit])
            )


@given(steps, st.lists(st.tuples(st.integers(-3, QUARTERS + 30), st.integers(1, 20)), min_size=1, max_size=4))
@settings(max_examples=max(150, EXAMPLES), deadline=None)
def test_the_rollup_is_what_chunks_and_holes_add_up_to(history: list[Step], spans: list[tuple[int, int]]) -> None:
    runs = [(FIRST_QUARTER + number, FIRST_QUARTER + number + 1) for number in range(-2, QUARTERS + 2)]
    runs += [(FIRST_QUARTER + first, FIRST_QUARTER + first + length) for first, length in spans]
    runs += [(FIRST_QUARTER - BEFORE - 5, FIRST_QUARTER + 99), (FIRST_QUARTER - BEFORE + 7, FIRST_QUARTER - 50)]
    with catalog_in_folder() as (catalog, path):
        for kind, *values in history:
            ACTIONS[kind](catalog, *values)
        oracle = Oracle(catalog, path)
        with contextlib.closing(CatalogReader(path)) as reader:
            for (first, end), found in zip(runs, reader.rollup.summaries(runs), strict=True):
                assert_equal(found, oracle, first * QUARTER, end * QUARTER)
        assert_histograms(path, oracle)


def test_a_failed_session_leaves_the_rollup_as_it_was(catalog: Catalog, path: Path) -> None:
    catalog.registration.add_chunks(make_chunks(3))
    run = [(FIRST_QUARTER, FIRST_QUARTER + 1)]
    before = catalog.rollup.summaries(run)
    with contextlib.suppress(ZeroDivisionError), catalog.file.session() as tables:
        tables.Chunk[make_chunks(1)[0].chunk_id].state = "aside"
        raise ZeroDivisionError
    assert catalog.rollup.summaries(run) == before
    catalog.registration.add_chunks(make_chunks(4))
    assert catalog.rollup.summaries(run)[0].times["pending"] == 4 * SECOND


def test_an_earlier_catalog_gets_its_rollup_when_the_archiver_opens_it(catalog: Catalog, path: Path) -> None:
    catalog.registration.add_chunks(make_chunks(3))
    catalog.registration.put_stream(make_stream(before=(Hole("crash", Instant(START - 5 * SECOND), START),)))
    runs = [(FIRST_QUARTER - 1, FIRST_QUARTER + 1)]
    wanted = catalog.rollup.summaries(runs)
    catalog.close()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE quarters")
        db.execute("PRAGMA user_version = 2")
    with contextlib.closing(Catalog(path)) as upgraded:
        upgraded.open()
        assert upgraded.rollup.summaries(runs) == wanted


@pytest.mark.parametrize("start", [FIRST, Instant(LAST - 59 * SECOND)])
def test_a_chunk_at_the_ends_of_time_is_summed_up(catalog: Catalog, start: Instant) -> None:
    chunk = replace(make_chunk(0, b"x"), started_at=start, ended_at=Instant(start + 10 * SECOND))
    catalog.registration.add_chunks([chunk])
    catalog.registration.put_stream(make_stream(before=(Hole("power", FIRST, LAST),)))
    run = (start // QUARTER, start // QUARTER + 1)
    assert catalog.rollup.summaries([run])[0].times["pending"] == 10 * SECOND
    whole = catalog.rollup.summaries([(FIRST // QUARTER, LAST // QUARTER + 1)])[0]
    assert whole.times == {"pending": 10 * SECOND, "gap:power": LAST - FIRST - 10 * SECOND, "gap:unknown": 1}


def test_a_chunk_that_claims_millennia_takes_few_rows(catalog: Catalog, path: Path) -> None:
    chunk = replace(make_chunk(0, b"x", seconds=60), started_at=FIRST, ended_at=LAST)
    catalog.registration.add_chunks([chunk])
    with contextlib.closing(sqlite3.connect(path)) as db:
        (rows,) = db.execute("SELECT count(*) FROM quarters").fetchone()
    assert rows <= 62
    assert catalog.rollup.summaries([(FIRST // QUARTER, LAST // QUARTER + 1)])[0].levels["dBFS"].seconds == 60


def assert_as_oracle(catalog: Catalog, path: Path, quarters: int) -> None:
    oracle = Oracle(catalog, path)
    runs = [(FIRST_QUARTER + number, FIRST_QUARTER + number + 1) for number in range(-quarters, quarters)]
    for (first, end), found in zip(runs, catalog.rollup.summaries(runs), strict=True):
        assert_equal(found, oracle, first * QUARTER, end * QUARTER)


def test_a_sound_counts_where_it_begins_though_no_chunk_is_there(catalog: Catalog) -> None:
    """It began in a chunk that was lost, half an hour before the one that tells of it."""
    span = SoundSpan(sound_id(STREAMS[0], 0), 0, None, -20.0, -25.0)
    chunk = make_chunk(30, b"x", seconds=60, start=START, sounds=(span,))
    run = [(FIRST_QUARTER, FIRST_QUARTER + 1)]
    catalog.registration.add_chunks([chunk])
    assert catalog.rollup.summaries(run)[0].sounds == 1
    catalog.queue.set_aside({chunk.chunk_id: "damaged"})
    assert catalog.rollup.summaries(run)[0].sounds == 0
    catalog.queue.requeue([chunk.chunk_id])
    assert catalog.rollup.summaries(run)[0].sounds == 1
    catalog.deletions.mark_gone([chunk.chunk_id], "erased")
    assert catalog.rollup.summaries(run)[0].sounds == 0


def _register_rivals(catalog: Catalog, uncertain: bool) -> None:
    """Two recordings that claim the same minute, in different units."""
    catalog.registration.add_chunks(
        _chunk(stream, 0, 0, 60, uncertain, unit, [-50] * 60, [])
        for stream, unit in zip(STREAMS[:2], ("dBA", "dBFS"), strict=True)
    )


def test_a_stream_known_later_than_its_chunk_still_wins_by_its_ordinal(catalog: Catalog, path: Path) -> None:
    _register_rivals(catalog, uncertain=False)
    run = [(FIRST_QUARTER, FIRST_QUARTER + 1)]
    assert set(catalog.rollup.summaries(run)[0].levels) == {"dBFS"}
    for stream, ordinal, winner in ((STREAMS[0], 2, "dBA"), (STREAMS[1], 3, "dBFS"), (STREAMS[1], 1, "dBA")):
        catalog.registration.put_stream(make_stream(stream, ordinal=ordinal))
        assert set(catalog.rollup.summaries(run)[0].levels) == {winner}
    assert_as_oracle(catalog, path, 2)


def test_a_clock_that_is_confirmed_without_a_correction_changes_who_wins(catalog: Catalog, path: Path) -> None:
    for number, stream in enumerate(STREAMS[:2]):
        catalog.registration.put_stream(make_stream(stream, ordinal=number, uncertain=True))
    _register_rivals(catalog, uncertain=True)
    run = [(FIRST_QUARTER, FIRST_QUARTER + 1)]
    assert set(catalog.rollup.summaries(run)[0].levels) == {"dBFS"}
    catalog.registration.put_stream(make_stream(STREAMS[0], ordinal=0, uncertain=False))
    assert set(catalog.rollup.summaries(run)[0].levels) == {"dBA"}
    assert_as_oracle(catalog, path, 2)


def test_a_gap_that_another_one_hid_appears_when_that_one_is_corrected(catalog: Catalog, path: Path) -> None:
    """Its end had no row any more: a chunk was there for a time, and then only the gap that hid it."""
    chunk = _chunk(STREAMS[2], 0, 9 * 3_600, 3 * 3_600, False, "none", [], [])
    for stream, start, end in ((STREAMS[0], 0, 10.1), (STREAMS[1], 2, 20), (STREAMS[1], 19, 20)):
        if start == 19:
            catalog.registration.add_chunks([chunk])
            catalog.queue.set_aside({chunk.chunk_id: "damaged"})
        first, last = (Instant(START + round(hours * 3_600 * SECOND)) for hours in (start, end))
        hole = Hole("crash" if stream == STREAMS[0] else "power", first, last)
        catalog.registration.put_stream(make_stream(stream, before=(hole,)))
    assert_as_oracle(catalog, path, 100)


def test_a_correction_moves_what_is_summed_up(catalog: Catalog, path: Path) -> None:
    catalog.registration.put_stream(make_stream(STREAMS[0], uncertain=True))
    span = SoundSpan(sound_id(STREAMS[0], 10), 10, 100, -20.0, -25.0)
    catalog.registration.add_chunks([make_chunk(0, b"x", seconds=60, uncertain=True, sounds=(span,))])
    catalog.registration.put_stream(make_stream(STREAMS[0], uncertain=False, shift=5_000 * SECOND))
    assert catalog.rollup.summaries([(FIRST_QUARTER, FIRST_QUARTER + 1)])[0].times == {"gap:unknown": 900 * SECOND}
    (moved,) = catalog.rollup.summaries([(FIRST_QUARTER + 5, FIRST_QUARTER + 6)])
    assert (moved.times["pending"], moved.sounds, moved.levels["dBFS"].seconds) == (60 * SECOND, 1, 60)
    assert_as_oracle(catalog, path, 8)
