"""The catalog: is its file intact, of our version, and writable?"""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from commands.doctor.finding import Finding, fault, ok, warning
from commands.doctor.node_under_test import NodeUnderTest

_BUSY_TIMEOUT = 2.0  # seconds to wait for the archiver's commit
_CHECK_SECONDS = 6.0  # limit of the integrity check; a large catalog on a slow card takes longer
_STEPS = 10_000  # SQLite virtual machine steps between two checks of the time


def check_catalog(node: NodeUnderTest) -> Iterator[Finding]:
    path = node.settings.catalog.db_path
    if not path.exists():
        yield ok("catalog.integrity", f"{path} does not exist yet; the archiver creates it")
        return
    integrity = check_integrity(node, path)
    yield integrity
    if integrity.state != "fault":
        version = check_version(node, path)
        yield version
        if version.state == "ok":  # other versions have other tables
            yield check_schema(node, path)
        yield check_permissions(path)


def check_integrity(node: NodeUnderTest, path: Path) -> Finding:
    """SQLite's own check of every page."""
    check = "catalog.integrity"
    here, rebuild = shlex.quote(str(path)), node.while_archiver_stopped("catalog rebuild")
    try:
        with contextlib.closing(_open(path)) as connection:
            result = _quick_check(connection, node)
    except sqlite3.DatabaseError as problem:
        text = str(problem)
        if "interrupted" in text:
            return ok(check, f"{path}: no damage found within {_CHECK_SECONDS:g} s; too large to check completely")
        if "locked" in text or "busy" in text:
            return warning(check, f"{path} is locked by a long commit", node.command("doctor"))
        if "unable to open" in text:
            return fault(check, f"{path} cannot be read", f"sudo chown {os.geteuid()} {here}")
        return fault(check, f"{path} is damaged ({text})", rebuild)
    if result != "ok":
        return fault(check, f"{path} is damaged ({result[:200]})", rebuild)
    return ok(check, f"{path} is intact")


def _quick_check(connection: sqlite3.Connection, node: NodeUnderTest) -> str:
    ends_at = node.kernel.monotonic() + round(_CHECK_SECONDS * 1e6)
    connection.set_progress_handler(lambda: int(node.kernel.monotonic() > ends_at), _STEPS)
    return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])


def check_version(node: NodeUnderTest, path: Path) -> Finding:
    from edge.catalog.tables import VERSION  # noqa: PLC0415 -- pony, for one number

    check = "catalog.version"
    with contextlib.closing(_open(path)) as connection:
        found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > VERSION:
        here = shlex.quote(str(path))
        return fault(
            check,
            f"schema {found} was written by a newer version (this one: {VERSION}); upgrade, or rebuild the catalog",
            node.while_archiver_stopped("catalog rebuild", first=f"{node.sudo}mv {here} {here}.newer"),
        )
    if found < VERSION:
        return warning(check, f"schema {found}: the archiver will upgrade it to {VERSION} when it starts", "")
    return ok(check, f"schema {found}")


def check_schema(node: NodeUnderTest, path: Path) -> Finding:
    """SQLite's integrity check does not notice a dropped table."""
    from edge.catalog.tables import Tables  # noqa: PLC0415 -- pony

    with contextlib.closing(_open(path)) as connection:
        missing = [text for table, names in Tables.columns().items() for text in _missing(connection, table, names)]
    if missing:
        rebuild = node.while_archiver_stopped("catalog rebuild")
        return fault("catalog.schema", f"{path} is missing {', '.join(missing)}", rebuild)
    return ok("catalog.schema", "all tables and columns exist")


def _missing(connection: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> list[str]:
    existing = {row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}
    if not existing:
        return [f"table {table}"]
    return [f"column {table}.{name}" for name in columns if name not in existing]


def check_permissions(path: Path) -> Finding:
    """SQLite also writes to the folder, for its journal."""
    check = "catalog.rights"
    for target in (path, path.parent):
        if not os.access(target, os.W_OK, effective_ids=True):
            return fault(check, f"{target} is not writable", f"sudo chown {os.geteuid()} {shlex.quote(str(target))}")
    return ok(check, "is writable")


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT)
    connection.execute("PRAGMA query_only = ON")
    return connection
