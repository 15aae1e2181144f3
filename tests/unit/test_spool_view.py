"""The spool's listing is kept while the folder is as it was, and never longer."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edge.errors import SpoolError
from edge.spool import Spool
from query_service.spool_view import SpoolWatcher
from tests.support.chunks import audio_bytes, fill_spool, make_chunk, put_chunk


def settle(folder: Path) -> None:
    """As if the last change to the folder had been a while ago."""
    past = time.time_ns() - 10_000_000_000
    os.utime(folder, ns=(past, past))


def test_what_comes_and_goes_is_seen(tmp_path: Path) -> None:
    fill_spool(tmp_path, 2)
    spool = Spool(tmp_path, "porch")
    watcher = SpoolWatcher(spool)
    settle(tmp_path)
    first = watcher.look()
    assert len(first.listed) == 2
    assert watcher.look().version == first.version
    data = audio_bytes(9)
    put_chunk(spool, make_chunk(2, data), data)
    assert len(watcher.look().listed) == 3
    settle(tmp_path)
    watcher.look()
    spool.remove(min(watcher.look().listed))
    assert len(watcher.look().listed) == 2


def test_a_folder_that_just_changed_is_not_trusted(tmp_path: Path) -> None:
    fill_spool(tmp_path, 1)
    watcher = SpoolWatcher(Spool(tmp_path, "porch"))
    assert watcher.look().version != watcher.look().version


def test_a_growing_file_is_alive_though_its_folder_does_not_change(tmp_path: Path) -> None:
    fill_spool(tmp_path, 1)
    spool = Spool(tmp_path, "porch")
    part = spool.part_path("20260303T220000Z-abcd-000001", "flac")
    part.write_bytes(b"a")
    settle(tmp_path)
    watcher = SpoolWatcher(spool)
    version = watcher.look().version
    part.write_bytes(b"ab")
    os.utime(part, ns=(5_000_000, 5_000_000))
    view = watcher.look()
    assert view.version == version
    assert [(p.bytes, p.modified_at) for p in view.parts] == [(2, 5_000)]


def test_a_folder_that_vanished_is_an_error(tmp_path: Path) -> None:
    watcher = SpoolWatcher(Spool(tmp_path / "gone", "porch"))
    for _ in range(2):
        with pytest.raises(SpoolError, match="cannot be listed"):
            watcher.look()
