"""Nodes broken in one way each: doctor names the fault, and the command that it suggests fixes it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commands.doctor import doctor, machine
from commands.doctor.node_under_test import Finding, NodeUnderTest
from edge.catalog import Catalog
from edge.configuration.settings import S3, Secret
from edge.core.values import SpoolState
from edge.embedded import ports
from edge.embedded.child import Child, ProcessSpec
from edge.embedded.servers import find_mosquitto
from edge.messaging.access import ETC
from edge.spool.spool import Spool
from tests.support.breakable_node import BreakableNode
from tests.support.broker import running_broker
from tests.support.chunks import BOOT, START, STREAM, fill_spool
from tests.support.fault_proxy import Request, running_proxy
from tests.support.microphone import VirtualMicrophone, virtual_microphone, write_noise
from tests.support.realtime import server_in_thread
from tests.support.s3 import RunningStore, running_store
from tests.support.wait import DEADLINE, wait_until

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, or another user")


@pytest.fixture
def node() -> Iterator[BreakableNode]:
    """In a folder that every user can access: pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="imhearing-node-") as name:
        Path(name).chmod(0o755)
        yield BreakableNode(Path(name))


@pytest.fixture(scope="module")
def room() -> Iterator[VirtualMicrophone]:
    with virtual_microphone() as microphone:
        yield microphone


def assert_fault(finding: Finding, *fragments: str) -> None:
    assert finding.state == "fault", finding
    assert finding.remedy
    for fragment in fragments:
        assert fragment in finding.message


def assert_ok(finding: Finding) -> None:
    assert finding.state == "ok", finding


# settings and files


