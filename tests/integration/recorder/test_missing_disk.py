"""The spool's disk is not mounted, or is another one: nothing is recorded to the wrong disk, and what an earlier
version recorded there is joined. Each missing moment has the right cause."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from edge.archiver.intake import Intake
from edge.catalog import Catalog
from edge.configuration.loader import load
from edge.configuration.settings import Settings
from edge.core.errors import SpoolMissing
from edge.core.instant import Instant
from edge.core.systemd import Heartbeat
from edge.core.values import Hole
from edge.recorder.missing_disk import StraySound, wait_for_disk
from edge.recorder.session import ModeReporter
from edge.spool.home import Home
from edge.spool.spool import Spool, spool_of
from query_service.answer.node_answers import NodeAnswers
from query_service.queries.protocol import Request
from query_service.queries.values import ErrorAnswer
from tests.support.kernel_clock import NOON
from tests.support.recording.mount_point import MountPoint
from tests.support.recording.recorder_process import running_recorder
from tests.support.recording.rig import Rig, ScriptedStop, Step
from tests.support.spool.chunks import fill_spool
from tests.support.spool.recorded import streams_of
from tests.support.wait import DEADLINE, wait_until

ALONE = ("recorder.source=synthetic", "mqtt.host=127.0.0.1", "mqtt.port=1", "recorder.record_period=1")


class NodeOnDisk(Rig):
    """A recorder whose spool is on the mount point `mount`. `start` is what the service does."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "data")
        self.mount = MountPoint(folder / "mnt")
        self.use(self.mount.path / "spool")

    def use(self, path: Path) -> None:
        """Sets [recorder] record_path."""
        self.configure(record_path=path)
        self.home = Home(self.settings, self.mount.device)
        self.spool = Spool(path, "porch", (), self.home.check_disk)

    def start(self, *script: Step, waits: Iterable[Callable[[], None]] = ()) -> None:
        strays, stop = StraySound(self.settings, self.home, self.clock), ScriptedStop(self.clock, waits)
        modes = ModeReporter(self.clock, Heartbeat({}), self.facts)
        since = wait_for_disk(self.spool, strays, self.clock, modes, stop, Heartbeat({}), lambda: None)
        self.spool.create()
        self.home.remember()
        self.options = {"strays": strays, "disk_missing_since": since}
        self.run(*script)

    def start_earlier_version(self, *script: Step) -> None:
        """Which records to whatever disk is there."""
        self.options = {}
        checked, self.spool = self.spool, Spool(self.spool.path, "porch")
        self.spool.create()
        self.run(*script)
        self.spool = checked

    def mount_after(self, seconds: float, disk: int = 1) -> Callable[[], None]:
        def act() -> None:
            self.clock.advance(seconds)
            self.mount.mount(disk)

        return act


@pytest.fixture
def node(tmp_path: Path) -> NodeOnDisk:
    node = NodeOnDisk(tmp_path)
    node.mount.mount(1)
    return node


def hole(cause: str, start: float, end: float) -> Hole:
    return Hole(cause, Instant(NOON + round(start * 1e6)), Instant(NOON + round(end * 1e6)))  # type: ignore[arg-type]


def is_all_there(node: Rig) -> bool:
    return np.array_equal(node.sound(), np.concatenate(node.played))


def test_a_disk_that_is_not_mounted_at_the_start_is_waited_for(node: NodeOnDisk) -> None:
    node.start(1.5)
    node.mount.unmount()
    node.clock.advance(10)
    node.start(2, waits=[lambda: node.clock.advance(5), node.mount_after(20)])
    assert node.holes() == [hole("restart", 1.5, 11.5), hole("disk_missing", 11.5, 36.5)]
    assert is_all_there(node)
    assert node.facts.modes == ["recording", "stopped", "disk_full", "recording", "stopped"]
    node.mount.unmount()
    assert list(node.mount.path.iterdir()) == []


def test_after_a_power_cut_the_time_without_the_disk_is_told_from_the_time_without_power(node: NodeOnDisk) -> None:
    node.start(1)
    node.crash(1.2)
    node.mount.unmount()
    node.clock.boot_id = "boot-2"
    node.clock.advance(100)
    node.start(1, waits=[node.mount_after(7)])
    [power, missing] = node.holes()[-2:]
    assert (power.cause, missing.cause) == ("power", "disk_missing")
    assert power.to == missing.from_
    assert missing.to - missing.from_ == 7_000_000


