"""Catalogs of earlier versions are upgraded, and those of newer ones refused."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from edge.archiver.plan.plan import ArchivePlan, make_plan
from edge.catalog import Catalog, CatalogReader
from edge.catalog.tables import MIGRATIONS
from edge.core.errors import CatalogError
from edge.core.instant import Instant
from tests.support.catalog import TARGET, commit_plan, make_chunks


def test_a_catalog_with_the_attempts_table_of_earlier_versions_still_works(path: Path) -> None:
    with contextlib.closing(Catalog(path)) as catalog:
        catalog.registration.add_chunks(make_chunks(2))
        plan = make_plan(catalog.queue.waiting(9), {}, TARGET)
        catalog.plans.commit(plan.archive(Instant(1)), plan.members, plan.manifest)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        assert not connection.execute("SELECT * FROM sqlite_master WHERE name = 'attempts'").fetchall()
        connection.executescript(_ATTEMPTS_OF_EARLIER_VERSIONS)
    with contextlib.closing(Catalog(path)) as catalog:
        assert catalog.plans.manifest(plan.archive_id) == plan.manifest
        catalog.plans.mark_uploaded(plan.archive_id, "ab" * 32, Instant(2))
        catalog.registration.add_chunks(make_chunks(3))
        assert [chunk.seq for chunk in catalog.queue.waiting(9)] == [2]
    with contextlib.closing(CatalogReader(path)) as reader:
        assert reader.archive_records.uploaded_ids() == [plan.archive_id]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
        assert connection.execute('SELECT "cause" FROM "attempts"').fetchall() == [("slow",)]


def test_a_catalog_with_a_newer_schema_is_refused(catalog: Catalog, path: Path, reader: CatalogReader) -> None:
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
        plan = commit_plan(catalog, make_chunks(1))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for column in without:
            connection.execute(f'ALTER TABLE "archives" DROP COLUMN "{column}"')
        connection.execute("PRAGMA user_version = 1")
    return plan


def test_a_migration_left_half_done_by_an_earlier_version_is_completed(path: Path) -> None:
    plan = _first_schema(path, "gone", "deleted_at")
    with contextlib.closing(Catalog(path)) as catalog:
        assert [archive.archive_id for archive in catalog.archive_records.open_plans()] == [plan.archive_id]


@pytest.mark.parametrize("done", range(len(MIGRATIONS[1]) + 1))
def test_a_killed_migration_leaves_nothing_half_done(path: Path, done: int) -> None:
    plan = _first_schema(path, "replaces", "gone", "deleted_at")
    killed = subprocess.run([sys.executable, "-c", _KILLED, path, str(done)], check=False)
    assert killed.returncode == 9
    with contextlib.closing(sqlite3.connect(path)) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(archives)")}
    assert not columns & {"replaces", "gone", "deleted_at"}
    with contextlib.closing(Catalog(path)) as catalog:
        assert [archive.archive_id for archive in catalog.archive_records.open_plans()] == [plan.archive_id]


def test_the_first_schema_is_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with contextlib.closing(Catalog(path)) as catalog:
        archive_id = commit_plan(catalog, make_chunks(3)).archive_id
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for column in ("replaces", "gone", "deleted_at"):
            connection.execute(f'ALTER TABLE "archives" DROP COLUMN "{column}"')
        connection.execute("PRAGMA user_version = 1")
    with contextlib.closing(Catalog(path)) as catalog:
        [archive] = catalog.archive_records.open_plans()
        assert (archive.archive_id, archive.gone) == (archive_id, None)
        catalog.plans.mark_uploaded(archive_id, "0" * 64, Instant(2))
        catalog.deletions.expire_archive(archive_id)
        assert [pending.archive_id for pending in catalog.archive_records.pending_deletion()] == [archive_id]