def run_doctor(node: BreakableNode, *arguments: str, **environ: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = subprocess.run(
        [sys.executable, "-m", "imhearing", "doctor", "--data", str(node.data), "--json", *arguments],
        capture_output=True, text=True, timeout=DEADLINE, check=False, env={**os.environ, **environ},
    )  # fmt: skip
    assert not done.stderr
    found = json.loads(done.stdout)
    return done.returncode, {finding["check"]: finding for finding in found["findings"]}


def test_01_a_configuration_with_secrets_readable_by_others(node: BreakableNode) -> None:
    node.set("mqtt.password=hush-hush")
    node.config.chmod(0o644)
    code, found = run_doctor(node)
    assert (code, found["settings"]["state"]) == (1, "fault")
    assert "other users can read it" in found["settings"]["message"]
    assert node.apply_remedy(Finding(**found["settings"])).returncode == 0  # type: ignore[arg-type]
    code, found = run_doctor(node)
    assert "settings" not in found
    assert "hush" not in json.dumps(found)


def test_02_an_unknown_setting(node: BreakableNode) -> None:
    node.set("recorder.devise=USB")
    code, found = run_doctor(node, EDITOR="nano")
    assert code == 1
    assert "did you mean device?" in found["settings"]["message"]
    fixed = node.apply_remedy(Finding(**found["settings"]), placeholders={"nano": "sed -i s/devise/device/"})  # type: ignore[arg-type]
    assert fixed.returncode == 0
    assert "settings" not in run_doctor(node)[1]


def test_03_a_certificate_key_readable_by_others(node: BreakableNode) -> None:
    key = node.data / "client.key"
    key.write_text("secret")
    key.chmod(0o644)
    node.set("mqtt.key_file=client.key")
    before = machine.check_secrets(node.under_test())
    assert_fault(before, "client.key", "other users can read it")
    node.apply_remedy(before)
    assert_ok(machine.check_secrets(node.under_test()))


def test_04_a_spool_readable_by_every_user(node: BreakableNode) -> None:
    Spool(node.data / "spool", "porch").create()
    (node.data / "spool").chmod(0o755)
    before = node.run_checks("files")["files.data"]
    assert_fault(before, "every user")
    node.apply_remedy(before)
    assert_ok(node.run_checks("files")["files.data"])


def test_05_a_damaged_calibration(node: BreakableNode) -> None:
    (node.data / "calibration.json").write_text('{"calibrations": [{}]}')
    before = node.run_checks("files")["files.calibration"]
    assert_fault(before, "is damaged")
    node.apply_remedy(before, stubs=("imhearing",))
    assert node.called() == [f"imhearing calibrate --data {node.data}"]
    assert_ok(node.run_checks("files")["files.calibration"])


def test_06_missing_libraries_or_untested_versions(node: BreakableNode, tmp_path: Path) -> None:
    pinned = tmp_path / "requirements.txt"
    pinned.write_text("nobody-has-this==1.0  # MIT\nnumpy==0.0.1\n")
    assert_fault(missing := machine.check_libraries(pinned), "nobody-has-this")
    assert missing.remedy == "scripts/setup"
    pinned.write_text("numpy==0.0.1\n")
    other = machine.check_libraries(pinned)
    assert (other.state, "instead of 0.0.1" in other.message) == ("warning", True)
    assert_ok(machine.check_libraries(machine.ROOT / "requirements.txt"))


# spool


def test_07_a_file_in_place_of_the_spool(node: BreakableNode) -> None:
    (node.data / "spool").write_text("")
    before = node.run_checks("spool")["spool.writable"]
    assert_fault(before, "is not a folder")
    node.apply_remedy(before)
    found = node.run_checks("spool")
    assert {finding.state for finding in found.values()} == {"ok"}


@AS_ROOT
def test_08_a_spool_owned_by_another_user(node: BreakableNode) -> None:
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
def test_09_a_nearly_full_disk(node: BreakableNode) -> None:
    disk = node.data / "spool"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", disk], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
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
    finally:
        subprocess.run(["umount", disk], check=True)


@AS_ROOT
def test_09_a_disk_without_inodes(node: BreakableNode) -> None:
    disk = node.data / "spool"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m,nr_inodes=40", "tmpfs", disk], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
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
    finally:
        subprocess.run(["umount", disk], check=True)


@AS_ROOT
@pytest.mark.parametrize("waiting", [0, 1])
def test_09_a_full_disk_leads_to_what_fills_it(node: BreakableNode, waiting: int) -> None:
    disk = node.data / "spool"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", disk], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
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
    finally:
        subprocess.run(["umount", disk], check=True)


@AS_ROOT
def test_09_a_disk_that_became_read_only(node: BreakableNode) -> None:
    disk = node.data / "spool"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", disk], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        before = node.run_checks("spool")["spool.writable"]
        assert_fault(before, "the disk is read-only")
        assert node.apply_remedy(before).returncode == 0
        assert_ok(node.run_checks("spool")["spool.writable"])
    finally:
        subprocess.run(["umount", disk], check=True)


def test_10_a_slow_sd_card(node: BreakableNode, monkeypatch: pytest.MonkeyPatch) -> None:
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


# clock


def test_11_a_clock_that_is_not_synchronised(node: BreakableNode) -> None:
    node.clock.is_synchronised = False
    assert node.run_checks("clock")["clock.synchronised"].state == "warning"
    node.clock.offset = -40 * 365 * 86_400.0
    before = node.run_checks("clock")["clock.synchronised"]
    assert_fault(before, "the clock shows 19")
    node.apply_remedy(before, stubs=("timedatectl",))
    assert node.called() == ["timedatectl set-ntp true"]
    node.clock.is_synchronised, node.clock.offset = True, 0.0
    assert_ok(node.run_checks("clock")["clock.synchronised"])


def test_12_a_clock_too_far_off_for_the_store(node: BreakableNode, store: RunningStore) -> None:
    node.set_store(store.settings)
    node.clock.offset = -1_200
    before = node.run_checks("clock")["clock.offset"]
    assert_fault(before, " s behind the store's", "15 minutes")
    assert before.remedy == "sudo timedatectl set-ntp true"
    node.clock.offset = 30
    assert node.run_checks("clock")["clock.offset"].state == "warning"
    node.clock.offset = 0
    assert_ok(node.run_checks("clock")["clock.offset"])


# device


@pytest.fixture
def sound(
    room: VirtualMicrophone, node: BreakableNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[BreakableNode]:
    """A node with a microphone in a room where noise is played."""
    for key, value in room.environment.items():
        monkeypatch.setenv(key, value)
    node.set("recorder.source=microphone")
    write_noise(tmp_path / "noise.wav", 40, 1)
    player = room.play(tmp_path / "noise.wav")
    try:
        wait_until(lambda: room.run("pactl", "list", "short", "sink-inputs").strip(), "it plays")
        yield node
    finally:
        player.terminate()
        player.wait(DEADLINE)
        room.run("pactl", "set-source-mute", "room.monitor", "0")
        room.run("pactl", "set-source-volume", "room.monitor", "100%")


def test_13_a_misspelt_microphone(sound: BreakableNode) -> None:
    sound.set("recorder.device=Blue Yeti")
    before = sound.run_checks("device")["device.records"]
    assert_fault(before, "'Blue Yeti'")
    assert sound.apply_remedy(before).returncode == 0
    found = sound.run_checks("device")
    assert {finding.state for finding in found.values()} == {"ok"}, found
    assert "48000 Hz, mono, 16 bits" in found["device.records"].message


def test_14_a_muted_microphone(sound: BreakableNode, room: VirtualMicrophone) -> None:
    room.run("pactl", "set-source-mute", "room.monitor", "1")
    before = sound.run_checks("device")["device.level"]
    assert_fault(before, "digital silence")
    assert sound.apply_remedy(before).returncode == 0
    assert_ok(sound.run_checks("device")["device.level"])


def test_15_clipping_because_of_a_high_gain(sound: BreakableNode, room: VirtualMicrophone) -> None:
    room.run("pactl", "set-source-volume", "room.monitor", "400%")
    before = sound.run_checks("device")["device.clipping"]
    assert_fault(before, "at full scale", "gain is too high")
    assert sound.apply_remedy(before).returncode == 0
    assert_ok(sound.run_checks("device")["device.clipping"])


def test_16_a_missing_sound_file(node: BreakableNode) -> None:
    node.set(f"recorder.source={node.data}/garden.wav")
    before = node.run_checks("device")["device.records"]
    assert_fault(before, "garden.wav")
    assert node.apply_remedy(before).returncode == 0
    assert node.run_checks("device")["device.records"].state == "ok"


def test_a_microphone_in_use_by_the_recorder_is_no_fault(node: BreakableNode) -> None:
    node.set(f"recorder.source={node.data}/nothing.wav")  # cannot be opened a second time
    fill_spool(node.data / "spool", 1)
    spool = Spool(node.data / "spool", "porch")
    spool.state.write(SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM))
    for path in spool.path.iterdir():
        os.utime(path, (0, 0))
    assert node.run_checks("device")["device.records"].state == "fault"  # a recorder that died
    spool.layout.part_path(f"{STREAM}-000001", "flac").write_bytes(b"")
    found = node.run_checks("device")
    assert f"in use by the recorder: stream {STREAM}" in found["device.records"].message
    assert_ok(found["device.level"])


# broker


def test_17_no_broker_running(node: BreakableNode) -> None:
    port = ports.choose(None)
    node.set("mqtt.host=127.0.0.1", f"mqtt.port={port}")
    before = node.run_checks("broker")["broker.connect"]
    assert_fault(before, "no broker at 127.0.0.1")
    node.apply_remedy(before, stubs=("systemctl",))
    assert node.called() == ["systemctl enable --now mosquitto"]
    with running_broker(port):
        found = node.run_checks("broker")
    assert {finding.state for finding in found.values()} == {"ok"}, found


def test_18_a_broker_name_that_does_not_resolve(node: BreakableNode) -> None:
    with running_broker() as (host, port):
        node.set("mqtt.host=no-such-host.invalid", f"mqtt.port={port}")
        before = node.run_checks("broker")["broker.connect"]
        assert_fault(before, "no-such-host.invalid")
        node.apply_remedy(before, placeholders={"HOST": host})
        assert_ok(node.run_checks("broker")["broker.connect"])


def test_19_tls_with_a_broker_that_does_not_speak_it(node: BreakableNode) -> None:
    with running_broker() as (host, port):
        node.set(f"mqtt.host={host}", f"mqtt.port={port}", "mqtt.tls=on")
        before = Finding(**run_doctor(node)[1]["broker.login"])  # type: ignore[arg-type]
        assert_fault(before, "does not speak TLS")
        node.apply_remedy(before)
        assert_ok(node.run_checks("broker")["broker.rights"])


@contextlib.contextmanager
def guarded_broker(folder: Path, *more: str) -> Iterator[tuple[int, Child]]:
    """Mosquitto with what `broker-setup` wrote into `folder`: passwords and rights of each role."""
    port = ports.choose(None)
    lines = [
        f"listener {port} 127.0.0.1", "allow_anonymous false", f"password_file {folder}/passwords",
        f"acl_file {folder}/acl", "user root" if os.geteuid() == 0 else "", "log_dest stderr",
        *more,
    ]  # fmt: skip
    conf = folder / "test.conf"
    conf.write_text("\n".join(lines) + "\n")
    child = Child(ProcessSpec("broker", (find_mosquitto(), "-c", str(conf)), folder / "broker.log", port=port))
    try:
        wait_until(lambda: ports.answers(port) or child.exit_code() is not None, "the broker answers")
        yield port, child
    finally:
        child.terminate()
        child.end(5)


@pytest.fixture
def guarded(node: BreakableNode) -> Iterator[tuple[BreakableNode, Path, Child]]:
    folder = node.data / "broker"
    made = subprocess.run(
        [sys.executable, "-m", "imhearing", "broker-setup", "--into", folder, "--data", node.data], check=False,
        capture_output=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    settings = dict(line.split(" = ") for line in (folder / "mqtt.ini").read_text().splitlines() if " = " in line)
    with guarded_broker(folder) as (port, child):
        changes = {key: value for key, value in settings.items() if "password" in key or key == "username"}
        node.set("mqtt.host=127.0.0.1", f"mqtt.port={port}", *(f"mqtt.{key}={value}" for key, value in changes.items()))
        yield node, folder, child


def test_20_a_role_with_a_wrong_password(guarded: tuple[BreakableNode, Path, Child]) -> None:
    node, _, _ = guarded
    assert {finding.state for finding in node.run_checks("broker").values()} == {"ok"}
    right = node.under_test().settings.mqtt.archiver_password.reveal()
    node.set("mqtt.archiver_password=wrong")
    before = Finding(**run_doctor(node)[1]["broker.login"])  # type: ignore[arg-type]
    assert_fault(before, "refused the login")
    assert "mqtt.archiver_password=-" in before.remedy
    assert right not in before.message + before.remedy
    assert node.apply_remedy(before, typed=f"{right}\n").returncode == 0
    assert {finding.state for finding in node.run_checks("broker").values()} == {"ok"}


def test_21_an_acl_that_lacks_a_role(guarded: tuple[BreakableNode, Path, Child]) -> None:
    node, folder, child = guarded
    acl = folder / "acl"
    acl.write_text(acl.read_text().replace("topic write imhearing/porch/archiver/#\n", ""))
    os.kill(mosquitto_of(child), 1)
    wait_until(lambda: node.run_checks("broker")["broker.rights"].state == "fault" or None, "the new rights hold")
    before = node.run_checks("broker")["broker.rights"]
    assert_fault(before, "porch-archiver", "imhearing/porch/archiver/doctor", "ACL")
    done = node.apply_remedy(before, stubs=("systemctl",), placeholders={ETC: str(folder)})
    assert done.returncode == 0, done.stderr
    assert node.called() == ["systemctl reload mosquitto"]
    os.kill(mosquitto_of(child), 1)
    wait_until(lambda: node.run_checks("broker")["broker.rights"].state == "ok" or None, "the new rights hold")


def mosquitto_of(child: Child) -> int:
    """Mosquitto itself, or its parent if it forked."""
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    return int(children[0]) if children else child.pid


def test_22_an_unknown_ca_and_no_tls_at_all(guarded: tuple[BreakableNode, Path, Child]) -> None:
    node, folder, _ = guarded
    with guarded_broker(folder, f"certfile {folder}/server.crt", f"keyfile {folder}/server.key") as (port, _):
        node.set(f"mqtt.port={port}", "mqtt.tls=off")
        before = node.run_checks("broker")["broker.login"]
        assert_fault(before, "is this its TLS port?")
        assert node.apply_remedy(before).returncode == 0
        before = node.run_checks("broker")["broker.login"]
        assert_fault(before, "CERTIFICATE_VERIFY_FAILED")
        assert node.apply_remedy(before, placeholders={"PATH/TO": str(folder)}).returncode == 0
        assert {finding.state for finding in node.run_checks("broker").values()} == {"ok"}


# store


def test_23_a_store_that_is_not_running(node: BreakableNode) -> None:
    port = ports.choose(None)
    node.set_store(S3("garden", endpoint_url=f"http://127.0.0.1:{port}"))
    node.set("s3.access_key_id=a", "s3.secret_access_key=b")
    assert_fault(before := node.run_checks("store")["store.write"], f"127.0.0.1:{port}")
    offset = node.run_checks("clock")["clock.offset"]
    assert (offset.state, offset.remedy) == ("warning", before.remedy)
    by_up = machine.check_offset(node.under_test()._replace(by_up=True))
    assert by_up.remedy == f"imhearing up --data {node.data}"
    with running_store(port=port) as running:
        node.set_store(running.settings)
        found = node.run_checks("store")
        assert {finding.state for finding in found.values()} == {"ok"}, found
        assert [path for path in running.folder.rglob("*") if path.is_file()] == []


def test_24_a_wrong_secret_key(node: BreakableNode, store: RunningStore) -> None:
    node.set_store(store.settings)
    node.set("s3.secret_access_key=wrong")
    before = node.run_checks("store")["store.write"]
    assert_fault(before, "secret")
    key, secret = store.settings.access_key_id.reveal(), store.settings.secret_access_key.reveal()
    assert node.apply_remedy(before, typed=f"{key}\n{secret}\n").returncode == 0
    assert_ok(node.run_checks("store")["store.write"])


def test_25_a_missing_bucket(node: BreakableNode, store: RunningStore) -> None:
    node.set_store(store.settings)
    node.set("s3.s3_bucket_name=garden")
    before = node.run_checks("store")["store.write"]
    assert_fault(before, "there is no bucket 'garden'")
    assert node.apply_remedy(before).returncode == 0
    assert_ok(node.run_checks("store")["store.write"])


def test_26_presigned_links_that_do_not_work(node: BreakableNode, store: RunningStore) -> None:
    node.set_store(store.settings)
    node.set(f"s3.public_endpoint_url=http://127.0.0.1:{ports.choose(None)}")
    before = node.run_checks("store")["store.link"]
    assert_fault(before, "does not work")
    assert node.apply_remedy(before).returncode == 0
    assert_ok(node.run_checks("store")["store.link"])


@pytest.mark.parametrize(
    ("request_name", "check", "state"), [("GET", "store.read", "fault"), ("DELETE", "store.delete", "warning")]
)
def test_27_a_key_without_all_permissions(
    node: BreakableNode, store: RunningStore, request_name: str, check: str, state: str
) -> None:
    with running_proxy(store.settings) as (proxy, settings):
        node.set_store(settings)
        proxy.choose = lambda asked: "denied" if asked.name == request_name else None
        found = node.run_checks("store")
        assert (found["store.write"].state, found[check].state) == ("ok", state)
        assert "docs/storage.md" in found[check].remedy
        proxy.heal()
        assert_ok(node.run_checks("store")[check])


def test_28_a_store_that_rejects_our_clock(node: BreakableNode, store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, settings):
        node.set_store(settings)

        def refuse(_asked: Request) -> str:
            return "skewed"

        proxy.choose = refuse  # type: ignore[assignment]
        before = node.run_checks("store")["store.write"]
        assert_fault(before, "RequestTimeTooSkewed")
        assert before.remedy == "sudo timedatectl set-ntp true"


# Ably


def test_29_a_malformed_ably_key(node: BreakableNode) -> None:
    with server_in_thread() as server:
        node.set("ably.api_key=no-key-at-all", f"ably.endpoint={server.endpoint}")
        before = Finding(**run_doctor(node, EDITOR="nano")[1]["settings"])  # type: ignore[arg-type]
        assert_fault(before, "name:secret")
        assert "no-key-at-all" not in before.message
        right = f"sed -i s/no-key-at-all/{server.api_key.reveal()}/"
        assert node.apply_remedy(before, placeholders={"nano": right}).returncode == 0
        found = node.run_checks("realtime")
    assert {finding.state for finding in found.values()} == {"ok"}, found


def test_30_a_rejected_ably_key(node: BreakableNode) -> None:
    with server_in_thread() as server:
        right = server.api_key.reveal()
        node.set(f"ably.api_key={right[:-3]}xyz", f"ably.endpoint={server.endpoint}")
        before = node.run_checks("realtime")["realtime.connect"]
        assert_fault(before)
        assert "ably.api_key=-" in before.remedy
        assert node.apply_remedy(before, typed=f"{right}\n").returncode == 0
        assert_ok(node.run_checks("realtime")["realtime.rights"])


def test_31_a_realtime_server_that_is_not_running(node: BreakableNode) -> None:
    with server_in_thread() as server:
        node.set(f"ably.api_key={server.api_key.reveal()}", f"ably.endpoint=127.0.0.1:{ports.choose(None)}")
        before = node.run_checks("realtime")["realtime.connect"]
        assert_fault(before, "127.0.0.1")
        changed = Finding(before.check, "fault", before.message, before.remedy.replace(
            "ably.endpoint=", f"ably.endpoint={server.endpoint}"
        ))  # fmt: skip
        assert node.apply_remedy(changed).returncode == 0
        assert_ok(node.run_checks("realtime")["realtime.connect"])


# catalog


@pytest.fixture
def with_catalog(node: BreakableNode) -> Path:
    path = node.data / "catalog.db"
    with contextlib.closing(Catalog(path)) as catalog:
        catalog.open()
    assert {finding.state for finding in node.run_checks("catalog").values()} == {"ok"}
    return path


def overwrite_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(os.urandom(8_192))


def no_database(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


@pytest.fixture
def with_bucket(node: BreakableNode, store: RunningStore, with_catalog: Path) -> Path:
    """The catalog of a node that has a bucket and a spool to rebuild it from."""
    node.set_store(store.settings)
    Spool(node.data / "spool", "porch").create()
    return with_catalog


@pytest.mark.parametrize("damage", [overwrite_middle, no_database])
def test_32_a_damaged_catalog(node: BreakableNode, with_bucket: Path, damage: Callable[[Path], None]) -> None:
    damage(with_bucket)
    before = node.run_checks("catalog")["catalog.integrity"]
    assert_fault(before, "is damaged")
    assert node.apply_remedy(before).returncode == 0
    assert {finding.state for finding in node.run_checks("catalog").values()} == {"ok"}


def test_33_a_catalog_written_by_a_newer_version(node: BreakableNode, with_bucket: Path) -> None:
    with contextlib.closing(sqlite3.connect(with_bucket)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = node.run_checks("catalog")["catalog.version"]
    assert_fault(before, "schema 99 was written by a newer version")
    assert node.apply_remedy(before).returncode == 0
    assert {finding.state for finding in node.run_checks("catalog").values()} == {"ok"}


# HTTP


def test_34_an_http_port_in_use(node: BreakableNode) -> None:
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        with contextlib.suppress(OSError, OverflowError):  # then somebody has the next one anyway
            stack.enter_context(socket.create_server(("127.0.0.1", port + 1)))
        node.set(f"http.port={port}")
        before = node.run_checks("http")["http.door"]
        assert_fault(before, "in use by another program")
        assert node.apply_remedy(before).returncode == 0
        assert_ok(node.run_checks("http")["http.door"])


def test_35_an_http_door_open_to_the_network_without_a_token(node: BreakableNode) -> None:
    node.set("http.host=0.0.0.0", f"http.port={ports.choose(None)}")
    before = node.run_checks("http")["http.settings"]
    assert_fault(before, "token")
    assert node.apply_remedy(before, typed="a-long-enough-token-for-the-garden\n").returncode == 0
    assert {finding.state for finding in node.run_checks("http").values()} == {"ok"}


# all together


def test_a_healthy_node_has_no_fault(node: BreakableNode, store: RunningStore, with_catalog: Path) -> None:
    node.set_store(store.settings)
    Spool(node.data / "spool", "porch").create()
    node.data.chmod(0o700)
    with running_broker() as (host, port), server_in_thread() as server:
        node.set(f"mqtt.host={host}", f"mqtt.port={port}")
        node.set(f"ably.api_key={server.api_key.reveal()}", f"ably.endpoint={server.endpoint}")
        code, found = run_doctor(node)
    assert [item for item in found.values() if item["state"] == "fault"] == []
    assert code == 0
    assert len(found) >= 20
    assert Secret(server.api_key).reveal() not in json.dumps(found)


def test_servers_that_never_respond_are_reported(node: BreakableNode) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        node.set(
            "mqtt.host=127.0.0.1",
            f"mqtt.port={port}",
            f"ably.endpoint=127.0.0.1:{port}",
            f"ably.api_key=a.b:{'c' * 40}",
        )
        node.set_store(S3("garden", endpoint_url=f"http://127.0.0.1:{port}"))
        node.set("s3.access_key_id=a", "s3.secret_access_key=b")
        code, found = run_doctor(node)  # which ends although they do not
    assert code == 1
    assert {"broker", "store", "realtime"} <= {n.split(".")[0] for n, f in found.items() if f["state"] == "fault"}, (
        found
    )


def test_a_check_that_hangs_is_itself_a_fault(node: BreakableNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_node: NodeUnderTest) -> Iterator[Finding]:
        threading.Event().wait(3)
        return iter(())

    monkeypatch.setattr("commands.doctor.local_data.check_spool", never)
    found = {finding.check: finding for finding in doctor.examine(node.under_test(), 0.5, ("spool", "clock"))}
    assert_fault(found["spool.time"], "within 0.5 s")
    assert_ok(found["clock.synchronised"])
