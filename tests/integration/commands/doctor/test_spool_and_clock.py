"""Faults of the spool, its disk and the clock: doctor names each, and its remedy fixes it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.doctor.node_under_test import Finding
from edge.spool.home import Home
from edge.spool.spool import Spool
from tests.support.nodes.breakable_node import BreakableNode
from tests.support.nodes.doctor import assert_fault, assert_ok
from tests.support.recording.mount_point import MountPoint
from tests.support.spool.chunks import fill_spool
from tests.support.store.s3 import RunningStore

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, or another user")


def test_a_file_in_place_of_the_spool_is_reported_and_fixed(node: BreakableNode) -> None:
    (node.data / "spool").write_text("")
    before = node.run_checks("spool")["spool.writable"]
    assert_fault(before, "is not a folder")
    node.apply_remedy(before)
    found = node.run_checks("spool")
    assert {finding.state for finding in found.values()} == {"ok"}


def test_a_spool_whose_disk_is_not_mounted_is_reported_and_fixed(node: BreakableNode) -> None:
    mount = MountPoint(node.data / "usb")
    node.set(f"recorder.record_path={mount.path / 'spool'}")
    mount.mount(1)
    (mount.path / "spool").mkdir()
    Home(node.under_test().settings, mount.device).remember()
    mount.unmount()
    before = node.run_checks("spool")
    assert_fault(before["spool.disk"], "the disk of the spool is not mounted")
    assert list(mount.path.iterdir()) == []
    node.apply_remedy(before["spool.disk"], stubs=("mount",))
    mount.mount(1)  # as the stub cannot
    assert_ok(node.run_checks("spool")["spool.disk"])


def test_a_spool_on_another_disk_than_before_is_reported_and_fixed(node: BreakableNode) -> None:
    with tempfile.TemporaryDirectory(prefix="imhearing-test-", dir="/dev/shm") as disk:
        node.set(f"recorder.record_path={disk}")
        Home(node.under_test().settings).remember()
        (Path(disk) / ".mark").unlink()
        before = node.run_checks("spool")["spool.disk"]
        assert_fault(before, "is not the disk that the spool was on")
        node.apply_remedy(before)
        assert_ok(node.run_checks("spool")["spool.disk"])


def test_settings_of_another_node_are_reported_and_fixed(node: BreakableNode) -> None:
    key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
    node.set(f"recorder.recipients={key}")
    Home(node.under_test().settings).remember()
    node.set("node.name=garden", "recorder.recipients=")
    before = node.run_checks("spool")["spool.owner"]
    assert_fault(before, "belongs to node porch, but the settings say garden")
    node.apply_remedy(before, placeholders={"KEY": key})
    assert_ok(node.run_checks("spool")["spool.owner"])


@contextlib.contextmanager
def spool_on_tmpfs(node: BreakableNode, options: str) -> Iterator[Path]:
    """The node's spool on a disk of its own, mounted with `options`; skips the test where nothing can be mounted."""
    disk = node.data / "spool"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


@AS_ROOT
def test_a_spool_owned_by_another_user_is_reported_and_fixed(node: BreakableNode) -> None:
    """Checked by a root that cannot write to the files of others. It still reads the code, wherever it is cloned."""
    spool = node.data / "spool"
    Spool(spool, "porch").create()
    shutil.chown(spool, "nobody")
    powerless = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-all", sys.executable, "-m", "imhearing"]
    command = [*powerless, "doctor", "--data", str(node.data), "--json"]

    def check_spool() -> Finding:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = {item["check"]: item for item in json.loads(done.stdout)["findings"]}
        return Finding(**found["spool.writable"])

    before = check_spool()
    assert_fault(before, "is not writable")
    assert before.remedy == f"sudo chown -R root {spool}"
    node.apply_remedy(before)
    assert_ok(check_spool())


@AS_ROOT
def test_a_nearly_full_disk_is_reported_with_what_uses_it(node: BreakableNode) -> None:
    with spool_on_tmpfs(node, "size=600m") as disk:
        nearly_full = node.run_checks("spool")["spool.room"]
        assert nearly_full.state == "warning"
        ballast = disk / "film.mp4"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 500_000_000)
        before = node.run_checks("spool")["spool.room"]
        assert_fault(before, "0.1 GB free", "hours of sound")
        assert "477M" in node.apply_remedy(before).stdout or "500M" in node.apply_remedy(before).stdout
        ballast.unlink()  # what it showed
        assert node.run_checks("spool")["spool.room"].state == "warning"
        fill_spool(disk, 1)
        assert node.run_checks("spool")["spool.room"].remedy == f"imhearing archive --data {node.data}"


