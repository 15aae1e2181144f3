"""What once ended the archiver or led it astray: plans taken back, damaged rows, absurd numbers, clocks, kills."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.archiver import service
from edge.archiver.intake import Intake
from edge.archiver.jobs import Rewrite
from edge.archiver.pacing import Pacing
from edge.archiver.plan.plan import ArchivePlan, Destination, make_plan, read_manifest
from edge.catalog import Catalog, CatalogReader
from edge.catalog.erasures import Erasures
from edge.catalog.holds import change_holds
from edge.catalog.tables import MIGRATIONS
from edge.configuration.settings import Catalog as CatalogSettings
from edge.configuration.settings import Mqtt, Node, Recorder, Settings, Thresholds
from edge.core.errors import CatalogDamaged, SpoolError
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import Chunk, SoundSpan, Stream
from edge.spool.spool import Spool
from tests.support.archiver import make_eraser
from tests.support.chunks import START, STREAM, fill_spool, make_chunk, make_stream
from tests.support.wait import DEADLINE, wait_until

TARGET = Destination("sounds", "imhearing/", "porch")
SECOND = 1_000_000
FAST = Pacing(rescan=0.2, report=0.1, first_retry=0.05)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    with contextlib.closing(Catalog(path)) as catalog:
        catalog.open()
        yield catalog


def _chunks(count: int, first: int = 0) -> list[Chunk]:
    return [make_chunk(seq, b"x" * 10) for seq in range(first, first + count)]


def _planned(catalog: Catalog, chunks: list[Chunk], planned_at: int = 1) -> ArchivePlan:
    catalog.registration.add_chunks(chunks)
    plan = make_plan(chunks, catalog.streams({chunk.stream_id for chunk in chunks}), TARGET)
    catalog.plans.commit(plan.archive(Instant(planned_at)), plan.members, plan.manifest)
    return plan


def _ids(chunks: list[Chunk]) -> list[str]:
    return [chunk.chunk_id for chunk in chunks]


# plans that were taken back


def test_the_same_plan_can_be_made_again_after_it_was_taken_back(catalog: Catalog) -> None:
    plan = _planned(catalog, _chunks(3))
    catalog.plans.take_back(plan.archive_id)
    assert [archive.archive_id for archive in catalog.archive_records.pending_deletion()] == [plan.archive_id]
    assert _planned(catalog, catalog.queue.waiting(9), planned_at=2) == plan
    assert catalog.archive_records.open_plans() == [plan.archive(Instant(2))]
    assert catalog.archive_records.pending_deletion() == []
    assert catalog.queue.waiting(9) == []
    assert catalog.plans.manifest(plan.archive_id) == plan.manifest
    catalog.plans.mark_uploaded(plan.archive_id, "ab" * 32, Instant(3))
    assert all(row.where for row in catalog.chunks_between(FIRST, LAST, 9))


def test_a_late_word_of_its_deletion_leaves_the_new_plan_alone(catalog: Catalog) -> None:
    plan = _planned(catalog, _chunks(3))
    catalog.plans.take_back(plan.archive_id)
    _planned(catalog, catalog.queue.waiting(9))
    catalog.deletions.mark_deleted(plan.archive_id, Instant(3))
    (archive,) = catalog.archive_records.open_plans()
    assert archive.deleted_at is None
    catalog.plans.take_back(plan.archive_id)
    catalog.deletions.mark_deleted(plan.archive_id, Instant(4))
    catalog.deletions.mark_deleted(plan.archive_id, Instant(5))  # and none at all is no fault either


@pytest.mark.parametrize(
    "elsewhere", [Destination("other", "imhearing/", "porch"), Destination("sounds", "new/", "porch")]
)
def test_leftovers_stay_to_be_deleted_when_the_same_plan_is_made_for_another_place(
    catalog: Catalog, elsewhere: Destination
) -> None:
    before = _planned(catalog, _chunks(3))
    catalog.plans.take_back(before.archive_id)
    chunks = catalog.queue.waiting(9)
    plan = make_plan(chunks, catalog.streams({chunk.stream_id for chunk in chunks}), elsewhere)
    assert plan.archive_id == before.archive_id
    assert catalog.plans.commit(plan.archive(Instant(2)), plan.members, plan.manifest)
    [leftovers] = catalog.archive_records.pending_deletion()
    assert (leftovers.bucket, leftovers.key) == (TARGET.bucket, before.key)
    assert (leftovers.started_at, leftovers.ended_at) == (chunks[0].started_at, chunks[-1].ended_at)
    catalog.deletions.mark_deleted(leftovers.archive_id, Instant(3))
    assert catalog.archive_records.pending_deletion() == []
    assert catalog.archive_records.open_plans() == [plan.archive(Instant(2))]
    assert catalog.plans.manifest(plan.archive_id) == plan.manifest


def test_a_rewrite_that_was_taken_back_can_be_planned_again(catalog: Catalog) -> None:
    """Else its archive would be deleted once it is uploaded."""
    plan = _planned(catalog, _chunks(3))
    catalog.plans.mark_uploaded(plan.archive_id, "ab" * 32, Instant(3))
    rewrite = make_plan(_chunks(2), {}, TARGET, replaces=plan.archive_id)
    for _ in range(2):
        catalog.plans.commit_rewrite(rewrite.archive(Instant(4)), rewrite.manifest)
        assert [archive.key for archive in catalog.archive_records.open_rewrites()] == [rewrite.key]
        catalog.plans.take_back(rewrite.archive_id)
        assert catalog.archive_records.open_rewrites() == []


# times that nobody is sure of


def _set_by_hand(catalog: Catalog) -> Stream:
    """A stream of an unsure clock with one chunk, which a person's `date -s` then moved by 10 s."""
    catalog.registration.put_stream(make_stream(uncertain=True))
    catalog.registration.add_chunks([make_chunk(0, b"x", uncertain=True)])
    moved = make_stream(uncertain=True, shift=10 * SECOND, knots=((0, Instant(START + 10 * SECOND)),))
    catalog.registration.put_stream(moved)
    catalog.queue.mark_due()
    return moved


