"""The only file that imports pony: the tables, and sessions on one SQLite file.

Rollback journal and synchronous=FULL: one small commit per chunk needs no write-ahead log, and a reader without write
permission can open it. Busy and damaged files become our own errors here.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pony.orm.dbproviders.sqlite  # noqa: F401 - now: two threads that bind at once would import it by halves
from pony import orm
from pony.orm import Database, Optional, PrimaryKey, Required, composite_index

from edge.catalog.budget import STATEMENT_SECONDS, Budget
from edge.catalog.rollup.triggers import WATCH
from edge.core.errors import BudgetSpent, CatalogBusy, CatalogDamaged, CatalogError, CatalogInterrupted

VERSION = 3
# Each entry brings a catalog of that version to the next one; statements that both SQLite and PostgreSQL take.
MIGRATIONS: dict[int, tuple[str, ...]] = {
    1: (
        'ALTER TABLE "archives" ADD COLUMN "replaces" TEXT',
        'ALTER TABLE "archives" ADD COLUMN "gone" TEXT',
        'ALTER TABLE "archives" ADD COLUMN "deleted_at" BIGINT',
    ),
    2: (),  # the roll-up is filled when its table is found to be empty
}
# Earlier versions noted what is due as the start of the newest chunk, which fails when clocks are wrong.
_TAKE_OVER_DUE = (
    """INSERT OR IGNORE INTO "due" SELECT "chunk_id" FROM "chunks" WHERE "state" IN ('waiting', 'planned', 'aside')
    AND "started_at" <= (SELECT "value" FROM "notes" WHERE "name" = 'due_until')""",
    """DELETE FROM "notes" WHERE "name" = 'due_until'""",
)
_MARK_DUE = (
    """DELETE FROM "due" WHERE "chunk_id" NOT IN
    (SELECT "chunk_id" FROM "chunks" WHERE "state" IN ('waiting', 'planned', 'aside'))""",
    """INSERT OR IGNORE INTO "due" SELECT "chunk_id" FROM "chunks" WHERE "state" = 'waiting'""",
)
# Any page of sounds in either order, without a sort. Pony makes none of floats, nor descending ones.
_INDEXES = (
    """CREATE INDEX IF NOT EXISTS "idx_sounds__in_time" ON "sounds" ("started_at", "sound_id", "lafmax")""",
    """CREATE INDEX IF NOT EXISTS "idx_sounds__loudest" ON "sounds" ("lafmax" DESC, "started_at", "sound_id")""",
)
_STEPS = 50_000  # of SQLite's virtual machine between two looks at the clock: some ms
_WRITER_PATIENCE = 30.0  # seconds that a commit waits for readers
_READER_PATIENCE = 1.0

# queries are written with these by reader.py and writer.py
select, desc, count = orm.select, orm.desc, orm.count
total, greatest, least = orm.sum, orm.max, orm.min


class _Limit(threading.local):
    """What the session of this thread may still take."""

    budget: Budget | None = None
    ends_at = 0.0  # monotonic

    def is_exceeded(self) -> bool:
        """Whether to interrupt the statement that is running."""
        return self.budget is not None and (time.monotonic() > self.ends_at or self.budget.is_out_of_time)


class Tables:
    """One open catalog file with its entities. Connections are made per thread, at their first session.

    Nine of its fourteen attributes are the entities, which Pony defines for each file.
    """

    Stream: Any
    Chunk: Any
    Copy: Any
    Archive: Any
    Hole: Any
    Sound: Any
    Note: Any
    Due: Any
    Quarter: Any

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path
        self._read_only = read_only
        self._limit = _Limit()
        with _mapped(path):
            self._open()

    @classmethod
    def columns(cls) -> dict[str, tuple[str, ...]]:
        """The columns of each table as they are defined here, by its name; opens nothing."""
        defined = cls.__new__(cls)  # its definitions alone
        defined.db = Database()
        defined._define()
        return {entity._table_: tuple(attr.name for attr in entity._attrs_) for entity in defined.db.entities.values()}

    def _open(self) -> None:
        if self._read_only:
            self._require_version(VERSION)
        self._file_id = _file_id(self.path)
        self.db: Any = Database()
        self._define()
        # Pony takes plain functions alone, and silently ignores a method
        self.db.on_connect(provider="sqlite")(lambda _db, connection: self._pragmas(connection))
        patience = _READER_PATIENCE if self._read_only else _WRITER_PATIENCE
        self.db.bind(provider="sqlite", filename=str(self.path), create_db=not self._read_only, timeout=patience)
        if not self._read_only:
            self._migrate()
        self.db.generate_mapping(create_tables=not self._read_only, check_tables=False)
        if not self._read_only:
            self._stamp()
            self._file_id = _file_id(self.path)
            self.db.on_connect(provider="sqlite")(lambda _db, connection: _watch(connection))
            self.db.disconnect()  # the next connection has all tables to watch

    def _define(self) -> None:
        db = self.db

        class Stream(db.Entity):  # type: ignore[misc, name-defined]
            _table_ = "streams"
            stream_id = PrimaryKey(str)
            ordinal = Required(int, size=64, index=True)
            record = Required(bytes)
            correction_due = Required(bool, default=False, index=True)  # an archive has older times than we know

        class Chunk(db.Entity):  # type: ignore[misc, name-defined]
            _table_ = "chunks"
            chunk_id = PrimaryKey(str)
            stream_id = Required(str, index=True)
            first_frame = Required(int, size=64)
            frames = Required(int, size=64)
            started_at = Required(int, size=64)  # as known now; the manifest says what was known then
            ended_at = Required(int, size=64)
            duration = Required(int, size=64, index=True)  # bounds the range of a query
            uncertain = Required(bool)
            length = Required(int, size=64)  # bytes
            sha256 = Required(str)
            lafmax = Optional(float)
            manifest = Required(bytes, lazy=True)  # large, and never changed
            state = Required(str)  # waiting, planned, stored, aside, gone
            reason = Optional(str, nullable=True)  # of aside and gone
            archive_id = Optional(str, nullable=True, index=True)
            offset = Optional(int, size=64)
            composite_index(started_at, chunk_id)
            composite_index(state, started_at)

        class Copy(db.Entity):  # type: ignore[misc, name-defined]
            _table_ = "copies"  # of chunks, in further archives than the one that their row names
            chunk_id = Required(str)
            archive_id = Required(str, index=True)
            offset = Required(int, size=64)
            manifest = Required(bytes, lazy=True)  # that archive's: its bytes may be others
            PrimaryKey(chunk_id, archive_id)

        class Archive(db.Entity):  # type: ignore[misc, name-defined]
            _table_ = "archives"
            archive_id = PrimaryKey(str)
            node = Required(str)
            bucket = Required(str)
            key = Required(str)
            length = Required(int, size=64)  # bytes
            sha256 = Optional(str, nullable=True)
            chunks = Required(int, size=64)
            started_at = Required(int, size=64)
            ended_at = Required(int, size=64)
            planned_at = Required(int, size=64)
            uploaded_at = Optional(int, size=64, index=True)
            plan = Optional(bytes, nullable=True)  # its manifest.json, deflated, until it is uploaded
            replaces = Optional(str, nullable=True)
            gone = Optional(str, nullable=True)
            deleted_at = Optional(int, size=64)

        class Hole(db.Entity):  # type: ignore[misc, name-defined]
            _table_ = "holes"
            stream_id = Required(str, index=True)  # the stream that began after it
            cause = Required(str)
            started_at = Required(int, size=64)
            ended_at = Required(int, size=64)
            duration = Required(int, size=64, index=True)
            composite_index(started_at, ended_at)

        class Sound(db.Entity):  # type: ignore[misc, name-defined]
            _table_ = "sounds"
            sound_id = PrimaryKey(str)
            stream_id = Required(str, index=True)
            chunk_id = Required(str)
            started_at = Required(int, size=64)
            ended_at = Optional(int, size=64)
            lafmax = Required(float)
            laeq = Required(float)

        class Note(db.Entity):  # type: ignore[misc, name-defined]
            _table_ = "notes"
            name = PrimaryKey(str)
            value = Required(int, size=64)

        class Due(db.Entity):  # type: ignore[misc, name-defined]
            _table_ = "due"
            chunk_id = PrimaryKey(str)  # to be archived, even if the limit is met again

        class Quarter(db.Entity):  # type: ignore[misc, name-defined]
            _table_ = "quarters"  # the roll-up; where one is missing, the state that the one before ends with lasts
            quarter = PrimaryKey(int)  # so many times 15 min after 1970 it begins, UTC
            first_state = Required(str)
            last_state = Required(str)
            times = Required(str)  # µs of each state, as JSON
            gaps = Required(int)  # that begin in it
            sounds = Required(int)  # likewise
            dbfs_seconds = Required(int)  # of one-second levels in dBFS
            dbfs_energy = Required(float)  # their sum, that of 0 dB being 1
            dbfs_maximum = Optional(float)
            dbfs_histogram = Required(str)  # JSON: the first dB, then the seconds of each dB from there on
            dba_seconds = Required(int)
            dba_energy = Required(float)
            dba_maximum = Optional(float)
            dba_histogram = Required(str)

        self.Stream, self.Chunk, self.Copy, self.Archive, self.Due = Stream, Chunk, Copy, Archive, Due
        self.Hole, self.Sound, self.Note, self.Quarter = Hole, Sound, Note, Quarter

    @contextlib.contextmanager
    def session(self, budget: Budget | None = None) -> Iterator[None]:
        """One transaction for the writer, all or nothing. A reader's queries see each what is committed then.

        With a `budget`, a statement is interrupted once it is spent, or has kept a commit waiting for too long
        (PostgreSQL: statement_timeout). Raises BudgetSpent then.
        """
        # a reader must not ask for the write lock, which `immediate` does, and so does `serializable`
        with _mapped(self.path), orm.db_session(immediate=not self._read_only):
            self._limit.budget = budget
            self.next_statement()
            try:
                yield
            finally:
                self._limit.budget = None

    def next_statement(self) -> None:
        """Gives another statement of the session its own time."""
        self._limit.ends_at = time.monotonic() + STATEMENT_SECONDS

    def rows(self, sql: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Within a session: what this SELECT finds; `$name` stands for a value."""
        self.next_statement()
        return list(self.db.select(sql, {}, dict(values)))

    def mark_due(self) -> None:
        """Within a session: what waits is due, and what is no longer here needs no mark."""
        for statement in _MARK_DUE:
            self.db.execute(statement)

    def replaced(self) -> bool:
        """Whether the file has been replaced since it was opened. Raises CatalogError if that cannot be seen."""
        with _mapped(self.path):
            return self._file_id != _file_id(self.path)

    def close(self) -> None:
        """Closes the connection of the calling thread."""
        with contextlib.suppress(orm.core.OrmError):
            self.db.disconnect()

    def _pragmas(self, connection: sqlite3.Connection) -> None:
        cursor = connection.cursor()
        if self._read_only:
            cursor.execute("PRAGMA query_only = ON")
            connection.set_progress_handler(self._limit.is_exceeded, _STEPS)
            return
        cursor.execute("PRAGMA journal_mode = DELETE")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA secure_delete = ON")  # what is erased leaves the file too
        cursor.execute("PRAGMA cache_size = -512")  # kB, of pages that the kernel caches too: 2 MB would fill in weeks

    def _version(self) -> int:
        with contextlib.closing(sqlite3.connect(self.path, timeout=_READER_PATIENCE)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])

    def _require_version(self, wanted: int) -> None:
        if not self.path.exists():
            raise CatalogBusy(f"{self.path}: there is no catalog yet; the archiver creates it when it starts")
        found = self._version()
        if found < wanted:
            raise CatalogBusy(f"{self.path}: the catalog is being made or brought up to date; try again soon")
        self._refuse_newer(found)

    def _refuse_newer(self, found: int) -> None:
        if found > VERSION:
            raise CatalogError(
                f"{self.path}: was written by a newer version of Im Hearing (schema {found}, this one knows {VERSION});"
                " install that one again, or move the file away and run `imhearing catalog rebuild`"
            )

    def _migrate(self) -> None:
        found = self._version() if self.path.exists() else 0
        self._refuse_newer(found)
        if not found:
            return
        with self._transaction() as connection:
            for version in range(found, VERSION):
                for statement in MIGRATIONS[version]:
                    _alter(connection, statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")

    def _stamp(self) -> None:
        with self._transaction() as connection:
            for statement in (*_TAKE_OVER_DUE, *_INDEXES):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, even if the process is killed; Python's own transactions do not cover ALTER TABLE."""
        connection = sqlite3.connect(self.path, timeout=_WRITER_PATIENCE, isolation_level=None)
        with contextlib.closing(connection):
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")  # without it, closing rolls back


def _watch(connection: sqlite3.Connection) -> None:
    for statement in ("PRAGMA temp_store = MEMORY", *WATCH):
        connection.execute(statement)


def undo_interrupted_commit(path: Path) -> None:
    """What SQLite does at the first read of a connection that may write. Raises CatalogError."""
    with _mapped(path), contextlib.closing(sqlite3.connect(path, timeout=_WRITER_PATIENCE)) as connection:
        connection.execute("PRAGMA user_version").fetchone()


def _alter(connection: sqlite3.Connection, statement: str) -> None:
    try:
        connection.execute(statement)
    except sqlite3.OperationalError as problem:
        # earlier versions committed each statement by itself, and may have been killed between two
        if "duplicate column name" not in str(problem):
            raise


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[None]:
    """Turns SQLite's and Pony's errors into ours."""
    try:
        yield
    except (orm.core.DBException, orm.core.OrmError, sqlite3.Error, OSError) as problem:
        text = str(problem)
        if "interrupted" in text:
            raise BudgetSpent(f"{path}: the question takes longer than one may") from problem
        if (
            getattr(getattr(problem, "original_exc", problem), "sqlite_errorcode", 0)
            == sqlite3.SQLITE_READONLY_ROLLBACK
        ):
            raise CatalogInterrupted(
                f"{path}: a commit was interrupted; the archiver undoes it when it starts (or `catalog recover`)"
            ) from problem
        # locked, vanished between two steps: all pass
        if any(word in text for word in ("locked", "busy", "unable to open", "readonly", "no such table")):
            raise CatalogBusy(f"{path}: the catalog is busy ({text}); try again soon") from problem
        if any(word in text for word in ("malformed", "not a database", "corrupt")):
            raise CatalogDamaged(f"{path}: the catalog is damaged ({text})") from problem
        raise CatalogError(
            f"{path}: the catalog failed ({text}); check the disk and the file's permissions"
        ) from problem