@AS_ROOT
def test_a_disk_without_inodes_is_reported_with_what_uses_them(node: BreakableNode) -> None:
    with spool_on_tmpfs(node, "size=600m,nr_inodes=40") as disk:
        crowded = disk / "mails"
        crowded.mkdir()
        with contextlib.suppress(OSError):
            for number in range(100):
                (crowded / f"{number}.txt").touch()
        before = node.run_checks("spool")["spool.writable"]
        assert_fault(before, "no inodes left")
        assert "chmod" not in before.remedy
        most = node.apply_remedy(before).stdout.splitlines()[-1].split("\t")
        assert most[1] == str(crowded)
        shutil.rmtree(most[1])  # what it showed
        assert_ok(node.run_checks("spool")["spool.writable"])


@AS_ROOT
@pytest.mark.parametrize("waiting", [0, 1])
def test_a_full_disk_is_reported_with_what_fills_it(node: BreakableNode, waiting: int) -> None:
    with spool_on_tmpfs(node, "size=20m") as disk:
        fill_spool(disk, waiting)
        ballast = disk / "film.mp4"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(100_000)):
                pass
        before = node.run_checks("spool")["spool.writable"]
        assert_fault(before, "the disk is full")
        if waiting:
            assert before.remedy == f"imhearing archive --data {node.data}"
        else:
            assert str(disk) in node.apply_remedy(before).stdout
        ballast.unlink()
        assert_ok(node.run_checks("spool")["spool.writable"])


@AS_ROOT
def test_a_read_only_disk_is_reported_and_fixed(node: BreakableNode) -> None:
    with spool_on_tmpfs(node, "size=600m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        before = node.run_checks("spool")["spool.writable"]
        assert_fault(before, "the disk is read-only")
        assert node.apply_remedy(before).returncode == 0
        assert_ok(node.run_checks("spool")["spool.writable"])


def test_a_slow_sd_card_is_reported(node: BreakableNode, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(1.1)  # the card
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    found = node.run_checks("spool")["spool.speed"]
    assert found.state == "warning"
    slowest = re.search(r"durable after at most (\d+) ms", found.message)
    assert slowest is not None
    assert int(slowest[1]) >= 1_100
    monkeypatch.undo()
    assert_ok(node.run_checks("spool")["spool.speed"])


def test_a_clock_that_is_not_synchronised_is_reported_and_fixed(node: BreakableNode) -> None:
    node.clock.is_synchronised = False
    assert node.run_checks("clock")["clock.synchronised"].state == "warning"
    node.clock.offset = -40 * 365 * 86_400.0
    before = node.run_checks("clock")["clock.synchronised"]
    assert_fault(before, "the clock shows 19")
    node.apply_remedy(before, stubs=("timedatectl",))
    assert node.stub_calls() == ["timedatectl set-ntp true"]
    node.clock.is_synchronised, node.clock.offset = True, 0.0
    assert_ok(node.run_checks("clock")["clock.synchronised"])


def test_an_unknown_time_zone_is_reported(node: BreakableNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Mars/Olympus")
    before = node.run_checks("clock")["clock.zone"]
    assert_fault(before, "TZ=Mars/Olympus: no such time zone here")
    assert before.remedy is not None
    assert before.remedy.startswith("sudo apt-get install tzdata")


def test_a_clock_too_far_off_for_the_store_is_reported(node: BreakableNode, store: RunningStore) -> None:
    node.set_store(store.settings)
    node.clock.offset = -1_200
    before = node.run_checks("clock")["clock.offset"]
    assert_fault(before, " s behind the store's", "15 minutes")
    assert before.remedy == "sudo timedatectl set-ntp true"
    node.clock.offset = 30
    assert node.run_checks("clock")["clock.offset"].state == "warning"
    node.clock.offset = 0
    assert_ok(node.run_checks("clock")["clock.offset"])
