"""The catalog in a real SQLite file: what goes in comes back, other processes read it, damage and locks are told."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.archiver.plan.plan import ArchivePlan, Destination, make_plan, plan_of
from edge.catalog import Catalog, CatalogReader
from edge.catalog.file import CatalogFile
from edge.catalog.registration import Registration
from edge.catalog.values import pack, unpack
from edge.core.errors import CatalogBusy, CatalogDamaged, CatalogError
from edge.core.instant import Instant
from edge.core.values import Chunk, Hole, Levels, SoundSpan, Where
from tests.support.chunks import START, STREAM, make_chunk, make_stream
from tests.support.wait import DEADLINE, wait_until

TARGET = Destination("sounds", "imhearing/", "porch")
SECOND = 1_000_000
PACKED = (
    "01add44b8ec3200c80e11351f9111ba7e7e8050c04cd6eaab9ff6208122d229b6a347b8288fecf5e732a30f083a80f40f0944be8c310df"
    "9d9fdf3ff9eb1afbfae5881f97faa23df2206053ffcff3cbd49f935b014aa8b5900366744b8e8e15584bcc079b1e6517d65dab4b64c64c"
    "9e37738344226f3f2444c8680457491a8043ffc53bc01de26b4dacc09683361dfc089d1ee7f3f62370d61a36972dec2ecd6dd1cc15ab55"
    "c4abca8e92e44f2cdbdccb4493cf8b269f04371846db3a80e1b4ad0c1856db3a91d5eb79edbf8bfd05"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    catalog = Catalog(path)
    catalog.open()
    yield catalog
    catalog.close()


@pytest.fixture
def reader(path: Path) -> Iterator[CatalogReader]:
    reader = CatalogReader(path)
    yield reader
    reader.close()


def _chunks(count: int, first: int = 0) -> list[Chunk]:
    return [make_chunk(seq, b"x" * 10) for seq in range(first, first + count)]


def _planned(catalog: Catalog, chunks: list[Chunk]) -> ArchivePlan:
    catalog.registration.add_chunks(chunks)
    plan = make_plan(chunks, {}, TARGET)
    catalog.plans.commit(plan.archive(Instant(1)), plan.members, plan.manifest)
    return plan


def _at(seconds: float) -> Instant:
    return Instant(START + round(seconds * SECOND))


def test_a_chunk_comes_back_as_it_was_registered(catalog: Catalog, reader: CatalogReader) -> None:
    chunk = make_chunk(
        0,
        b"x",
        before=(Hole("restart", _at(-9), START),),
        sounds=(SoundSpan(f"{STREAM}-s100", 100, None, -20.5, -25.0),),
    )
    chunk = replace(chunk, levels=Levels("dBA", True, 40.1, 50.2, 60.3, 41, 39, 35, (40.123456, -0.0, 1e-9)))
    assert catalog.registration.add_chunks([chunk]) == 1
    assert [row.chunk for row in reader.chunks_between(START, _at(1), 10)] == [chunk]


noise = st.floats(-120, 120, allow_nan=False)


@given(st.lists(noise, max_size=70), st.integers(1, 2**62), st.text(max_size=30), st.booleans())
def test_packing_loses_nothing(levels: list[float], frames: int, boot: str, recovered: bool) -> None:
    chunk = make_chunk(3, b"x")
    assert chunk.levels is not None
    clock = replace(chunk.clock, boot_id=boot)
    values = replace(chunk.levels, per_second=tuple(levels))
    chunk = replace(chunk, levels=values, frames=frames, clock=clock, recovered=recovered)
    assert unpack(pack(chunk), Chunk) == chunk


def test_packed_rows_of_the_first_version_can_be_read_for_ever() -> None:
    """The bytes below were made by the first version; a changed dictionary would lose every catalog there is."""
    packed = bytes.fromhex(PACKED)
    assert unpack(packed, Chunk) == make_chunk(7, b"seven")


def test_registering_again_changes_nothing(catalog: Catalog) -> None:
    assert catalog.registration.add_chunks(_chunks(3)) == 3
    plan = make_plan(catalog.queue.waiting(9), {}, TARGET)
    catalog.plans.commit(plan.archive(Instant(1)), plan.members, plan.manifest)
    before = catalog.chunks_between(START, _at(9), 9)
    assert catalog.registration.add_chunks(_chunks(4)) == 1
    assert catalog.chunks_between(START, _at(3), 9) == before
    assert [chunk.seq for chunk in catalog.queue.waiting(9)] == [3]


def test_ranges_take_their_start_and_not_their_end(catalog: Catalog) -> None:
    catalog.registration.add_chunks(_chunks(10))

    def found(start: float, end: float, limit: int = 99) -> list[int]:
        return [row.chunk.seq for row in catalog.chunks_between(_at(start), _at(end), limit)]

    assert found(2, 4) == [2, 3]
    assert found(2.5, 3.000001) == [2, 3]
    assert found(2.999999, 3) == [2]
    assert found(-5, 0) == []
    assert found(10, 20) == []
    assert found(0, 99, limit=4) == [0, 1, 2, 3]


spans = st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 4_000)), max_size=12)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(spans, st.integers(0, 12_000), st.integers(1, 3_000))
def test_a_range_finds_what_a_look_at_everything_finds(
    tmp_path_factory: pytest.TempPathFactory, all_spans: list[tuple[int, int]], start: int, length: int
) -> None:
    catalog = Catalog(tmp_path_factory.mktemp("catalog") / "catalog.db")
    chunks = [
        replace(chunk, started_at=_at(began), ended_at=_at(began + seconds))
        for chunk, (began, seconds) in zip(_chunks(len(all_spans)), all_spans, strict=True)
    ]
    catalog.registration.add_chunks(chunks)
    catalog_found = [row.chunk for row in catalog.chunks_between(_at(start), _at(start + length), 99)]
    wanted = [c for c in chunks if c.started_at < _at(start + length) and c.ended_at > _at(start)]
    assert catalog_found == sorted(wanted, key=lambda c: (c.started_at, c.chunk_id))
    catalog.close()


def test_a_range_takes_no_longer_in_a_large_catalog(catalog: Catalog) -> None:
    def steps(newest: int) -> int:
        """Virtual machine steps of SQLite for one hour out of all: time would depend on the machine."""
        catalog.chunks_between(START, _at(1), 1)
        with catalog.file.session() as tables:
            connection: sqlite3.Connection = tables.db.get_connection()
        counted = 0

        def count() -> int:
            nonlocal counted
            counted += 1
            return 0

        connection.set_progress_handler(count, 10)
        assert len(catalog.chunks_between(_at(newest - 30), _at(newest), 99)) == 30
        connection.set_progress_handler(None, 0)
        assert counted
        return counted

    catalog.registration.add_chunks(_chunks(100))
    few = steps(100)
    catalog.registration.add_chunks(_chunks(3_000, first=100))
    assert steps(3_100) <= few * 1.2


def test_a_plan_is_frozen_until_it_is_uploaded(catalog: Catalog, reader: CatalogReader) -> None:
    plan = _planned(catalog, _chunks(3))
    archive = catalog.archive_records.open_plans()[0]
    assert archive == plan.archive(Instant(1))
    assert plan_of(catalog.plans.manifest(plan.archive_id), archive.bucket, archive.key) == plan
    assert catalog.queue.waiting(9) == []
    assert [row.where for row in reader.chunks_between(START, _at(9), 9)] == [None] * 3

    catalog.plans.mark_uploaded(plan.archive_id, "ab" * 32, Instant(2))
    catalog.plans.mark_uploaded(plan.archive_id, "cd" * 32, Instant(3))  # again after a crash: nothing changes
    assert catalog.archive_records.open_plans() == []
    stored = replace(archive, sha256="ab" * 32, uploaded_at=Instant(2))
    assert reader.archives([plan.archive_id, "unknown"]) == {plan.archive_id: stored}
    member = plan.members[1]
    where = Where(plan.archive_id, member.member, member.offset, member.length, member.chunk.sha256)
    assert reader.chunks_between(_at(1), _at(2), 9)[0].where == where
    last = catalog.archive_records.last_uploaded()
    assert last is not None
    assert last.archive_id == plan.archive_id
    with pytest.raises(CatalogError, match="no open plan"):
        catalog.plans.manifest(plan.archive_id)


def test_what_is_kept_is_summed_before_a_month(catalog: Catalog) -> None:
    plans = []
    for seq, at in ((0, 10), (1, 20), (2, 30), (3, 40)):
        plans.append(_planned(catalog, [make_chunk(seq, b"x")]))
        if seq < 3:
            catalog.plans.mark_uploaded(plans[-1].archive_id, "ab" * 32, Instant(at))
    sizes = [plan.bundle.size for plan in plans]
    assert catalog.archive_records.kept_bytes(Instant(25)) == [
        (sizes[0] + sizes[1], Instant(25)),
        (sizes[2], Instant(30)),
    ]
    assert catalog.archive_records.kept_bytes(Instant(5))[0] == (0, Instant(5))


def test_a_discarded_plan_leaves_its_chunks_waiting(catalog: Catalog) -> None:
    plan = _planned(catalog, _chunks(3))
    catalog.plans.take_back(plan.archive_id)
    assert catalog.queue.waiting(9) == _chunks(3)
    assert catalog.archive_records.open_plans() == []
    assert [archive.key for archive in catalog.archive_records.pending_deletion()] == [plan.key]


def test_a_chunk_is_planned_once(catalog: Catalog) -> None:
    chunks = _chunks(3)
    _planned(catalog, chunks[:2])
    again = make_plan(chunks[1:], {}, TARGET)
    catalog.registration.add_chunks(chunks)
    with pytest.raises(CatalogError, match="is not waiting"):
        catalog.plans.commit(again.archive(Instant(2)), again.members, again.manifest)
    assert len(catalog.archive_records.open_plans()) == 1
    assert catalog.queue.waiting(9) == chunks[2:]


def test_what_is_stored_is_told_with_its_hash(catalog: Catalog) -> None:
    plan = _planned(catalog, _chunks(2))
    ids = [member.chunk.chunk_id for member in plan.members]
    assert catalog.plans.uploaded_chunks(ids) == {}
    catalog.plans.mark_uploaded(plan.archive_id, "ab" * 32, Instant(2))
    assert {name: what.sha256 for name, what in catalog.plans.uploaded_chunks(ids).items()} == {
        member.chunk.chunk_id: member.chunk.sha256 for member in plan.members
    }


def test_damaged_chunks_stand_aside_and_may_come_back(catalog: Catalog) -> None:
    chunks = _chunks(3)
    catalog.registration.add_chunks(chunks)
    catalog.queue.set_aside({chunks[1].chunk_id: "is missing"})
    assert catalog.queue.waiting(9) == [chunks[0], chunks[2]]
    assert catalog.queue.aside() == {chunks[1].chunk_id: "is missing"}
    assert catalog.chunks_between(_at(1), _at(2), 9)[0].aside == "is missing"
    catalog.queue.requeue([chunks[1].chunk_id, chunks[0].chunk_id])
    assert catalog.queue.waiting(9) == chunks


def test_what_is_due_stays_due_and_newer_chunks_wait(catalog: Catalog, path: Path) -> None:
    assert catalog.queue.mark_due() == 0
    catalog.registration.add_chunks(_chunks(3))
    assert catalog.queue.due(9) == []
    assert catalog.queue.mark_due() == 3
    catalog.registration.add_chunks(_chunks(2, first=3))
    catalog.close()
    again = Catalog(path)
    assert again.queue.due(9) == _chunks(3)
    assert again.queue.due(2) == _chunks(2)
    assert again.queue.mark_due() == 5
    assert again.queue.due(9) == _chunks(5)
    again.close()


def test_gone_chunks_say_why(catalog: Catalog) -> None:
    chunks = _chunks(2)
    catalog.registration.add_chunks(chunks)
    catalog.deletions.mark_gone([chunks[0].chunk_id], "dropped")
    assert [row.gone for row in catalog.chunks_between(START, _at(9), 9)] == ["dropped", None]
    assert catalog.queue.waiting(9) == chunks[1:]


def test_the_backlog_adds_up(catalog: Catalog) -> None:
    assert catalog.queue.backlog().chunks == 0
    _planned(catalog, _chunks(2))
    catalog.registration.add_chunks(_chunks(3, first=2))
    backlog = catalog.queue.backlog()
    assert (backlog.chunks, backlog.bytes, backlog.duration) == (5, 50, 5 * SECOND)
    waiting = catalog.queue.backlog(planned_too=False)
    assert (waiting.chunks, waiting.oldest, waiting.loudest) == (3, _at(3), -30.25)


def test_holes_are_kept_with_the_stream_that_ends_them(catalog: Catalog, reader: CatalogReader) -> None:
    hole, pause = Hole("crash", _at(-60), _at(-20)), Hole("paused", _at(-20), START)
    catalog.registration.add_chunks([make_chunk(0, b"x", before=(hole, pause))])
    assert reader.holes_between(_at(-99), _at(99)) == [hole, pause]
    assert reader.holes_between(_at(-20), _at(0)) == [pause]
    moved = Hole("crash", _at(-50), START)  # a correction rewrites them in the stream's record
    catalog.registration.put_stream(make_stream(before=(moved,)))
    catalog.registration.add_chunks([make_chunk(0, b"x", before=(hole, pause))])
    assert reader.holes_between(_at(-99), _at(99)) == [moved]


def test_a_corrected_clock_moves_what_was_uncertain(catalog: Catalog) -> None:
    sound = SoundSpan(f"{STREAM}-s4000", 4_000, 2_000, -20.0, -25.0)
    early = make_chunk(0, b"x", uncertain=True, sounds=(sound,))
    assert catalog.registration.put_stream(make_stream(uncertain=True)) is False
    catalog.registration.add_chunks([early])
    fixed = make_stream(uncertain=False, shift=3_600 * SECOND, knots=((0, _at(3_600)),))
    assert catalog.registration.put_stream(fixed) is False  # no archive tells the old times yet
    assert catalog.chunks_between(START, _at(9), 9) == []
    (found,) = catalog.chunks_between(_at(3_600), _at(3_601), 9)
    assert found.chunk == replace(early, started_at=_at(3_600), ended_at=_at(3_601), uncertain=False)
    assert [(s.started_at, s.ended_at) for s in catalog.sounds_between(START, _at(9_999), 9)] == [
        (_at(3_600.5), _at(3_600.75))
    ]
    late = make_chunk(1, b"x")  # its manifest was written after the correction
    catalog.registration.add_chunks([late])
    assert catalog.chunks_between(_at(1), _at(2), 9)[0].chunk == late


def test_a_clock_set_by_hand_moves_what_stays_uncertain(catalog: Catalog) -> None:
    early = make_chunk(0, b"x", uncertain=True)
    catalog.registration.put_stream(make_stream(uncertain=True))
    catalog.registration.add_chunks([early])
    catalog.registration.put_stream(make_stream(uncertain=True, shift=3_600 * SECOND, knots=((0, _at(3_600)),)))
    (found,) = catalog.chunks_between(_at(3_600), _at(3_601), 9)
    assert found.chunk == replace(early, started_at=_at(3_600), ended_at=_at(3_601))
    catalog.registration.put_stream(make_stream(uncertain=False, shift=7_200 * SECOND, knots=((0, _at(7_200)),)))
    (found,) = catalog.chunks_between(_at(7_200), _at(7_201), 9)
    assert found.chunk == replace(early, started_at=_at(7_200), ended_at=_at(7_201), uncertain=False)


def test_a_correction_of_what_is_archived_is_due_to_the_store(catalog: Catalog) -> None:
    catalog.registration.put_stream(make_stream(uncertain=True))
    _planned(catalog, [make_chunk(0, b"x", uncertain=True)])
    assert catalog.registration.corrections_due() == []
    assert catalog.registration.put_stream(make_stream(shift=5)) is True
    assert catalog.registration.corrections_due() == [STREAM]
    catalog.registration.mark_correction_stored(STREAM)
    assert catalog.registration.corrections_due() == []
    assert catalog.stream(STREAM) == make_stream(shift=5)


def test_a_sound_across_chunks_is_one_sound(catalog: Catalog) -> None:
    first = SoundSpan(f"{STREAM}-s6000", 6_000, None, -20.0, -25.0)
    last = SoundSpan(f"{STREAM}-s6000", 6_000, 4_000, -10.0, -22.0)
    catalog.registration.add_chunks([make_chunk(0, b"x", sounds=(first,))])
    assert catalog.sounds_between(START, _at(9), 9)[0].ended_at is None
    other = SoundSpan(f"{STREAM}-s15000", 15_000, 100, -40.0, -42.0)
    catalog.registration.add_chunks([make_chunk(1, b"x", sounds=(last, other))])
    sound, quiet = catalog.sounds_between(START, _at(9), 9)
    assert (sound.chunk_id, sound.started_at, sound.ended_at) == (f"{STREAM}-000000", _at(0.75), _at(1.25))
    assert (sound.lafmax, sound.laeq) == (-10.0, -22.0)
    assert catalog.sounds_between(START, _at(9), 1, loudest_first=True) == [sound]
    assert catalog.sounds_between(_at(1), _at(9), 9) == [quiet]


def test_a_catalog_with_the_attempts_of_earlier_versions_is_continued(path: Path) -> None:
    with contextlib.closing(Catalog(path)) as catalog:
        catalog.registration.add_chunks(_chunks(2))
        plan = make_plan(catalog.queue.waiting(9), {}, TARGET)
        catalog.plans.commit(plan.archive(Instant(1)), plan.members, plan.manifest)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        assert not connection.execute("SELECT * FROM sqlite_master WHERE name = 'attempts'").fetchall()
        connection.executescript(_ATTEMPTS_OF_EARLIER_VERSIONS)
    with contextlib.closing(Catalog(path)) as catalog:
        assert catalog.plans.manifest(plan.archive_id) == plan.manifest
        catalog.plans.mark_uploaded(plan.archive_id, "ab" * 32, Instant(2))
        catalog.registration.add_chunks(_chunks(3))
        assert [chunk.seq for chunk in catalog.queue.waiting(9)] == [2]
    with contextlib.closing(CatalogReader(path)) as reader:
        assert reader.archive_records.uploaded_ids() == [plan.archive_id]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute('SELECT "cause" FROM "attempts"').fetchall() == [("slow",)]


def test_everything_is_there_after_closing(path: Path) -> None:
    with_stream = make_stream()
    catalog = Catalog(path)
    plan = _planned(catalog, _chunks(2))
    catalog.registration.put_stream(with_stream)
    catalog.close()
    again = Catalog(path)
    assert again.archive_records.open_plans()[0].archive_id == plan.archive_id
    assert again.streams([STREAM, "unknown"]) == {STREAM: with_stream}
    again.close()


# several processes


def test_a_second_archiver_says_so(catalog: Catalog, path: Path) -> None:
    with pytest.raises(CatalogError, match="another archiver"):
        Catalog(path).open()


def test_a_missing_catalog_is_busy_and_then_read(path: Path, reader: CatalogReader) -> None:
    with pytest.raises(CatalogBusy):
        reader.known(["x"])
    catalog = Catalog(path)
    catalog.registration.add_chunks(_chunks(1))
    assert reader.known([_chunks(1)[0].chunk_id, "x"]) == {_chunks(1)[0].chunk_id}
    catalog.close()


def test_a_half_made_catalog_is_busy(path: Path, reader: CatalogReader) -> None:
    path.touch()
    with pytest.raises(CatalogBusy):
        reader.known(["x"])


def test_a_reader_cannot_write(catalog: Catalog) -> None:
    with contextlib.closing(CatalogFile(catalog.path)) as file, pytest.raises(CatalogError):
        Registration(file).add_chunks(_chunks(1))
    assert catalog.queue.waiting(9) == []


def test_commits_are_durable_and_leave_no_log_beside(catalog: Catalog, path: Path) -> None:
    catalog.registration.add_chunks(_chunks(1))
    with catalog.file.session() as tables:
        connection: sqlite3.Connection = tables.db.get_connection()
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert {file.name for file in path.parent.iterdir()} == {"catalog.db", "catalog.db.lock", "catalog.db.reserve"}


def test_a_locked_catalog_is_busy(catalog: Catalog, path: Path, reader: CatalogReader) -> None:
    reader.known(["x"])
    other = sqlite3.connect(path, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    patience = threading.Timer(DEADLINE, other.rollback)  # for a reader that would wait for the lock
    patience.start()
    with pytest.raises(CatalogBusy, match="locked"):
        reader.known(["x"])
    patience.cancel()
    patience.join()
    other.rollback()
    other.close()
    assert reader.known(["x"]) == set()


def test_a_replaced_catalog_is_opened_again(path: Path, tmp_path: Path, reader: CatalogReader) -> None:
    for name in ("catalog.db", "other.db"):
        catalog = Catalog(tmp_path / name)
        catalog.registration.add_chunks(_chunks(1, first=0 if name == "catalog.db" else 5))
        catalog.close()
    assert [row.chunk.seq for row in reader.chunks_between(START, _at(99), 9)] == [0]
    (tmp_path / "other.db").replace(path)
    assert [row.chunk.seq for row in reader.chunks_between(START, _at(99), 9)] == [5]


def test_damage_is_told(path: Path, reader: CatalogReader) -> None:
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(CatalogDamaged):
        reader.known(["x"])
    with pytest.raises(CatalogDamaged):
        Catalog(path).open()


def test_a_newer_schema_is_refused(catalog: Catalog, path: Path, reader: CatalogReader) -> None:
    catalog.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for one in (reader, Catalog(path)):
        with pytest.raises(CatalogError, match="newer version"):
            one.known(["x"])


_ATTEMPTS_OF_EARLIER_VERSIONS = """
CREATE TABLE "attempts" ("id" INTEGER PRIMARY KEY AUTOINCREMENT, "archive_id" TEXT NOT NULL, "at" BIGINT NOT NULL,
                         "seconds" REAL NOT NULL, "cause" TEXT);
