"""The spool's listing is cached only while the folder is unchanged."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from edge.core.errors import SpoolError
from edge.core.instant import Instant
from edge.spool.chunks import PartFile, SpoolChunks, SpoolFile
from edge.spool.spool import Spool
from query_service.answer.spool_view import SpoolWatcher
from tests.support.spool.chunks import STREAM, audio_bytes, fill_spool, make_chunk, put_chunk


def begun_chunk(folder: Path) -> tuple[Spool, Path]:
    """A spool whose recorder wrote last to the file of its first chunk, 7 s after 1970."""
    fill_spool(folder, 0)
    spool = Spool(folder, "porch")
    part = spool.layout.part_path(f"{STREAM}-000000", "flac")
    part.write_bytes(b"a")
    os.utime(spool.path / "state.json", (1, 1))
    os.utime(part, (7, 7))
    return spool, part


def settle(folder: Path) -> None:
    """As if the last change to the folder had been a while ago."""
    past = time.time_ns() - 10_000_000_000
    os.utime(folder, ns=(past, past))


def test_new_and_removed_chunks_are_seen(tmp_path: Path) -> None:
    fill_spool(tmp_path, 2)
    spool = Spool(tmp_path, "porch")
    watcher = SpoolWatcher(spool)
    settle(tmp_path)
    first = watcher.view()
    assert len(first.listed) == 2
    assert watcher.view().version == first.version
    data = audio_bytes(9)
    put_chunk(spool, make_chunk(2, data), data)
    assert len(watcher.view().listed) == 3
    settle(tmp_path)
    watcher.view()
    spool.chunks.remove(min(watcher.view().listed))
    assert len(watcher.view().listed) == 2


def test_the_listing_of_a_folder_that_just_changed_is_not_cached(tmp_path: Path) -> None:
    fill_spool(tmp_path, 1)
    watcher = SpoolWatcher(Spool(tmp_path, "porch"))
    assert watcher.view().version != watcher.view().version


def test_a_growing_part_is_seen_although_its_folder_does_not_change(tmp_path: Path) -> None:
    fill_spool(tmp_path, 1)
    spool = Spool(tmp_path, "porch")
    part = spool.layout.part_path(f"{STREAM}-000001", "flac")
    part.write_bytes(b"a")
    settle(tmp_path)
    watcher = SpoolWatcher(spool)
    version = watcher.view().version
    part.write_bytes(b"ab")
    os.utime(part, ns=(5_000_000, 5_000_000))
    view = watcher.view()
    assert view.version == version
    assert view.flushed_at == 5_000


def seen_at(spool: Spool, **changed: int) -> Instant | None:
    """When the recorder was last seen, if these of its files were last written then (s), and all others long ago."""
    for path in spool.path.iterdir():
        at = max([1, *(seconds for name, seconds in changed.items() if name in path.name)])
        os.utime(path, (at, at))
    return SpoolWatcher(spool).view().seen_at


def test_any_recent_write_shows_that_the_recorder_is_alive(tmp_path: Path) -> None:
    fill_spool(tmp_path, 2)
    spool = Spool(tmp_path, "porch")
    assert seen_at(spool, state=5) == 5_000_000
    assert seen_at(spool, flac=5) == 5_000_000, "it is between two files"
    spool.layout.part_path(f"{STREAM}-000002", "flac").write_bytes(b"a")
    assert seen_at(spool, part=5) == 5_000_000
    with spool.recorder_lock.hold():
        view = SpoolWatcher(spool).view()
    assert [view.is_alive(Instant(at * 1_000_000)) for at in (4, 15, 16)] == [True, True, False]


def test_a_recorder_that_died_is_not_alive_however_lately_it_wrote(tmp_path: Path) -> None:
    fill_spool(tmp_path, 2)
    spool = Spool(tmp_path, "porch")
    code = (
        "import pathlib, sys; from edge.spool.spool import Spool\n"
        "with Spool(pathlib.Path(sys.argv[1]), 'porch').recorder_lock.hold():\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as recorder:
        assert recorder.stdout is not None
        assert recorder.stdout.readline() == b"held\n"
        os.utime(spool.path / "state.json")
        watcher, now = SpoolWatcher(spool), Instant.from_seconds(time.time())
        assert watcher.view().is_alive(now)
        recorder.kill()
        recorder.wait()
        assert not watcher.view().is_alive(now)


def test_a_chunk_finished_during_the_listing_is_seen(tmp_path: Path) -> None:
    _, part = begun_chunk(tmp_path)

    class Finishing(SpoolChunks):
        """The recorder finishes the file while its folder is being listed."""

        def _listed(self) -> None:
            if part.exists():
                part.rename(part.with_suffix(""))

        def parts(self) -> list[PartFile]:
            found = super().parts()
            self._listed()
            return found

        def finished(self, known: Iterable[SpoolFile] = ()) -> dict[str, SpoolFile]:
            found = super().finished(known)
            self._listed()
            return found

    spool = Spool(tmp_path, "porch")
    spool.chunks = Finishing(spool.layout, "porch")
    view = SpoolWatcher(spool).view()
    assert view.seen_at == 7_000_000
    assert list(view.listed) == [f"{STREAM}-000000"]


def test_a_chunk_finished_since_the_listing_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, part = begun_chunk(tmp_path)
    settle(tmp_path)
    watcher = SpoolWatcher(spool)
    changed_at = (tmp_path.stat().st_mtime_ns,)
    assert not watcher.view().listed
    part.rename(part.with_suffix(""))
    monkeypatch.setattr(watcher, "_folders_changed_at", lambda: changed_at)  # looked at just before
    view = watcher.view()
    assert view.seen_at == 7_000_000
    assert list(view.listed) == [f"{STREAM}-000000"]


def test_a_part_on_tmpfs_is_seen(tmp_path: Path) -> None:
    """What is to be encrypted is written in a folder on tmpfs: the spool's own folder does not change."""
    spool, elsewhere = Spool(tmp_path / "spool", "porch"), tmp_path / "tmpfs"
    fill_spool(spool.path, 1)
    elsewhere.mkdir()
    spool.layout.set_parts_folder(elsewhere)
    settle(spool.path)
    settle(elsewhere)
    watcher = SpoolWatcher(spool)
    assert watcher.view().flushed_at is None
    part = elsewhere / f"{STREAM}-000001.flac.part"
    part.write_bytes(b"a")
    os.utime(part, (9, 9))
    assert watcher.view().flushed_at == 9_000_000


def test_a_missing_spool_folder_is_an_error(tmp_path: Path) -> None:
    watcher = SpoolWatcher(Spool(tmp_path / "gone", "porch"))
    for _ in range(2):
        problem = watcher.view().problem
        assert isinstance(problem, SpoolError)
        assert "cannot be listed" in str(problem)