def test_a_disk_that_vanishes_while_recording_leaves_a_hole_called_disk_missing(node: NodeOnDisk) -> None:
    def pull() -> None:
        node.mount.unmount()

    node.start(1)
    node.options["disk_missing_since"] = None
    stop: list[Callable[[], None]] = [lambda: node.clock.advance(5), node.mount_after(3)]
    node.run(1.5, pull, 2, waits=stop)
    [restart_or_none, *others] = [one.cause for one in node.holes()]
    assert "disk_missing" in [restart_or_none, *others]


def test_sound_that_was_recorded_to_the_bare_mount_point_is_joined(node: NodeOnDisk) -> None:
    node.start(1.5)
    node.mount.unmount()
    node.clock.advance(10)
    node.start_earlier_version(2.5)
    node.clock.advance(20)
    node.start(2, waits=[node.mount_after(7)])
    assert node.holes() == [hole("restart", 1.5, 11.5), hole("restart", 14, 34), hole("disk_missing", 34, 41)]
    assert is_all_there(node)
    ordinals = [stream.ordinal for stream in streams_of(node.spool)]
    assert ordinals == sorted(set(ordinals))
    assert node.home.to_join() == []
    node.mount.unmount()
    assert not list(node.mount.path.rglob("*.flac"))


def test_what_a_crash_left_on_the_bare_mount_point_is_joined_too(node: NodeOnDisk) -> None:
    node.start(1)
    node.mount.unmount()
    node.start_earlier_version(0.5)
    checked, node.spool, node.options = node.spool, Spool(node.spool.path, "porch"), {}
    node.crash(1.6)
    node.spool = checked
    node.clock.advance(5)
    node.start(1, waits=[node.mount_after(3)])
    causes = [one.cause for one in node.holes()]
    assert causes[-2:] == ["crash", "disk_missing"]
    assert any(chunk.recovered for chunk in node.manifests())


def test_sound_at_the_old_path_moves_to_the_new_one(node: NodeOnDisk) -> None:
    node.start(2.5)
    node.clock.advance(10)
    node.use(node.mount.path / "larger" / "spool")
    node.start(1)
    assert node.holes() == [hole("restart", 2.5, 12.5)]
    assert is_all_there(node)
    assert not list((node.mount.path / "spool").glob("*.flac"))
    assert node.home.to_join() == []


def test_an_old_path_that_is_not_available_stops_nothing_and_is_joined_later(
    node: NodeOnDisk, caplog: pytest.LogCaptureFixture
) -> None:
    node.start(1)
    old, away = node.spool.path, node.spool.path.with_name("away")
    old.rename(away)
    node.use(node.mount.path / "larger")
    node.start(1)
    assert f"{old}: is not available" in caplog.text
    assert node.home.to_join() == [old]
    away.rename(old)
    node.start(1)
    assert [one.started_at - NOON for one in sorted(node.manifests(), key=lambda one: one.chunk_id)] == [0, 1e6, 2e6]
    assert sorted(node.sound()[:, 0]) == sorted(np.concatenate(node.played)[:, 0])
    assert node.home.to_join() == []


def test_joining_resumes_after_a_crash_between_any_two_chunks(node: NodeOnDisk) -> None:
    node.start(3)
    source, chunks = node.spool, sorted(node.spool.chunks.finished())
    node.use(node.mount.path / "larger")
    node.spool.create()
    first = source.chunks.manifest(chunks[0])
    part = node.spool.layout.part_path(first.chunk_id, first.format)
    part.write_bytes(source.layout.audio_path(first).read_bytes())
    node.spool.chunks.finish(part, first)  # and the crash came before it was removed from the source
    node.spool.streams.write(source.streams.read(first.stream_id))
    node.start(1)
    assert is_all_there(node)