def _starts(catalog: CatalogReader) -> list[int]:
    return [row.chunk.started_at - START for row in catalog.chunks_between(FIRST, LAST, 9)]


def test_a_plan_tells_unsure_times_as_the_recorder_did(catalog: Catalog, tmp_path: Path) -> None:
    moved = _set_by_hand(catalog)
    plan = _planned(catalog, catalog.queue.due(9))
    assert plan.members[0].chunk == make_chunk(0, b"x", uncertain=True)
    assert _starts(catalog) == [10 * SECOND]
    manifest = read_manifest(plan.manifest)
    with contextlib.closing(Catalog(tmp_path / "again.db")) as again:
        again.registration.put_stream(manifest.streams[0])
        again.registration.restore_archive(plan.archive(Instant(1)), manifest.members)
        assert _starts(again) == [10 * SECOND]
        known = replace(moved, uncertain=False, shift=3_000 * SECOND, knots=((0, Instant(START + 3_000 * SECOND)),))
        again.registration.put_stream(known)
        assert _starts(again) == [3_000 * SECOND]


def test_a_plan_tells_times_that_are_sure_by_now(catalog: Catalog) -> None:
    _set_by_hand(catalog)
    catalog.registration.put_stream(make_stream(shift=20 * SECOND, knots=((0, Instant(START + 20 * SECOND)),)))
    (chunk,) = catalog.queue.due(9)
    assert (chunk.uncertain, chunk.started_at) == (False, START + 20 * SECOND)


def test_a_discarded_chunk_is_told_with_its_unsure_times_too(catalog: Catalog) -> None:
    _set_by_hand(catalog)
    catalog.deletions.mark_gone(_ids(_chunks(1)), "quiet")
    assert [one.chunk.started_at for one in catalog.deletions.not_in_manifest(9)] == [START]


