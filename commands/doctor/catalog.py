"""The catalog: whether its file is whole, of our version, and ours to write."""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from commands.doctor.finding import Finding, Patient, fault, ok, warning

_PATIENCE = 2.0  # seconds that a reader waits for the archiver's commit
_LOOK_SECONDS = 6.0  # for the look at every page; a large catalog on a slow card takes longer
_STEPS = 10_000  # of SQLite's machine between two looks at the time


def look(patient: Patient) -> Iterator[Finding]:
    path = patient.settings.catalog.db_path
    if not path.exists():
        yield ok("catalog.integrity", f"{path} is not there yet; the archiver makes it")
        return
    whole = is_whole(patient, path)
    yield whole
    if whole.state != "fault":
        version = has_our_version(patient, path)
        yield version
        if version.state == "ok":  # another one's tables differ
            yield has_our_tables(patient, path)
        yield can_be_written(path)


def is_whole(patient: Patient, path: Path) -> Finding:
    """SQLite's own look at every page."""
    check = "catalog.integrity"
    here, rebuild = shlex.quote(str(path)), patient.while_archiver_stopped("catalog rebuild")
    try:
        with contextlib.closing(_open(path)) as connection:
            told = _quick_check(connection, patient)
    except sqlite3.DatabaseError as problem:
        text = str(problem)
        if "interrupted" in text:
            return ok(check, f"{path}: no fault in {_LOOK_SECONDS:g} s of looking; it is large")
        if "locked" in text or "busy" in text:
            return warning(check, f"{path} is locked by a long commit", patient.command("doctor"))
        if "unable to open" in text:
            return fault(check, f"{path} cannot be read", f"sudo chown {os.geteuid()} {here}")
        return fault(check, f"{path} is damaged ({text})", rebuild)
    return ok(check, f"{path} is whole") if told == "ok" else fault(check, f"{path} is damaged ({told[:200]})", rebuild)


def _quick_check(connection: sqlite3.Connection, patient: Patient) -> str:
    ends_at = patient.kernel.monotonic() + round(_LOOK_SECONDS * 1e6)
    connection.set_progress_handler(lambda: int(patient.kernel.monotonic() > ends_at), _STEPS)
    return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])


def has_our_version(patient: Patient, path: Path) -> Finding:
    from edge.catalog.tables import VERSION  # noqa: PLC0415 -- pony, for one number

    check = "catalog.version"
    with contextlib.closing(_open(path)) as connection:
        found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > VERSION:
        here = shlex.quote(str(path))
        return fault(
            check,
            f"schema {found} is of a newer Im Hearing; this one knows {VERSION} (install that one, or begin anew)",
            patient.while_archiver_stopped("catalog rebuild", first=f"{patient.sudo}mv {here} {here}.newer"),
        )
    if found < VERSION:
        return warning(check, f"schema {found}: the archiver brings it to {VERSION} when it starts", "")
    return ok(check, f"schema {found}")


def has_our_tables(patient: Patient, path: Path) -> Finding:
    """SQLite calls a file whole that somebody has dropped a table from."""
    from edge.catalog.tables import Tables  # noqa: PLC0415 -- pony

    with contextlib.closing(_open(path)) as connection:
        missing = [text for table, names in Tables.columns().items() for text in _missing(connection, table, names)]
    if missing:
        rebuild = patient.while_archiver_stopped("catalog rebuild")
        return fault("catalog.schema", f"{path} lacks {', '.join(missing)}", rebuild)
    return ok("catalog.schema", "every table and column is there")


def _missing(connection: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> list[str]:
    there = {row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}
    if not there:
        return [f"table {table}"]
    return [f"column {table}.{name}" for name in columns if name not in there]


def can_be_written(path: Path) -> Finding:
    """SQLite also needs the folder, for its journal."""
    check = "catalog.rights"
    for place in (path, path.parent):
        if not os.access(place, os.W_OK, effective_ids=True):
            return fault(check, f"{place} cannot be written", f"sudo chown {os.geteuid()} {shlex.quote(str(place))}")
    return ok(check, "can be written")


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE)
    connection.execute("PRAGMA query_only = ON")
    return connection
