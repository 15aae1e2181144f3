"""Damaged rows and absurd numbers: the catalog reports them, and the archiver continues."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.archiver.intake import Intake
from edge.catalog import Catalog, CatalogReader
from edge.catalog.holds import change_holds
from edge.catalog.values import SoundRange
from edge.configuration.settings import Catalog as CatalogSettings
from edge.configuration.settings import Mqtt, Node, Recorder, Settings, Thresholds
from edge.core.errors import CatalogDamaged, CatalogError, SpoolError
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import SoundSpan
from edge.spool.spool import Spool
from tests.support.archiver.running import running_archiver
from tests.support.catalog import commit_plan, ids_of, make_chunks
from tests.support.privileges import without_root_privileges
from tests.support.spool.chunks import START, STREAM, fill_spool, make_chunk, make_stream
from tests.support.wait import wait_until


def test_a_file_that_is_not_a_database_is_reported_as_damaged(path: Path, reader: CatalogReader) -> None:
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(CatalogDamaged):
        reader.known(["x"])
    with pytest.raises(CatalogDamaged):
        Catalog(path).open()


def test_a_folder_that_becomes_unreadable_is_a_catalog_error_and_no_damage(
    catalog: Catalog, path: Path, reader: CatalogReader
) -> None:
    assert reader.known(["x"]) == set()
    assert catalog.queue.waiting(1) == []
    mode = path.parent.stat().st_mode
    path.parent.chmod(0)
    try:
        with without_root_privileges():
            for ask in (lambda: reader.known(["x"]), lambda: catalog.queue.waiting(1)):
                with pytest.raises(CatalogError) as problem:
                    ask()
                assert not isinstance(problem.value, CatalogDamaged)
    finally:
        path.parent.chmod(mode)
    assert catalog.queue.waiting(1) == []


def test_a_folder_in_the_catalogs_place_is_named_as_such_instead_of_busy(path: Path, reader: CatalogReader) -> None:
    path.mkdir()
    for use in (lambda: reader.known(["x"]), Catalog(path).open):
        with pytest.raises(CatalogError, match=r"is a folder.*set \[catalog\] db_path"):
            use()


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
def test_a_damaged_row_raises_catalog_damaged(
    catalog: Catalog, path: Path, table: str, column: str, ask: Callable[[Catalog], object]
) -> None:
    catalog.registration.put_stream(make_stream())
    commit_plan(catalog, make_chunks(1))
    catalog.registration.add_chunks(make_chunks(1, first=1))
    ask(catalog)
    _flip(path, table, column)
    with pytest.raises(CatalogDamaged, match="damaged"):
        ask(catalog)


def test_any_wrong_byte_in_a_row_is_harmless_or_raises_catalog_damaged(catalog: Catalog, path: Path) -> None:
    catalog.registration.add_chunks(make_chunks(1))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (value,) = connection.execute("SELECT manifest FROM chunks").fetchone()
        for place in range(len(value)):
            changed = bytes([*value[:place], value[place] ^ 0x55, *value[place + 1 :]])
            with connection:
                connection.execute("UPDATE chunks SET manifest = ?", (changed,))
            with contextlib.suppress(CatalogDamaged):
                catalog.queue.waiting(9)


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
            return set(ids_of([row.chunk for row in reader.chunks_between(FIRST, LAST, 99)]))
        except Exception:  # not there yet, or still the damaged one
            return set()


@pytest.mark.parametrize("at_start", [True, False], ids=["at start", "while running"])
def test_a_catalog_with_a_damaged_row_is_set_aside_and_rebuilt(settings: Settings, path: Path, at_start: bool) -> None:
    folder = settings.recorder.record_path
    files = fill_spool(folder, 2)
    chosen = replace(settings, recorder=replace(settings.recorder, keep="sounds"))  # looks at every manifest
    chosen = replace(chosen, thresholds=Thresholds(records_count=0, sound_level=-10.0))
    change_holds(path, lambda holds: holds.added(FIRST, LAST))  # so that all waits for ever
    with contextlib.ExitStack() as stack:
        if at_start:
            with contextlib.closing(Catalog(path)) as catalog:
                Intake(Spool(folder, "porch"), catalog).rescan()
            _flip(path, "chunks", "manifest")
        stack.enter_context(running_archiver(chosen))
        if not at_start:
            wait_until(lambda: _known(path) == files.keys(), "all is known")
            _flip(path, "chunks", "manifest")
        wait_until(lambda: list(path.parent.glob("catalog.db.damaged-*")), "it is set aside")
        wait_until(lambda: _known(path) == files.keys(), "the spool is in the new one")


@pytest.mark.parametrize("changes", [{"shift": 10**30}, {"utc_offset": 10**30}, {"knots": [[10**30, str(START)]]}])
def test_absurd_numbers_in_a_stream_record_do_not_end_the_archiver(
    settings: Settings, path: Path, changes: dict[str, object]
) -> None:
    folder = settings.recorder.record_path
    files = fill_spool(folder, 3)
    record = Spool(folder, "porch").layout.stream_path(STREAM)
    record.write_text(json.dumps({**json.loads(record.read_bytes()), **changes}))
    with running_archiver(settings):
        wait_until(lambda: _known(path) == files.keys(), "the chunks are known")


@pytest.mark.parametrize("place", ["first_frame", "frames", "bytes", "seq"])
def test_absurd_numbers_in_a_manifest_affect_only_that_chunk(settings: Settings, path: Path, place: str) -> None:
    folder = settings.recorder.record_path
    files = fill_spool(folder, 3)
    bad = next(iter(files))
    manifest = folder / f"{bad}.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_bytes()), place: 10**19}))
    with pytest.raises(SpoolError):
        Spool(folder, "porch").chunks.manifest(bad)
    with running_archiver(settings):
        wait_until(lambda: _known(path) == files.keys() - {bad}, "the others are known")


def test_absurd_shifts_and_sounds_are_registered_and_read_without_an_error(catalog: Catalog) -> None:
    """Each number is one that fits; what they add up to is not."""
    frames, far = 2**50, int(LAST)
    span = SoundSpan(f"{STREAM}-s100", frames, frames, -20.0, -25.0)
    for shift in (far, -far):
        catalog.registration.put_stream(make_stream(uncertain=True, shift=shift))
        catalog.registration.add_chunks([make_chunk(0, b"x", uncertain=True, sounds=(span,))])
        assert [str(chunk.started_at) for chunk in catalog.queue.waiting(9)]
        assert [
            str(sound.started_at) for sound in catalog.sound_run(SoundRange(FIRST, Instant(LAST + 1)), None, 9).sounds
        ]


def test_a_plan_of_garbage_raises_catalog_damaged(catalog: Catalog, path: Path) -> None:
    plan = commit_plan(catalog, make_chunks(1))
    for rubbish in (b"", b"\0", zlib.compress(plan.manifest)[:-1]):
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE archives SET plan = ?", (rubbish,))
        with pytest.raises(CatalogDamaged, match=plan.archive_id):
            catalog.plans.manifest(plan.archive_id)
