"""The recorder as a process, with a spool that is full, missing, read-only, in use, or contains foreign files."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyrage
import pytest
import soundfile

from edge.core.values import SpoolState
from edge.recorder.durable.sealing import file_system
from edge.spool.spool import Spool
from tests.support.privileges import without_roots_access
from tests.support.recording.microphone import write_noise
from tests.support.recording.recorder_process import RecorderProcess, running_recorder
from tests.support.spool.recorded import holes_of, sound_of, streams_of
from tests.support.wait import DEADLINE, wait_until

pytestmark = pytest.mark.slow
OPTIONS = ("recorder.source=synthetic", "recorder.record_period=1", "mqtt.host=127.0.0.1", "mqtt.port=1")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


def state_of(spool: Spool) -> SpoolState:
    state = spool.state.read()
    assert state is not None
    return state


def fill(path: Path) -> None:
    """Writes until there is not a byte of room."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4_096)):
            pass


def all_readable(spool: Spool) -> None:
    """Every chunk is what its manifest says."""
    for chunk_id in spool.chunks.finished():
        chunk = spool.chunks.manifest(chunk_id)
        assert soundfile.info(spool.layout.audio_path(chunk)).frames == chunk.frames


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0755", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@needs_root
def test_a_full_disk_is_reported_and_recording_resumes_by_itself(small_disk: Path, tmp_path: Path) -> None:
    spool = Spool(small_disk / "spool", "porch")
    with running_recorder(tmp_path / "data", f"recorder.record_path={spool.path}", *OPTIONS) as recorder:
        wait_until(lambda: spool.path.exists() and len(spool.chunks.finished()) >= 2, "two chunks")
        ballast = small_disk / "ballast"
        with ballast.open("wb") as file:
            file.write(bytes(spool.disk.free_bytes() - 100_000))
        wait_until(lambda: state_of(spool).state == "disk_full", "the full disk is noticed")
        assert state_of(spool).open_hole.cause == "disk_full"  # type: ignore[union-attr]
        finished = len(spool.chunks.finished())
        all_readable(spool)
        ballast.unlink()
        wait_until(lambda: len(spool.chunks.finished()) > finished + 1, "it goes on")
        assert recorder.end() == 0
    assert [hole.cause for hole in holes_of(spool)] == ["disk_full"]
    all_readable(spool)
    for stream in streams_of(spool):
        sound_of(spool, stream.stream_id)


@needs_root
def test_a_disk_filled_to_the_last_byte_by_others_costs_no_chunk(small_disk: Path, tmp_path: Path) -> None:
    spool = Spool(small_disk / "spool", "porch")
    with running_recorder(tmp_path / "data", f"recorder.record_path={spool.path}", *OPTIONS) as recorder:
        wait_until(lambda: spool.path.exists() and len(spool.chunks.finished()) >= 2, "two chunks")
        ballast = small_disk / "ballast"
        fill(ballast)
        wait_until(lambda: "disk_full" in recorder.log, "the full disk is noticed")
        ballast.unlink()
        finished = len(spool.chunks.finished())
        wait_until(lambda: len(spool.chunks.finished()) > finished + 2, "it goes on")
        assert recorder.end() == 0
    assert {hole.cause for hole in holes_of(spool)} == {"disk_full"}
    all_readable(spool)


