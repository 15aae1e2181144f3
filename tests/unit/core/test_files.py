"""Files are complete or absent, however many processes write them at once."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing
import os
import re
import resource
import signal
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from unittest import mock

import pytest

from edge.catalog.erasures import ErasureResult, Erasures, remove_abandoned_beside
from edge.catalog.holds import change_holds, write_for_owner
from edge.core.errors import SpoolError
from edge.core.files import remove_abandoned, temporary_beside, write_atomically
from edge.core.instance import load_instance_id
from edge.core.instant import Instant
from edge.core.values import PauseOrder
from edge.recorder.durable.repair import repair
from edge.spool import limits
from edge.spool.spool import Spool
from edge.spool.thresholds import Limits
from tests.support.kernel_clock import ManualClock
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


def _killed_while_writing(work: Callable[[], object]) -> None:
    """Does `work` in a process that is killed before its bytes are synced."""

    def die(_descriptor: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            with mock.patch.object(os, "fsync", die):
                work()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_the_next_start_removes_what_killed_writers_left(tmp_path: Path) -> None:
    catalog, spool = tmp_path / "catalog.db", Spool(tmp_path / "spool", "porch")
    spool.create()
    (tmp_path / "orders").mkdir()
    writes: list[Callable[[], object]] = [
        lambda: change_holds(catalog, lambda holds: holds.added(Instant(0), Instant(1))),
        lambda: Erasures(catalog).give(Instant(0), Instant(1), Instant(2)),
        lambda: Erasures(catalog).end(ErasureResult("0123456789abcdef", "done")),
        lambda: load_instance_id(tmp_path),
        lambda: limits.save(spool.path, Limits()),
        lambda: limits.save_reported(spool.path, {}),
        lambda: spool.pause.write(PauseOrder()),
        lambda: write_atomically(spool.layout.state_path, b"half"),
    ]
    for write in writes:
        _killed_while_writing(write)
    assert len(list(tmp_path.rglob("*.tmp"))) == len(writes)
    remove_abandoned_beside(catalog)
    repair(spool, ManualClock())
    assert list(tmp_path.rglob("*.tmp")) == []


def test_the_file_of_a_writer_that_lives_is_never_removed(tmp_path: Path) -> None:
    (written, at_fsync), (resumed, resume) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        real = os.fsync

        def wait_and_sync(descriptor: int) -> None:
            os.write(at_fsync, b"x")
            os.read(resumed, 1)
            real(descriptor)

        code = 1
        try:
            with mock.patch.object(os, "fsync", wait_and_sync):
                write_atomically(tmp_path / "holds.json", b"all of it", sync_name=False)
            code = 0
        finally:
            os._exit(code)
    os.read(written, 1)
    [temporary] = tmp_path.iterdir()
    remove_abandoned(tmp_path, r"holds\.json")
    survives = temporary.exists()
    os.write(resume, b"x")
    assert os.waitpid(child, 0)[1] == 0
    assert survives
    assert (tmp_path / "holds.json").read_bytes() == b"all of it"


def _before_the_lock(act: Callable[[Path], object]) -> mock._patch[Callable[..., int]]:
    """Once, between the creation of a temporary file and its lock, does `act` on it."""
    real, left = os.open, [act]

    def open_and_act(path: Path, flags: int, *arguments: int) -> int:
        descriptor = real(path, flags, *arguments)
        if flags & os.O_EXCL and left:
            left.pop()(path)
        return descriptor

    return mock.patch.object(os, "open", open_and_act)


def test_a_sweep_that_is_quicker_than_the_lock_fails_no_writer(tmp_path: Path) -> None:
    with _before_the_lock(lambda _: remove_abandoned(tmp_path, "state")):
        write_atomically(tmp_path / "state", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_writer_takes_another_name_while_a_sweep_looks_at_the_first(tmp_path: Path) -> None:
    with contextlib.ExitStack() as sweep:

        def lock(path: Path) -> None:
            fcntl.flock(sweep.enter_context(path.open("rb")), fcntl.LOCK_EX)

        with _before_the_lock(lock):
            write_atomically(tmp_path / "state", b"new")
        assert (tmp_path / "state").read_bytes() == b"new"


def _write_or_sweep(folder: Path) -> str:
    try:
        (folder / f"sweeper-{os.getppid()}").touch(exist_ok=False)
    except FileExistsError:
        return _write_own(folder)
    for _ in range(_ROUNDS):
        remove_abandoned(folder, "state")
    return ""


def test_a_sweep_at_the_same_moment_fails_no_writer(tmp_path: Path) -> None:
    folders = [tmp_path / f"{number}" for number in range(20)]
    for folder in folders:
        folder.mkdir()
    written = together(_write_or_sweep, folders)
    for number, folder in enumerate(folders):
        assert (folder / "state").read_text() in {found[number] for found in written}
        assert len(list(folder.iterdir())) == 2


def test_a_sweep_leaves_other_names_and_what_is_young_and_cannot_be_locked(tmp_path: Path) -> None:
    others = {"holds.json", "my.json.01234567.tmp", "holds.json.0123456.tmp", "holds.json.01234567.tmp.swp"}
    young, old = {"holds.json.tmp", "parts.01234567.tmp"}, {"orders.json.tmp", "parts.76543210.tmp"}
    for name in others | young | old | {"holds.json.01234567.tmp"}:
        if name.startswith("parts"):
            (tmp_path / name).symlink_to("elsewhere")
        else:
            (tmp_path / name).write_bytes(b"half")
    for name in old:
        os.utime(tmp_path / name, (1, 1), follow_symlinks=False)
    remove_abandoned(tmp_path, r"(?:holds|orders)\.json|parts")
    assert {path.name for path in tmp_path.iterdir()} == others | young


def test_a_folder_that_cannot_be_swept_is_left_as_it_is(tmp_path: Path) -> None:
    remove_abandoned(tmp_path / "missing", "state")
    (tmp_path / "state.01234567.tmp").mkdir()
    remove_abandoned(tmp_path, "state")
    assert (tmp_path / "state.01234567.tmp").is_dir()


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
        except (OSError, SpoolError) as problem:
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