def test_a_damaged_chunk_stays_at_its_old_path_and_stops_nothing(
    node: NodeOnDisk, caplog: pytest.LogCaptureFixture
) -> None:
    node.start(2)
    damaged = node.spool.layout.audio_path(node.manifests()[0])
    damaged.write_bytes(b"damaged")
    node.use(node.mount.path / "larger")
    node.start(1)
    assert f"{damaged}: differs from its manifest" in caplog.text
    assert damaged.read_bytes() == b"damaged"
    assert len(node.manifests()) == 2


# the services and the command


def node_with_missing_disk(folder: Path) -> tuple[Path, MountPoint]:
    """A data folder that remembers a spool with two chunks on another disk, which is not mounted."""
    mount = MountPoint(folder / "mnt")
    mount.mount(1)
    fill_spool(mount.path / "spool", 2)
    Home(settings_of(folder), mount.device).remember()
    mount.unmount()
    return folder / "data", mount


def settings_of(folder: Path) -> Settings:
    return load(folder / "data", overrides=["node.name=porch", f"recorder.record_path={folder}/mnt/spool"], environ={})


def test_the_recorder_process_waits_says_so_and_records_once_the_disk_is_there(tmp_path: Path) -> None:
    data, mount = node_with_missing_disk(tmp_path)
    with running_recorder(data, *ALONE, f"recorder.record_path={mount.path}/spool") as recorder:
        wait_until(lambda: "the disk of the spool is not mounted" in recorder.log, "it says so")
        assert list(mount.path.iterdir()) == []
        mount.mount(1)
        spool = Spool(mount.path / "spool", "porch")
        wait_until(lambda: len(spool.chunks.finished()) > 2, "it records")
        assert recorder.end() == 0
    assert [one.cause for stream in streams_of(spool) for one in stream.before][-1] == "disk_missing"


def test_the_archiver_takes_a_missing_disk_for_no_empty_spool(tmp_path: Path) -> None:
    _, mount = node_with_missing_disk(tmp_path)
    (mount.path / "spool").mkdir()
    with pytest.raises(SpoolMissing):
        Intake(spool_of(settings_of(tmp_path)), Catalog(tmp_path / "catalog.db")).rescan()


def test_a_query_is_refused_instead_of_calling_the_sound_on_a_missing_disk_a_gap(tmp_path: Path) -> None:
    node_with_missing_disk(tmp_path)
    answers = NodeAnswers(settings_of(tmp_path))
    answer = asyncio.run(answers.answer(Request(id="1", type="status")))
    assert isinstance(answer, ErrorAnswer)
    assert "the disk with the node's recordings is not mounted" in answer.error.message


def adopt(data: Path, mount: MountPoint, *words: str) -> subprocess.CompletedProcess[str]:
    sets = ["--set", "node.name=porch", "--set", f"recorder.record_path={mount.path}/spool"]
    return subprocess.run(
        [sys.executable, "-m", "imhearing", "adopt", "--data", str(data), *sets, *words],
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip


def test_adopt_moves_the_sound_on_the_old_disk_to_the_new_one(tmp_path: Path) -> None:
    data, mount = node_with_missing_disk(tmp_path)
    mount.mount(2)
    old = tmp_path / "mnt-1" / "spool"
    done = adopt(data, mount, "--from", str(old))
    assert done.returncode == 0, done.stderr
    assert re.search(r"2 chunks moved from .*/mnt-1/spool", done.stderr)
    assert len(Spool(mount.path / "spool", "porch").chunks.finished()) == 2
    assert not list(old.glob("*.flac"))
    Home(settings_of(tmp_path)).check_disk()


def test_adopt_refuses_a_spool_that_is_being_recorded_to(tmp_path: Path) -> None:
    data, mount = node_with_missing_disk(tmp_path)
    mount.mount(1)
    with Spool(mount.path / "spool", "porch").recorder_lock.hold():
        done = adopt(data, mount)
    assert done.returncode == 1
    assert "another recorder is writing here; stop it first" in done.stderr


def test_adopt_refuses_to_join_a_spool_with_itself(tmp_path: Path) -> None:
    data, mount = node_with_missing_disk(tmp_path)
    mount.mount(1)
    done = adopt(data, mount, "--from", str(mount.path / "spool"))
    assert done.returncode == 2
    assert "expected the folder of another spool" in done.stderr