def test_a_rewritten_archive_tells_unsure_times_as_the_first_did(catalog: Catalog, tmp_path: Path) -> None:
    _set_by_hand(catalog)
    catalog.registration.add_chunks([make_chunk(1, b"x", uncertain=True)])
    plan = _planned(catalog, [make_chunk(seq, b"x", uncertain=True) for seq in range(2)])
    catalog.plans.mark_uploaded(plan.archive_id, "ab" * 32, Instant(2))
    spool = Spool(tmp_path / "spool", "porch")
    spool.create()
    eraser = make_eraser(spool, catalog, TARGET, FAST)
    erased_from = Instant(START + 11 * SECOND)  # as is believed now
    Erasures(catalog.path).give(erased_from, Instant(erased_from + SECOND), START)
    job = eraser.next_job()
    assert isinstance(job, Rewrite)
    assert [member.chunk for member in job.plan.members] == [make_chunk(0, b"x", uncertain=True)]
    assert [one.chunk.started_at for one in job.plan.discarded] == [START + SECOND]


def test_an_archive_moves_with_its_chunks(catalog: Catalog) -> None:
    """Else a hold on the time that is believed now would not keep it from expiring."""
    moved = _set_by_hand(catalog)
    plan = _planned(catalog, catalog.queue.due(9))
    (archive,) = catalog.archive_records.open_plans()
    assert (archive.started_at, archive.ended_at) == (START + 10 * SECOND, START + 11 * SECOND)
    catalog.plans.mark_uploaded(plan.archive_id, "ab" * 32, Instant(2))
    catalog.registration.put_stream(replace(moved, uncertain=False, shift=30 * SECOND))
    (archive,) = catalog.archive_records.uploaded_before(Instant(3), 9)
    assert (archive.started_at, archive.ended_at) == (START + 30 * SECOND, START + 31 * SECOND)


# what is due


def test_a_clock_far_ahead_makes_later_chunks_no_more_due(catalog: Catalog) -> None:
    far = make_chunk(0, b"x", stream_id="20270303T220000Z-abcd", start=Instant(START + 365 * 86_400 * SECOND))
    catalog.registration.add_chunks([far])
    catalog.queue.mark_due()
    catalog.registration.add_chunks(_chunks(1))
    assert catalog.queue.due(9) == [far]


def test_a_correction_leaves_due_what_was_asked_for(catalog: Catalog) -> None:
    catalog.registration.put_stream(make_stream(uncertain=True))
    catalog.registration.add_chunks([make_chunk(0, b"x", uncertain=True)])
    catalog.queue.mark_due()
    catalog.registration.put_stream(make_stream(shift=3_600 * SECOND, knots=((0, Instant(START + 3_600 * SECOND)),)))
    assert _ids(catalog.queue.due(9)) == _ids(_chunks(1))


def test_what_a_plan_gives_back_is_due_again(catalog: Catalog) -> None:
    catalog.registration.add_chunks(_chunks(3))
    catalog.queue.mark_due()
    plan = _planned(catalog, catalog.queue.due(9))
    assert catalog.queue.due(9) == []
    catalog.registration.add_chunks(_chunks(1, first=3))
    catalog.plans.take_back(plan.archive_id)
    assert catalog.queue.due(9) == _chunks(3)


def test_what_an_earlier_version_noted_as_due_is_due(catalog: Catalog, path: Path) -> None:
    catalog.registration.add_chunks(_chunks(3))
    catalog.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO notes VALUES ('due_until', ?)", (int(START + SECOND),))
        connection.execute("DROP TABLE due")
    for _ in range(2):
        with contextlib.closing(Catalog(path)) as again:
            assert again.queue.due(9) == _chunks(2)


def test_marks_do_not_pile_up(catalog: Catalog, path: Path) -> None:
    for seq in range(4):
        catalog.registration.add_chunks(_chunks(1, first=seq))
        catalog.queue.mark_due()
        plan = _planned(catalog, catalog.queue.due(9), planned_at=seq)
        catalog.plans.mark_uploaded(plan.archive_id, "ab" * 32, Instant(9))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM due").fetchone()[0] <= 1


# damage


