"""Faults of the catalog and its schema: doctor names each, and its remedy fixes it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.doctor.local_data import check_permissions
from edge.catalog.tables import Tables
from edge.spool.spool import Spool
from tests.support.nodes.breakable_node import BreakableNode
from tests.support.nodes.doctor import assert_fault
from tests.support.privileges import without_root_privileges
from tests.support.store.s3 import RunningStore


def overwrite_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(os.urandom(8_192))


def no_database(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


@pytest.fixture
def with_bucket(node: BreakableNode, store: RunningStore, catalog: Path) -> Path:
    """The catalog of a node that has a bucket and a spool to rebuild it from."""
    node.set_store(store.settings)
    Spool(node.data / "spool", "porch").create()
    return catalog


@pytest.mark.parametrize("damage", [overwrite_middle, no_database])
def test_a_damaged_catalog_is_reported_and_fixed(
    node: BreakableNode, with_bucket: Path, damage: Callable[[Path], None]
) -> None:
    damage(with_bucket)
    before = node.run_checks("catalog")["catalog.integrity"]
    assert_fault(before, "is damaged")
    assert node.apply_remedy(before).returncode == 0
    assert {finding.state for finding in node.run_checks("catalog").values()} == {"ok"}


def test_a_catalog_written_by_a_newer_version_is_reported_and_fixed(node: BreakableNode, with_bucket: Path) -> None:
    with contextlib.closing(sqlite3.connect(with_bucket)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = node.run_checks("catalog")["catalog.version"]
    assert_fault(before, "schema 99 was written by a newer version")
    assert node.apply_remedy(before).returncode == 0
    assert {finding.state for finding in node.run_checks("catalog").values()} == {"ok"}


def run_sql(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def test_the_expected_tables_are_those_the_catalog_creates(catalog: Path) -> None:
    with contextlib.closing(sqlite3.connect(catalog)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        made = {name: {row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')} for name in tables}
    assert {name: set(columns) for name, columns in Tables.columns().items()} == {
        name: columns for name, columns in made.items() if not name.startswith("sqlite_")
    }


def test_an_intact_catalog_passes(node: BreakableNode, catalog: Path) -> None:
    found = node.run_checks("catalog")
    assert found["catalog.schema"].state == "ok"
    assert {finding.state for finding in found.values()} == {"ok"}


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("DROP TABLE archives", "table archives"),
        ("ALTER TABLE chunks DROP COLUMN lafmax", "column chunks.lafmax"),
    ],
)
def test_a_missing_table_or_column_is_a_fault(
    node: BreakableNode, catalog: Path, store: RunningStore, statement: str, missing: str
) -> None:
    node.set_store(store.settings)
    Spool(node.data / "spool", "porch").create()
    run_sql(catalog, statement)
    before = node.run_checks("catalog")["catalog.schema"]
    assert before.state == "fault"
    assert before.message.endswith(missing)
    assert node.apply_remedy(before).returncode == 0
    assert {finding.state for finding in node.run_checks("catalog").values()} == {"ok"}


def test_an_older_schema_is_a_warning_as_the_archiver_upgrades_it(node: BreakableNode, catalog: Path) -> None:
    for column in ("replaces", "gone", "deleted_at"):
        run_sql(catalog, f"ALTER TABLE archives DROP COLUMN {column}")
    run_sql(catalog, "PRAGMA user_version = 1")
    found = node.run_checks("catalog")
    assert "catalog.schema" not in found
    assert found["catalog.version"].state == "warning"


def test_a_catalog_owned_by_another_user_is_a_fault(node: BreakableNode, catalog: Path) -> None:
    """As after a command that somebody ran as root."""
    catalog.chmod(0o644)
    node.data.parent.chmod(0o755)
    under_test = node.under_test()
    for place in (catalog, catalog.parent):  # SQLite's journal needs the folder
        with without_root_privileges():
            before = check_permissions(under_test, catalog)
        assert (before.state, before.message) == ("fault", f"{place} is not writable")
        assert node.apply_remedy(before).returncode == 0
    with without_root_privileges():
        assert check_permissions(under_test, catalog).state == "ok"
