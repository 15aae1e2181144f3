"""A spool that cannot be used, for its permissions or its disk: every operation raises SpoolError and nothing else."""

from __future__ import annotations

import errno
import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from edge.core.errors import SpoolError
from edge.core.values import PauseOrder, SpoolState
from edge.recorder import room
from edge.spool import limits
from edge.spool.spool import Spool
from edge.spool.thresholds import Limits
from tests.support.kernel_clock import ManualClock
from tests.support.privileges import folder_of_an_ordinary_user, without_root_privileges
from tests.support.spool.chunks import START, STREAM, fill_spool, make_chunk, make_stream

STATE = SpoolState(state="recording", since=START, boot_id="b", ordinal=1, stream_id=STREAM)
Calls = dict[str, Callable[[], object]]


def calls(spool: Spool) -> Calls:
    """Every operation on files, by its place."""
    chunk, part = make_chunk(0), spool.layout.part_path(f"{STREAM}-000000", "flac")
    return {
        "layout.folders": spool.layout.folders,
        "layout.set_parts_folder": lambda: spool.layout.set_parts_folder(Path("/nowhere")),
        "chunks.finished": spool.chunks.finished,
        "chunks.parts": spool.chunks.parts,
        "chunks.parts_in": lambda: spool.chunks.parts_in(spool.path),
        "chunks.damaged_parts": spool.chunks.damaged_parts,
        "chunks.manifest_ids": spool.chunks.manifest_ids,
        "chunks.leftovers": spool.chunks.leftovers,
        "chunks.manifest": lambda: spool.chunks.manifest(chunk.chunk_id),
        "chunks.has_audio": lambda: spool.chunks.has_audio(chunk),
        "chunks.finish": lambda: spool.chunks.finish(part, chunk),
        "chunks.finish_described": lambda: spool.chunks.finish_described(part, chunk),
        "chunks.remove": lambda: spool.chunks.remove(chunk.chunk_id),
        "streams.ids": spool.streams.ids,
        "streams.read": lambda: spool.streams.read(STREAM),
        "streams.write": lambda: spool.streams.write(make_stream()),
        "streams.remove": lambda: spool.streams.remove(STREAM),
        "state.read": spool.state.read,
        "state.write": lambda: spool.state.write(STATE),
        "pause.read": spool.pause.read,
        "pause.write": lambda: spool.pause.write(PauseOrder()),
        "pause.order": lambda: spool.pause.order(None, ManualClock()),
        "pause.remove": spool.pause.remove,
        "disk.pending_tmpfs_bytes": spool.disk.pending_tmpfs_bytes,
        "recorder_lock.hold": lambda: spool.recorder_lock.hold().__enter__(),
        "recorder_lock.is_held": spool.recorder_lock.is_held,
        "limits.save": lambda: limits.save(spool.path, Limits()),
        "limits.save_reported": lambda: limits.save_reported(spool.path, {}),
        "create": spool.create,
    }


# what says what is known without the folder, or reads nothing in it
QUIET = {
    "layout": {
        "unavailable_error", "audio_path", "possible_audio_paths", "part_path", "sealing_path", "manifest_path",
        "retained_path", "stream_path",
    },
    "chunks": {"remove_abandoned", "mark_retained"},
    "state": {"recorder_seen_at"},
    "disk": {"free_bytes", "total_bytes", "reserve_bytes", "ensure_room", "disk_full_error"},
}  # fmt: skip


@pytest.fixture
def unreadable() -> Iterator[Spool]:
    with folder_of_an_ordinary_user() as folder, without_root_privileges():
        fill_spool(folder / "spool", 1)
        spool = Spool(folder / "spool", "porch")
        mode = spool.path.stat().st_mode
        spool.path.chmod(0)
        yield spool
        spool.path.chmod(mode)


def test_every_operation_on_an_unreadable_folder_raises_the_spools_own_error(unreadable: Spool) -> None:
    for name, call in calls(unreadable).items():
        with pytest.raises(SpoolError, match="Permission denied") as caught:
            call()
        assert caught.value.errno == errno.EACCES, name


def test_the_operations_above_are_all_there_are(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "porch")
    named = set(calls(spool)) | {f"{part}.{name}" for part, names in QUIET.items() for name in names}
    parts = ("layout", "chunks", "streams", "state", "pause", "disk", "recorder_lock")
    found = {
        f"{part}.{name}"
        for part in parts
        for name, _ in inspect.getmembers(getattr(spool, part), inspect.ismethod)
        if not name.startswith("_")
    }
    assert found == {name for name in named if name.split(".")[0] in parts}


def test_the_recorder_can_judge_why_the_folder_failed(unreadable: Spool) -> None:
    """It does so while it handles the failure."""
    assert not room.is_out_of_space(SpoolError("failed", errno.EACCES), unreadable)


def test_a_full_disk_is_recognised_in_the_spools_own_error(tmp_path: Path) -> None:
    assert room.is_out_of_space(SpoolError("failed", errno.ENOSPC), Spool(tmp_path, "porch"))


@pytest.mark.parametrize("name", ["chunks.parts", "chunks.finish", "state.write", "disk.pending_tmpfs_bytes"])
def test_a_failing_disk_raises_the_spools_own_error(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, "porch")

    def fail(*_arguments: object, **_options: object) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for call in ("open", "scandir", "lstat", "stat"):
        monkeypatch.setattr(os, call, fail)
    with pytest.raises(SpoolError, match="Input/output error"):
        calls(spool)[name]()


def test_the_same_failure_has_the_same_text_each_time(unreadable: Spool) -> None:
    """Else it would be logged and published again with each attempt."""
    texts = set()
    for _ in range(2):
        with pytest.raises(SpoolError) as caught:
            unreadable.state.write(STATE)
        texts.add(str(caught.value))
    assert texts == {f"{unreadable.layout.state_path}: cannot be used (Permission denied); fix its permissions"}