CREATE INDEX "idx_attempts__archive_id" ON "attempts" ("archive_id");
INSERT INTO "attempts" ("archive_id", "at", "seconds", "cause") VALUES ('a', 14, 1.5, 'slow');
"""

_WRITER = """
import sys
from pathlib import Path
from edge.catalog import Catalog
from tests.support.chunks import make_chunk
catalog = Catalog(Path(sys.argv[1]))
for seq in range(100_000):
    catalog.registration.add_chunks([make_chunk(seq, b"x")])
    print(seq, flush=True)
"""


def _known_in_the_end(reader: CatalogReader, ids: set[str]) -> set[str]:
    """Beside a writer that never rests, busy is an answer that others have to expect too."""

    def ask() -> set[str] | None:
        try:
            return reader.known(ids)
        except CatalogBusy:
            return None

    return wait_until(ask, "the catalog is not busy")


def test_a_killed_writer_loses_nothing_that_it_reported(path: Path, reader: CatalogReader) -> None:
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(100)]
        while len(told) < 200:  # read all the while
            told.append(int(writer.stdout.readline()))
            assert _known_in_the_end(reader, {make_chunk(told[-1], b"x").chunk_id})
        writer.kill()
        told += [int(line) for line in writer.stdout if line.endswith("\n")]
        writer.wait()
        writer.stdout.close()
        ids = {make_chunk(seq, b"x").chunk_id for seq in told}
        assert _known_in_the_end(reader, ids) == ids


def test_questions_for_ever_more_chunks_leave_no_memory_behind(catalog: Catalog) -> None:
    """A backlog that grows by a chunk a minute is asked for with one id more each time; each number of ids would leave
    its own SQL behind, 400 kB for 400 ids."""
    chunks = _chunks(440)
    catalog.registration.add_chunks(chunks)
    ids = [chunk.chunk_id for chunk in chunks]
    ask = (catalog.known, catalog.plans.uploaded_chunks, catalog.deletions.given_up, catalog.archives, catalog.streams)
    for question in ask:
        question(ids)
    tracemalloc.start()
    try:
        for count in range(400, 440):
            assert catalog.known(ids[:count]) == set(ids[:count])
            for question in ask[1:]:
                question(ids[:count])
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 5_000_000