@needs_root
@pytest.mark.skipif(file_system(Path("/dev/shm")) != "tmpfs", reason="there is no tmpfs at /dev/shm")
def test_a_chunk_that_grows_on_tmpfs_does_not_use_the_disk_reserve(small_disk: Path, tmp_path: Path) -> None:
    spool = Spool(small_disk / "spool", "porch")
    recipient = pyrage.x25519.Identity.generate().to_public()
    with tempfile.TemporaryDirectory(prefix="imhearing-test-", dir="/dev/shm") as memory:
        encrypted = (f"recorder.recipients={recipient}", f"recorder.part_path={memory}", "recorder.record_period=600")
        options = (f"recorder.record_path={spool.path}", *OPTIONS, *encrypted)
        with running_recorder(tmp_path / "data", *options) as recorder:
            wait_until(lambda: spool.path.exists() and spool.chunks.parts(), "it records")
            with (small_disk / "ballast").open("wb") as file:
                file.write(bytes(spool.disk.free_bytes() - spool.disk.total_bytes() // 20 - 200_000))
            wait_until(lambda: state_of(spool).state == "disk_full", "the chunk would touch the reserve")
            assert spool.disk.free_bytes() > spool.disk.total_bytes() // 40
            assert recorder.end() == 0
        [chunk_id] = spool.chunks.finished()
        assert spool.chunks.manifest(chunk_id).end_reason == "disk_full"
        assert not spool.chunks.parts()
        assert "the spool failed" not in recorder.log


@needs_root
def test_the_recorder_survives_a_disk_that_turns_read_only(small_disk: Path, tmp_path: Path) -> None:
    spool = Spool(small_disk / "spool", "porch")
    with running_recorder(tmp_path / "data", f"recorder.record_path={spool.path}", *OPTIONS) as recorder:
        wait_until(lambda: spool.path.exists() and len(spool.chunks.finished()) >= 1, "a chunk")
        mark = (spool.path / ".mark").read_bytes()
        # a file that is open for writing keeps a disk writable; pulling it away is what really happens
        subprocess.run(["umount", "-l", str(small_disk)], check=True)
        wait_until(lambda: "the spool failed" in recorder.log, "the loss is noticed")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,ro", "tmpfs", str(small_disk)], check=True)
        assert recorder.process.poll() is None
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        spool.path.mkdir()
        (spool.path / ".mark").write_bytes(mark)  # a tmpfs comes back empty; another disk would be refused
        wait_until(lambda: len(spool.chunks.finished()) >= 1, "it goes on")
        assert recorder.end() == 0


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize(
    "fault", ["fsync:error=EIO:when=1..2", "write:error=EIO:when=1..2", "fsync:delay_exit=3000000"]
)
def test_disk_errors_damage_no_finished_chunk(tmp_path: Path, fault: str) -> None:
    with running_recorder(tmp_path / "data", *OPTIONS) as recorder:
        spool = recorder.spool
        wait_until(lambda: spool.path.exists() and len(spool.chunks.finished()) >= 2, "two chunks")
        tracer = subprocess.Popen(
            [
                "strace",
                "-f",
                "-qq",
                "-p",
                str(recorder.process.pid),
                "-o",
                os.devnull,
                "-e",
                f"inject={fault}",
            ]
        )
        wait_until(lambda: "TracerPid:\t0\n" not in Path(f"/proc/{recorder.process.pid}/status").read_text(), "strace")
        if "error" in fault:
            wait_until(lambda: "the spool failed" in recorder.log, "the error is noticed")
        else:
            wait_until(lambda: len(spool.chunks.parts()) >= 3, "chunks wait for the slow disk")
        tracer.terminate()
        tracer.wait(DEADLINE)
        finished = len(spool.chunks.finished())
        wait_until(lambda: len(spool.chunks.finished()) > finished + 2, "it goes on")
        assert recorder.end() == 0
    assert [hole.cause for hole in holes_of(spool)] == (["unknown"] if "error" in fault else [])
    all_readable(spool)
    for stream in streams_of(spool):
        sound_of(spool, stream.stream_id)


def test_recording_resumes_when_a_missing_spool_is_back(tmp_path: Path) -> None:
    with running_recorder(tmp_path / "data", *OPTIONS) as recorder:
        spool, aside = recorder.spool, tmp_path / "aside"
        wait_until(lambda: spool.path.exists() and len(spool.chunks.finished()) >= 1, "a chunk")
        spool.path.rename(aside)
        # who only looked at the spool may notice first: sound is lost once a chunk could not be finished or begun
        wait_until(lambda: "the spool failed" in recorder.log, "the loss is noticed")
        aside.rename(spool.path)
        finished = len(spool.chunks.finished())
        wait_until(lambda: len(spool.chunks.finished()) > finished + 1, "it goes on")
        assert recorder.end() == 0
    assert [hole.cause for hole in holes_of(spool)] == ["unknown"]
    all_readable(spool)


def test_a_second_recorder_process_is_refused_without_a_traceback(tmp_path: Path) -> None:
    with running_recorder(tmp_path / "data", *OPTIONS) as recorder:
        recorder.wait_until_recording()
        second = RecorderProcess(tmp_path / "second", f"recorder.record_path={recorder.spool.path}", *OPTIONS)
        assert second.process.wait(DEADLINE) == 1
        assert "another recorder is writing here; stop it first" in second.log
        assert "Traceback" not in second.log
        assert recorder.process.poll() is None


def test_an_unknown_device_is_reported_and_recorded_as_a_gap(tmp_path: Path) -> None:
    options = ("recorder.source=microphone", "recorder.device=no such thing", "mqtt.host=127.0.0.1", "mqtt.port=1")
    with running_recorder(tmp_path / "data", *options) as recorder:
        wait_until(lambda: "no_device" in recorder.log, "it says so")
        assert "no such thing" in recorder.log or "there is no input device" in recorder.log
        wait_until(lambda: recorder.spool.state.read() is not None, "the hole is open")
        wait_until(lambda: state_of(recorder.spool).state == "no_device", "the hole is noted")
        assert recorder.process.poll() is None
        assert recorder.end() == 0
        assert "Traceback" not in recorder.log


def test_a_sound_file_is_recorded_bit_exactly_and_foreign_files_are_left_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "data" / "spool", "porch")
    spool.create()
    strangers = {
        "20260303T220000Z-zzzz-000001.flac.part": b"half", "20260303T220000Z-zzzz-000002.flac": b"no manifest",
        "20260303T220000Z-zzzz-000003.json": b"{", "..flac": b"x", "holiday.wav": b"RIFF", "state.json": b"{damaged",
    }  # fmt: skip
    for name, data in strangers.items():
        (spool.path / name).write_bytes(data)
    (spool.path / "20260303T220000Z-zzzz-000004.flac.part").symlink_to("/etc/passwd")
    played = write_noise(tmp_path / "noise.wav", 4.5, 6)
    options = (f"recorder.source={tmp_path / 'noise.wav'}", "recorder.pace=max", *OPTIONS[1:])
    with running_recorder(tmp_path / "data", *options) as recorder:
        wait_until(lambda: "played to its end" in recorder.log, "the file is played")
        assert recorder.end(signal.SIGINT) == 0
    [stream] = streams_of(spool)
    assert np.array_equal(sound_of(spool, stream.stream_id), played)
    for name, data in strangers.items():
        if name != "state.json":
            assert (spool.path / name).read_bytes() == data
            assert name in recorder.log or not name.startswith("2026") or name.endswith(".json")
    assert (spool.path / "20260303T220000Z-zzzz-000004.flac.part").is_symlink()
    assert len(list(spool.path.glob("state.json.damaged-*"))) == 1


def test_a_missing_sound_file_ends_the_recorder(tmp_path: Path) -> None:
    options = (f"recorder.source={tmp_path / 'nothing.wav'}", *OPTIONS[1:])
    with running_recorder(tmp_path, *options) as recorder:
        assert recorder.process.wait(DEADLINE) == 1
        assert recorder.log.splitlines()[-1].startswith(f"{tmp_path / 'nothing.wav'}: cannot be played")
    assert state_of(recorder.spool).state == "no_device"


def test_a_spool_that_becomes_unreadable_is_reported_and_recorded_to_again_once_it_is_readable(
    tmp_path: Path,
) -> None:
    with running_recorder(tmp_path / "data", *OPTIONS, around=without_roots_access()) as recorder:
        spool = recorder.spool
        wait_until(lambda: spool.path.exists() and len(spool.chunks.finished()) >= 1, "a chunk")
        mode = spool.path.stat().st_mode
        spool.path.chmod(0)
        wait_until(lambda: "the spool failed" in recorder.log or "Traceback" in recorder.log, "the loss is noticed")
        spool.path.chmod(mode)
        finished = len(spool.chunks.finished())
        wait_until(lambda: len(spool.chunks.finished()) > finished + 1, "it goes on")
        assert "Traceback" not in recorder.log
        assert recorder.end() == 0
        assert [hole.cause for hole in holes_of(spool)] == ["unknown"]
        all_readable(spool)
