"""Files are complete or absent, however many processes write them at once."""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import resource
import signal
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from edge.catalog.holds import change_holds, write_for_owner
from edge.core.files import temporary_beside, write_atomically
from edge.core.instance import load_instance_id
from edge.core.instant import Instant
from edge.spool.spool import Spool
from tests.support.spool.chunks import audio_bytes, make_chunk

_PROCESSES = 3
_ROUNDS = 200
_FORK = multiprocessing.get_context("fork")


def together(work: Callable[[Path], str], folders: list[Path]) -> list[list[str]]:
    """What each of three processes got from `work` in each folder, which all of them begin at once."""
    barrier, results = _FORK.Barrier(_PROCESSES), _FORK.SimpleQueue()
    processes = [_FORK.Process(target=_work, args=(work, folders, barrier, results)) for _ in range(_PROCESSES)]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return found


def _work(
    work: Callable[[Path], str], folders: list[Path], barrier: Barrier, results: multiprocessing.SimpleQueue[list[str]]
) -> None:
    found = []
    for folder in folders:
        barrier.wait()
        try:
            found.append(work(folder))
        except Exception as problem:  # else the test would wait for its result
            found.append(repr(problem))
    results.put(found)


def test_three_processes_at_a_first_start_agree_on_one_instance(tmp_path: Path) -> None:
    folders = [tmp_path / f"node-{number}" for number in range(_ROUNDS)]
    first, second, third = together(load_instance_id, folders)
    assert first == second == third
    assert [one.partition("-")[0] for one in first] == [(folder / "instance").read_text() for folder in folders]
    assert len(set(first)) == _ROUNDS


def test_three_processes_that_find_a_damaged_instance_agree_on_a_new_one(tmp_path: Path) -> None:
    folders = [tmp_path / f"node-{number}" for number in range(_ROUNDS)]
    for folder in folders:
        folder.mkdir()
        (folder / "instance").write_bytes(b"\0" * 16)
    first, second, third = together(load_instance_id, folders)
    assert first == second == third
    assert len(set(first)) == _ROUNDS


def _write_own(folder: Path) -> str:
    data = f"{os.getpid()} " * 2_000
    write_atomically(folder / "state", data.encode())
    return data


def test_concurrent_writers_leave_what_one_of_them_wrote(tmp_path: Path) -> None:
    written = together(_write_own, [tmp_path] * _ROUNDS)
    assert (tmp_path / "state").read_text() in {found[-1] for found in written}
    assert {len(set(found)) for found in written} == {1}  # the same each time: no error
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def _fails(work: Callable[[], object]) -> int | None:
    """The errno with which `work` ends in a process that may write no byte more into any file."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        code = 0
        try:
            work()
        except OSError as problem:
            code = problem.errno or 255
        finally:
            os.write(writer, bytes([code]))
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        [code] = pipe.read()
    return code or None


def test_a_write_that_fails_leaves_no_temporary_behind(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("old")
    spool = Spool(tmp_path / "spool", "porch")
    spool.create()
    part = spool.layout.part_path(make_chunk(0).chunk_id, "flac")
    part.write_bytes(audio_bytes(0))
    writes: list[Callable[[], object]] = [
        lambda: write_atomically(tmp_path / "state", b"new"),
        lambda: write_for_owner(tmp_path / "state", b"new"),
        lambda: spool.chunks.finish(part, make_chunk(0)),
        lambda: change_holds(tmp_path / "catalog.db", lambda holds: holds.added(Instant(0), Instant(1))),
        lambda: load_instance_id(tmp_path / "node"),
    ]
    assert [_fails(write) for write in writes] == [errno.EFBIG] * len(writes)
    assert (tmp_path / "state").read_text() == "old"
    assert [path.name for path in spool.path.iterdir()] == [part.name]
    assert list(tmp_path.rglob("*.tmp")) == []
    assert not (tmp_path / "node" / "instance").exists()


def test_a_rename_that_fails_leaves_no_temporary_behind(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "state", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_temporary_is_recognised_by_its_name(tmp_path: Path) -> None:
    with temporary_beside(tmp_path / "config.ini") as one, temporary_beside(tmp_path / "config.ini") as other:
        assert one != other
        assert one.parent == tmp_path
        assert re.fullmatch(r"config\.ini\.[0-9a-f]{8}\.tmp", one.name)


def test_a_temporary_is_removed_when_its_writer_fails(tmp_path: Path) -> None:
    def write() -> None:
        with temporary_beside(tmp_path / "config.ini") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []


def test_an_atomic_write_sets_the_mode_and_replaces_the_content(tmp_path: Path) -> None:
    os.umask(0o022)
    write_atomically(tmp_path / "state", b"old", 0o600)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600
    write_atomically(tmp_path / "state", b"new", 0o640)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "state").read_bytes() == b"new"


@pytest.mark.parametrize(
    "name", ["state.json", "20260303T220000Z-abcd-000001.json", "20260303T220000Z-abcd.stream.json"]
)
def test_temporaries_abandoned_by_the_recorder_are_leftovers(tmp_path: Path, name: str) -> None:
    spool = Spool(tmp_path, "porch")
    with temporary_beside(tmp_path / name) as temporary, temporary_beside(tmp_path / "pause.json") as of_others:
        temporary.write_bytes(b"half")
        of_others.write_bytes(b"half")
        assert spool.chunks.leftovers() == [temporary]
