"""Several processes on one catalog: one writer, readers, locks, kills."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge.catalog import Catalog, CatalogReader
from edge.catalog.file import CatalogFile
from edge.catalog.registration import Registration
from edge.core.errors import CatalogBusy, CatalogError
from tests.support.catalog import make_chunks
from tests.support.spool.chunks import START, at, make_chunk
from tests.support.wait import DEADLINE, wait_until


def test_a_second_writer_is_refused(catalog: Catalog, path: Path) -> None:
    with pytest.raises(CatalogError, match="another archiver"):
        Catalog(path).open()


def test_a_missing_catalog_is_busy_until_it_is_created(path: Path, reader: CatalogReader) -> None:
    with pytest.raises(CatalogBusy):
        reader.known(["x"])
    catalog = Catalog(path)
    catalog.registration.add_chunks(make_chunks(1))
    assert reader.known([make_chunks(1)[0].chunk_id, "x"]) == {make_chunks(1)[0].chunk_id}
    catalog.close()


def test_an_empty_catalog_file_is_busy(path: Path, reader: CatalogReader) -> None:
    path.touch()
    with pytest.raises(CatalogBusy):
        reader.known(["x"])


def test_a_reader_cannot_write(catalog: Catalog) -> None:
    with contextlib.closing(CatalogFile(catalog.path)) as file, pytest.raises(CatalogError):
        Registration(file).add_chunks(make_chunks(1))
    assert catalog.queue.waiting(9) == []


def test_commits_are_synchronous_and_leave_no_journal_behind(catalog: Catalog, path: Path) -> None:
    catalog.registration.add_chunks(make_chunks(1))
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


def test_a_reader_reopens_a_replaced_catalog(path: Path, tmp_path: Path, reader: CatalogReader) -> None:
    for name in ("catalog.db", "other.db"):
        catalog = Catalog(tmp_path / name)
        catalog.registration.add_chunks(make_chunks(1, first=0 if name == "catalog.db" else 5))
        catalog.close()
    assert [row.chunk.seq for row in reader.chunks_between(START, at(99), 9)] == [0]
    (tmp_path / "other.db").replace(path)
    assert [row.chunk.seq for row in reader.chunks_between(START, at(99), 9)] == [5]


_WRITER = """
import sys
from pathlib import Path
from edge.catalog import Catalog
from tests.support.spool.chunks import make_chunk
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


def test_a_killed_writer_loses_no_committed_chunk(path: Path, reader: CatalogReader) -> None:
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        reported = [int(writer.stdout.readline()) for _ in range(100)]
        while len(reported) < 200:  # read all the while
            reported.append(int(writer.stdout.readline()))
            assert _known_in_the_end(reader, {make_chunk(reported[-1], b"x").chunk_id})
        writer.kill()
        reported += [int(line) for line in writer.stdout if line.endswith("\n")]
        writer.wait()
        writer.stdout.close()
        ids = {make_chunk(seq, b"x").chunk_id for seq in reported}
        assert _known_in_the_end(reader, ids) == ids


def test_threads_that_open_a_catalog_first_have_its_driver_already() -> None:
    """Pony imports it when a database is bound; of two threads at once, one would find half of it."""
    program = "import sys, edge.catalog.tables; sys.exit('pony.orm.dbproviders.sqlite' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