def _flip(path: Path, table: str, column: str) -> None:
    """One byte of each value, on the disk."""
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        rows = connection.execute(f"SELECT rowid, {column} FROM {table} WHERE {column} IS NOT NULL")  # noqa: S608
        for row, value in rows.fetchall():
            changed = bytes([*value[:3], value[3] ^ 0xFF, *value[4:]])
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (changed, row))  # noqa: S608


@pytest.mark.parametrize(
    ("table", "column", "ask"),
    [
        ("chunks", "manifest", lambda catalog: catalog.queue.waiting(9)),
        ("streams", "record", lambda catalog: catalog.stream(STREAM)),
        (
            "archives",
            "plan",
            lambda catalog: catalog.plans.manifest(catalog.archive_records.open_plans()[0].archive_id),
        ),
    ],
)
def test_a_damaged_row_is_a_damaged_catalog(
    catalog: Catalog, path: Path, table: str, column: str, ask: Callable[[Catalog], object]
) -> None:
    catalog.registration.put_stream(make_stream())
    _planned(catalog, _chunks(1))
    catalog.registration.add_chunks(_chunks(1, first=1))
    ask(catalog)
    _flip(path, table, column)
    with pytest.raises(CatalogDamaged, match="damaged"):
        ask(catalog)


def test_any_byte_of_a_row_may_be_wrong(catalog: Catalog, path: Path) -> None:
    catalog.registration.add_chunks(_chunks(1))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (value,) = connection.execute("SELECT manifest FROM chunks").fetchone()
        for place in range(len(value)):
            changed = bytes([*value[:place], value[place] ^ 0x55, *value[place + 1 :]])
            with connection:
                connection.execute("UPDATE chunks SET manifest = ?", (changed,))
            with contextlib.suppress(CatalogDamaged):
                catalog.queue.waiting(9)


@contextlib.contextmanager
def _running(settings: Settings) -> Iterator[list[BaseException]]:
    """The service, without broker and store; gives what ended it."""
    stop, problems = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            service.run(settings, stop, FAST)
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield problems
    finally:
        stop.set()
        thread.join(DEADLINE)
        assert not thread.is_alive()
        assert problems == []


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        node=Node(name="porch"),
        recorder=Recorder(record_path=tmp_path / "spool"),
        thresholds=Thresholds(records_count=3),
        mqtt=Mqtt(host="127.0.0.1", port=1),
        catalog=CatalogSettings(db_path=tmp_path / "catalog.db"),
    )


def _known(path: Path) -> set[str]:
    with contextlib.closing(CatalogReader(path)) as reader:
        try:
            return set(_ids([row.chunk for row in reader.chunks_between(FIRST, LAST, 99)]))
        except Exception:  # not there yet, or still the damaged one
            return set()


@pytest.mark.parametrize("at_start", [True, False], ids=["at start", "while running"])
def test_a_catalog_with_a_damaged_row_is_set_aside(settings: Settings, path: Path, at_start: bool) -> None:
    folder = settings.recorder.record_path
    files = fill_spool(folder, 2)
    asked = replace(settings, recorder=replace(settings.recorder, keep="sounds"))  # looks at every manifest
    asked = replace(asked, thresholds=Thresholds(records_count=0, sound_level=-10.0))
    change_holds(path, lambda holds: holds.added(FIRST, LAST))  # so that all waits for ever
    with contextlib.ExitStack() as stack:
        if at_start:
            with contextlib.closing(Catalog(path)) as catalog:
                Intake(Spool(folder, "porch"), catalog).rescan()
            _flip(path, "chunks", "manifest")
        stack.enter_context(_running(asked))
        if not at_start:
            wait_until(lambda: _known(path) == files.keys(), "all is known")
            _flip(path, "chunks", "manifest")
        wait_until(lambda: list(path.parent.glob("catalog.db.damaged-*")), "it is set aside")
        wait_until(lambda: _known(path) == files.keys(), "the spool is in the new one")


@pytest.mark.parametrize("changes", [{"shift": 10**30}, {"utc_offset": 10**30}, {"knots": [[10**30, str(START)]]}])
def test_absurd_numbers_in_a_record_end_nothing(settings: Settings, path: Path, changes: dict[str, object]) -> None:
    folder = settings.recorder.record_path
    files = fill_spool(folder, 3)
    record = Spool(folder, "porch").layout.stream_path(STREAM)
    record.write_text(json.dumps({**json.loads(record.read_bytes()), **changes}))
    with _running(settings):
        wait_until(lambda: _known(path) == files.keys(), "the chunks are known")


@pytest.mark.parametrize("place", ["first_frame", "frames", "bytes", "seq"])
def test_absurd_numbers_in_a_manifest_end_nothing(settings: Settings, path: Path, place: str) -> None:
    folder = settings.recorder.record_path
    files = fill_spool(folder, 3)
    bad = next(iter(files))
    manifest = folder / f"{bad}.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_bytes()), place: 10**19}))
    with pytest.raises(SpoolError):
        Spool(folder, "porch").chunks.manifest(bad)
    with _running(settings):
        wait_until(lambda: _known(path) == files.keys() - {bad}, "the others are known")


def test_absurd_shifts_and_sounds_end_nothing(catalog: Catalog) -> None:
    """Each number is one that fits; what they add up to is not."""
    far = 2**63 - 1
    span = SoundSpan(f"{STREAM}-s100", far, far, -20.0, -25.0)
    for shift in (far, -far):
        catalog.registration.put_stream(make_stream(uncertain=True, shift=shift))
        catalog.registration.add_chunks([make_chunk(0, b"x", uncertain=True, sounds=(span,))])
        assert [str(chunk.started_at) for chunk in catalog.queue.waiting(9)]
        assert [str(sound.started_at) for sound in catalog.sounds_between(FIRST, Instant(LAST + 1), 9)]


# migrations

_KILLED = """
import os, sys
from pathlib import Path
from edge.catalog import Catalog, tables

def dying(statements):
    for statement in statements[:int(sys.argv[2])]:
        yield statement
    os._exit(9)

tables.MIGRATIONS[1] = dying(tables.MIGRATIONS[1])
Catalog(Path(sys.argv[1])).open()
"""


def _first_schema(path: Path, *without: str) -> ArchivePlan:
    """A catalog of the first version, with one plan."""
    with contextlib.closing(Catalog(path)) as catalog:
        plan = _planned(catalog, _chunks(1))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for column in without:
            connection.execute(f'ALTER TABLE "archives" DROP COLUMN "{column}"')
        connection.execute("PRAGMA user_version = 1")
    return plan


def test_a_migration_that_an_earlier_version_left_half_done_is_ended(path: Path) -> None:
    plan = _first_schema(path, "gone", "deleted_at")
    with contextlib.closing(Catalog(path)) as catalog:
        assert [archive.archive_id for archive in catalog.archive_records.open_plans()] == [plan.archive_id]


@pytest.mark.parametrize("done", range(len(MIGRATIONS[1]) + 1))
def test_a_migration_that_was_killed_leaves_nothing_half_done(path: Path, done: int) -> None:
    plan = _first_schema(path, "replaces", "gone", "deleted_at")
    killed = subprocess.run([sys.executable, "-c", _KILLED, path, str(done)], check=False)
    assert killed.returncode == 9
    with contextlib.closing(sqlite3.connect(path)) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(archives)")}
    assert not columns & {"replaces", "gone", "deleted_at"}
    with contextlib.closing(Catalog(path)) as catalog:
        assert [archive.archive_id for archive in catalog.archive_records.open_plans()] == [plan.archive_id]


def test_a_plan_of_rubbish_is_a_damaged_catalog(catalog: Catalog, path: Path) -> None:
    plan = _planned(catalog, _chunks(1))
    for rubbish in (b"", b"\0", zlib.compress(plan.manifest)[:-1]):
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE archives SET plan = ?", (rubbish,))
        with pytest.raises(CatalogDamaged, match=plan.archive_id):
            catalog.plans.manifest(plan.archive_id)
