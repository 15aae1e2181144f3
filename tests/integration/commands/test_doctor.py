"""Set-ups broken in one place each: the doctor names it, and the command that it tells mends it."""

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

from commands.doctor import clock as clock_check
from commands.doctor import doctor, modes, software
from commands.doctor.finding import Finding, Patient
from edge.catalog import Catalog
from edge.configuration.settings import S3, Secret
from edge.core.values import SpoolState
from edge.embedded import ports
from edge.embedded.broker import find_mosquitto
from edge.embedded.child import Child, Part
from edge.messaging.access import ETC
from edge.spool.spool import Spool
from tests.support.broker import running_broker
from tests.support.chunks import BOOT, START, STREAM, fill_spool
from tests.support.fault_proxy import Request, running_proxy
from tests.support.microphone import VirtualMicrophone, virtual_microphone, write_noise
from tests.support.realtime import server_in_thread
from tests.support.s3 import RunningStore, running_store
from tests.support.wait import wait_until
from tests.support.ward import Ward

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, or another user")


@pytest.fixture
def ward() -> Iterator[Ward]:
    """In a folder that everybody could reach: pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="imhearing-ward-") as name:
        Path(name).chmod(0o755)
        yield Ward(Path(name))


@pytest.fixture(scope="module")
def room() -> Iterator[VirtualMicrophone]:
    with virtual_microphone() as microphone:
        yield microphone


def is_fault(finding: Finding, *words: str) -> None:
    assert finding.state == "fault", finding
    assert finding.remedy
    for word in words:
        assert word in finding.message


def is_ok(finding: Finding) -> None:
    assert finding.state == "ok", finding


# settings and files


def run_doctor(ward: Ward, *arguments: str, **environ: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = subprocess.run(
        [sys.executable, "-m", "imhearing", "doctor", "--data", str(ward.data), "--json", *arguments],
        capture_output=True, text=True, timeout=30, check=False, env={**os.environ, **environ},
    )  # fmt: skip
    assert not done.stderr
    found = json.loads(done.stdout)
    return done.returncode, {finding["check"]: finding for finding in found["findings"]}


def test_01_a_configuration_with_secrets_that_others_can_read(ward: Ward) -> None:
    ward.set("mqtt.password=hush-hush")
    ward.config.chmod(0o644)
    code, found = run_doctor(ward)
    assert (code, found["settings"]["state"]) == (1, "fault")
    assert "others can read it" in found["settings"]["message"]
    assert ward.mend(Finding(**found["settings"])).returncode == 0  # type: ignore[arg-type]
    code, found = run_doctor(ward)
    assert "settings" not in found
    assert "hush" not in json.dumps(found)


def test_02_a_key_that_there_is_not(ward: Ward) -> None:
    ward.set("recorder.devise=USB")
    code, found = run_doctor(ward, EDITOR="nano")
    assert code == 1
    assert "did you mean device?" in found["settings"]["message"]
    mended = ward.mend(Finding(**found["settings"]), words={"nano": "sed -i s/devise/device/"})  # type: ignore[arg-type]
    assert mended.returncode == 0
    assert "settings" not in run_doctor(ward)[1]


def test_03_the_key_of_our_certificate_is_for_everybody(ward: Ward) -> None:
    key = ward.data / "client.key"
    key.write_text("secret")
    key.chmod(0o644)
    ward.set("mqtt.key_file=client.key")
    before = modes.secrets_are_ours(ward.patient())
    is_fault(before, "client.key", "others can read it")
    ward.mend(before)
    is_ok(modes.secrets_are_ours(ward.patient()))


def test_04_everybody_can_read_the_spool(ward: Ward) -> None:
    Spool(ward.data / "spool", "porch").create()
    (ward.data / "spool").chmod(0o755)
    before = ward.look("modes")["files.data"]
    is_fault(before, "everybody")
    ward.mend(before)
    is_ok(ward.look("modes")["files.data"])


def test_05_a_damaged_calibration(ward: Ward) -> None:
    (ward.data / "calibration.json").write_text('{"calibrations": [{}]}')
    before = ward.look("modes")["files.calibration"]
    is_fault(before, "is damaged")
    ward.mend(before, stubs=("imhearing",))
    assert ward.called() == [f"imhearing calibrate --data {ward.data}"]
    is_ok(ward.look("modes")["files.calibration"])


def test_06_libraries_that_are_missing_or_of_another_version(ward: Ward, tmp_path: Path) -> None:
    pinned = tmp_path / "requirements.txt"
    pinned.write_text("nobody-has-this==1.0  # MIT\nnumpy==0.0.1\n")
    is_fault(missing := software.libraries(pinned), "nobody-has-this")
    assert missing.remedy == "scripts/setup"
    pinned.write_text("numpy==0.0.1\n")
    other = software.libraries(pinned)
    assert (other.state, "instead of 0.0.1" in other.message) == ("warning", True)
    is_ok(software.libraries(software.ROOT / "requirements.txt"))


# spool


def test_07_a_file_where_the_spool_should_be(ward: Ward) -> None:
    (ward.data / "spool").write_text("")
    before = ward.look("spool")["spool.writable"]
    is_fault(before, "is no folder")
    ward.mend(before)
    found = ward.look("spool")
    assert {finding.state for finding in found.values()} == {"ok"}


@AS_ROOT
def test_08_a_spool_that_belongs_to_somebody_else(ward: Ward) -> None:
    """Tried as another user: root may write anywhere."""
    Spool(ward.data / "spool", "porch").create()
    shutil.chown(ward.data, "nobody")
    for path in (ward.data, ward.config):
        shutil.chown(path, "nobody")
    as_nobody = ["setpriv", "--reuid", "65534", "--clear-groups", sys.executable, "-m", "imhearing"]
    asked = [*as_nobody, "doctor", "--data", str(ward.data), "--json"]

    def look() -> Finding:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, env={**os.environ, "USER": "nobody"})
        found = {item["check"]: item for item in json.loads(done.stdout)["findings"]}
        return Finding(**found["spool.writable"])

    before = look()
    is_fault(before, "cannot be written")
    assert before.remedy.startswith("sudo chown -R nobody")
    ward.mend(before)
    is_ok(look())


@AS_ROOT
def test_09_a_disk_that_is_nearly_full(ward: Ward) -> None:
    disk = ward.data / "spool"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", disk], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        is_warned = ward.look("spool")["spool.room"]
        assert is_warned.state == "warning"
        ballast = disk / "film.mp4"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 500_000_000)
        before = ward.look("spool")["spool.room"]
        is_fault(before, "0.1 GB free", "hours of sound")
        assert "477M" in ward.mend(before).stdout or "500M" in ward.mend(before).stdout
        ballast.unlink()  # what it showed
        assert ward.look("spool")["spool.room"].state == "warning"
        fill_spool(disk, 1)
        assert ward.look("spool")["spool.room"].remedy == f"imhearing archive --data {ward.data}"
    finally:
        subprocess.run(["umount", disk], check=True)


def test_10_a_slow_card(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(1.1)  # the card
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    found = ward.look("spool")["spool.speed"]
    assert found.state == "warning"
    slowest = re.search(r"durable after (\d+) ms", found.message)
    assert slowest is not None
    assert int(slowest[1]) >= 1_100
    monkeypatch.undo()
    is_ok(ward.look("spool")["spool.speed"])


# clock


def test_11_a_clock_that_nobody_keeps(ward: Ward) -> None:
    ward.clock.says = False
    assert ward.look("clock")["clock.synchronised"].state == "warning"
    ward.clock.wrong_by = -40 * 365 * 86_400.0
    before = ward.look("clock")["clock.synchronised"]
    is_fault(before, "the clock shows 19")
    ward.mend(before, stubs=("timedatectl",))
    assert ward.called() == ["timedatectl set-ntp true"]
    ward.clock.says, ward.clock.wrong_by = True, 0.0
    is_ok(ward.look("clock")["clock.synchronised"])


def test_12_a_clock_so_wrong_that_the_store_refuses(ward: Ward, store: RunningStore) -> None:
    ward.set_store(store.settings)
    ward.clock.wrong_by = -1_200
    before = ward.look("clock")["clock.offset"]
    is_fault(before, " s behind the store's", "15 minutes")
    assert before.remedy == "sudo timedatectl set-ntp true"
    ward.clock.wrong_by = 30
    assert ward.look("clock")["clock.offset"].state == "warning"
    ward.clock.wrong_by = 0
    is_ok(ward.look("clock")["clock.offset"])


# device


@pytest.fixture
def sound(room: VirtualMicrophone, ward: Ward, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ward]:
    """A ward with a microphone in a room where noise is played."""
    for key, value in room.environment.items():
        monkeypatch.setenv(key, value)
    ward.set("recorder.source=microphone")
    write_noise(tmp_path / "noise.wav", 40, 1)
    player = room.play(tmp_path / "noise.wav")
    try:
        wait_until(lambda: room.run("pactl", "list", "short", "sink-inputs").strip(), "it plays")
        yield ward
    finally:
        player.terminate()
        player.wait(5)
        room.run("pactl", "set-source-mute", "room.monitor", "0")
        room.run("pactl", "set-source-volume", "room.monitor", "100%")


def test_13_a_microphone_by_another_name(sound: Ward) -> None:
    sound.set("recorder.device=Blue Yeti")
    before = sound.look("device")["device.records"]
    is_fault(before, "'Blue Yeti'")
    assert sound.mend(before).returncode == 0
    found = sound.look("device")
    assert {finding.state for finding in found.values()} == {"ok"}, found
    assert "48000 Hz, mono, 16 bits" in found["device.records"].message


def test_14_a_muted_microphone(sound: Ward, room: VirtualMicrophone) -> None:
    room.run("pactl", "set-source-mute", "room.monitor", "1")
    before = sound.look("device")["device.level"]
    is_fault(before, "digital silence")
    assert sound.mend(before).returncode == 0
    is_ok(sound.look("device")["device.level"])


def test_15_a_gain_that_is_too_high(sound: Ward, room: VirtualMicrophone) -> None:
    room.run("pactl", "set-source-volume", "room.monitor", "400%")
    before = sound.look("device")["device.clipping"]
    is_fault(before, "at full scale", "gain is too high")
    assert sound.mend(before).returncode == 0
    is_ok(sound.look("device")["device.clipping"])


def test_16_a_sound_file_that_is_not_there(ward: Ward) -> None:
    ward.set(f"recorder.source={ward.data}/garden.wav")
    before = ward.look("device")["device.records"]
    is_fault(before, "garden.wav")
    assert ward.mend(before).returncode == 0
    assert ward.look("device")["device.records"].state == "ok"


def test_the_microphone_that_the_recorder_holds_is_no_fault(ward: Ward) -> None:
    ward.set(f"recorder.source={ward.data}/nothing.wav")  # cannot be opened a second time
    fill_spool(ward.data / "spool", 1)
    spool = Spool(ward.data / "spool", "porch")
    spool.state.write(SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM))
    for path in spool.path.iterdir():
        os.utime(path, (0, 0))
    assert ward.look("device")["device.records"].state == "fault"  # a recorder that died
    spool.layout.part_path(f"{STREAM}-000001", "flac").write_bytes(b"")
    found = ward.look("device")
    assert f"the recorder has it and records {STREAM}" in found["device.records"].message
    is_ok(found["device.level"])


# broker


def test_17_no_broker_running(ward: Ward) -> None:
    port = ports.choose(None)
    ward.set("mqtt.host=127.0.0.1", f"mqtt.port={port}")
    before = ward.look("broker")["broker.connect"]
    is_fault(before, "no broker at 127.0.0.1")
    ward.mend(before, stubs=("systemctl",))
    assert ward.called() == ["systemctl enable --now mosquitto"]
    with running_broker(port):
        found = ward.look("broker")
    assert {finding.state for finding in found.values()} == {"ok"}, found


def test_18_a_broker_whose_name_nobody_knows(ward: Ward) -> None:
    with running_broker() as (host, port):
        ward.set("mqtt.host=no-such-host.invalid", f"mqtt.port={port}")
        before = ward.look("broker")["broker.connect"]
        is_fault(before, "no-such-host.invalid")
        ward.mend(before, words={"HOST": host})
        is_ok(ward.look("broker")["broker.connect"])


def test_19_tls_where_the_broker_has_none(ward: Ward) -> None:
    with running_broker() as (host, port):
        ward.set(f"mqtt.host={host}", f"mqtt.port={port}", "mqtt.tls=on")
        before = Finding(**run_doctor(ward)[1]["broker.login"])  # type: ignore[arg-type]
        is_fault(before, "speaks no TLS")
        ward.mend(before)
        is_ok(ward.look("broker")["broker.rights"])


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
    child = Child(Part("broker", (find_mosquitto(), "-c", str(conf)), folder / "broker.log", port=port))
    try:
        wait_until(lambda: ports.answers(port) or child.exit_code() is not None, "the broker answers")
        yield port, child
    finally:
        child.ask_to_end()
        child.end(5)


@pytest.fixture
def guarded(ward: Ward) -> Iterator[tuple[Ward, Path, Child]]:
    folder = ward.data / "broker"
    made = subprocess.run(
        [sys.executable, "-m", "imhearing", "broker-setup", "--into", folder, "--data", ward.data], check=False,
        capture_output=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    settings = dict(line.split(" = ") for line in (folder / "mqtt.ini").read_text().splitlines() if " = " in line)
    with guarded_broker(folder) as (port, child):
        changes = {key: value for key, value in settings.items() if "password" in key or key == "username"}
        ward.set("mqtt.host=127.0.0.1", f"mqtt.port={port}", *(f"mqtt.{key}={value}" for key, value in changes.items()))
        yield ward, folder, child


def test_20_a_role_with_a_wrong_password(guarded: tuple[Ward, Path, Child]) -> None:
    ward, _, _ = guarded
    assert {finding.state for finding in ward.look("broker").values()} == {"ok"}
    right = ward.patient().settings.mqtt.archiver_password.reveal()
    ward.set("mqtt.archiver_password=wrong")
    before = Finding(**run_doctor(ward)[1]["broker.login"])  # type: ignore[arg-type]
    is_fault(before, "refused the login")
    assert "mqtt.archiver_password=-" in before.remedy
    assert right not in before.message + before.remedy
    assert ward.mend(before, typed=f"{right}\n").returncode == 0
    assert {finding.state for finding in ward.look("broker").values()} == {"ok"}


def test_21_an_acl_that_forgot_a_role(guarded: tuple[Ward, Path, Child]) -> None:
    ward, folder, child = guarded
    acl = folder / "acl"
    acl.write_text(acl.read_text().replace("topic write imhearing/porch/archiver/#\n", ""))
    os.kill(mosquitto_of(child), 1)
    wait_until(lambda: ward.look("broker")["broker.rights"].state == "fault" or None, "the new rights hold", 15)
    before = ward.look("broker")["broker.rights"]
    is_fault(before, "porch-archiver", "imhearing/porch/archiver/doctor", "ACL")
    done = ward.mend(before, stubs=("systemctl",), words={ETC: str(folder)})
    assert done.returncode == 0, done.stderr
    assert ward.called() == ["systemctl reload mosquitto"]
    os.kill(mosquitto_of(child), 1)
    wait_until(lambda: ward.look("broker")["broker.rights"].state == "ok" or None, "the new rights hold", 15)


def mosquitto_of(child: Child) -> int:
    """The leash runs the program in its own place or as its child."""
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    return int(children[0]) if children else child.pid


def test_22_tls_of_a_ca_that_we_do_not_know_and_no_tls_at_all(guarded: tuple[Ward, Path, Child]) -> None:
    ward, folder, _ = guarded
    with guarded_broker(folder, f"certfile {folder}/server.crt", f"keyfile {folder}/server.key") as (port, _):
        ward.set(f"mqtt.port={port}", "mqtt.tls=off")
        before = ward.look("broker")["broker.login"]
        is_fault(before, "is it the TLS port?")
        assert ward.mend(before).returncode == 0
        before = ward.look("broker")["broker.login"]
        is_fault(before, "CERTIFICATE_VERIFY_FAILED")
        assert ward.mend(before, words={"PATH/TO": str(folder)}).returncode == 0
        assert {finding.state for finding in ward.look("broker").values()} == {"ok"}


# store


def test_23_a_store_that_is_off(ward: Ward) -> None:
    port = ports.choose(None)
    ward.set_store(S3("garden", endpoint_url=f"http://127.0.0.1:{port}"))
    ward.set("s3.access_key_id=a", "s3.secret_access_key=b")
    is_fault(before := ward.look("store")["store.write"], f"127.0.0.1:{port}")
    clock = ward.look("clock")["clock.offset"]
    assert (clock.state, clock.remedy) == ("warning", before.remedy)
    by_up = clock_check.agrees_with_store(ward.patient()._replace(by_up=True))
    assert by_up.remedy == f"imhearing up --data {ward.data}"
    with running_store(port=port) as running:
        ward.set_store(running.settings)
        found = ward.look("store")
        assert {finding.state for finding in found.values()} == {"ok"}, found
        assert [path for path in running.folder.rglob("*") if path.is_file()] == []


def test_24_a_secret_that_does_not_fit(ward: Ward, store: RunningStore) -> None:
    ward.set_store(store.settings)
    ward.set("s3.secret_access_key=wrong")
    before = ward.look("store")["store.write"]
    is_fault(before, "secret")
    key, secret = store.settings.access_key_id.reveal(), store.settings.secret_access_key.reveal()
    assert ward.mend(before, typed=f"{key}\n{secret}\n").returncode == 0
    is_ok(ward.look("store")["store.write"])


def test_25_a_bucket_that_nobody_made(ward: Ward, store: RunningStore) -> None:
    ward.set_store(store.settings)
    ward.set("s3.s3_bucket_name=garden")
    before = ward.look("store")["store.write"]
    is_fault(before, "there is no bucket 'garden'")
    assert ward.mend(before).returncode == 0
    is_ok(ward.look("store")["store.write"])


def test_26_links_that_lead_nowhere(ward: Ward, store: RunningStore) -> None:
    ward.set_store(store.settings)
    ward.set(f"s3.public_endpoint_url=http://127.0.0.1:{ports.choose(None)}")
    before = ward.look("store")["store.link"]
    is_fault(before, "leads nowhere")
    assert ward.mend(before).returncode == 0
    is_ok(ward.look("store")["store.link"])


@pytest.mark.parametrize(
    ("request_name", "check", "state"), [("GET", "store.read", "fault"), ("DELETE", "store.delete", "warning")]
)
def test_27_a_key_that_may_not_do_everything(
    ward: Ward, store: RunningStore, request_name: str, check: str, state: str
) -> None:
    with running_proxy(store.settings) as (proxy, settings):
        ward.set_store(settings)
        proxy.choose = lambda asked: "denied" if asked.name == request_name else None
        found = ward.look("store")
        assert (found["store.write"].state, found[check].state) == ("ok", state)
        assert "docs/security.md" in found[check].remedy
        proxy.heal()
        is_ok(ward.look("store")[check])


def test_28_a_store_that_finds_our_clock_wrong(ward: Ward, store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, settings):
        ward.set_store(settings)

        def refuse(_asked: Request) -> str:
            return "skewed"

        proxy.choose = refuse  # type: ignore[assignment]
        before = ward.look("store")["store.write"]
        is_fault(before, "RequestTimeTooSkewed")
        assert before.remedy == "sudo timedatectl set-ntp true"


# Ably


def test_29_a_key_that_is_none(ward: Ward) -> None:
    with server_in_thread() as server:
        ward.set("ably.api_key=no-key-at-all", f"ably.endpoint={server.endpoint}")
        before = ward.look("realtime")["realtime.key"]
        is_fault(before, "name:secret")
        assert "no-key-at-all" not in before.message
        assert ward.mend(before, typed=f"{server.api_key.reveal()}\n").returncode == 0
        found = ward.look("realtime")
    assert {finding.state for finding in found.values()} == {"ok"}, found


def test_30_a_key_that_is_refused(ward: Ward) -> None:
    with server_in_thread() as server:
        right = server.api_key.reveal()
        ward.set(f"ably.api_key={right[:-3]}xyz", f"ably.endpoint={server.endpoint}")
        before = ward.look("realtime")["realtime.connect"]
        is_fault(before)
        assert "ably.api_key=-" in before.remedy
        assert ward.mend(before, typed=f"{right}\n").returncode == 0
        is_ok(ward.look("realtime")["realtime.rights"])


def test_31_a_realtime_server_that_is_off(ward: Ward) -> None:
    with server_in_thread() as server:
        ward.set(f"ably.api_key={server.api_key.reveal()}", f"ably.endpoint=127.0.0.1:{ports.choose(None)}")
        before = ward.look("realtime")["realtime.connect"]
        is_fault(before, "127.0.0.1")
        changed = Finding(before.check, "fault", before.message, before.remedy.replace(
            "ably.endpoint=", f"ably.endpoint={server.endpoint}"
        ))  # fmt: skip
        assert ward.mend(changed).returncode == 0
        is_ok(ward.look("realtime")["realtime.connect"])


# catalog


@pytest.fixture
def with_catalog(ward: Ward) -> Path:
    path = ward.data / "catalog.db"
    with contextlib.closing(Catalog(path)) as catalog:
        catalog.open()
    assert {finding.state for finding in ward.look("catalog").values()} == {"ok"}
    return path


def overwrite_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(os.urandom(8_192))


def no_database(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


@pytest.fixture
def with_bucket(ward: Ward, store: RunningStore, with_catalog: Path) -> Path:
    """The catalog of a node that has something to make it anew from."""
    ward.set_store(store.settings)
    Spool(ward.data / "spool", "porch").create()
    return with_catalog


@pytest.mark.parametrize("damage", [overwrite_middle, no_database])
def test_32_a_damaged_catalog(ward: Ward, with_bucket: Path, damage: Callable[[Path], None]) -> None:
    damage(with_bucket)
    before = ward.look("catalog")["catalog.integrity"]
    is_fault(before, "is damaged")
    assert ward.mend(before).returncode == 0
    assert {finding.state for finding in ward.look("catalog").values()} == {"ok"}


def test_33_a_catalog_of_a_newer_version(ward: Ward, with_bucket: Path) -> None:
    with contextlib.closing(sqlite3.connect(with_bucket)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = ward.look("catalog")["catalog.version"]
    is_fault(before, "schema 99 is of a newer Im Hearing")
    assert ward.mend(before).returncode == 0
    assert {finding.state for finding in ward.look("catalog").values()} == {"ok"}


# HTTP


def test_34_a_port_that_somebody_else_has(ward: Ward) -> None:
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        with contextlib.suppress(OSError, OverflowError):  # then somebody has the next one anyway
            stack.enter_context(socket.create_server(("127.0.0.1", port + 1)))
        ward.set(f"http.port={port}")
        before = ward.look("http")["http.door"]
        is_fault(before, "somebody else's")
        assert ward.mend(before).returncode == 0
        is_ok(ward.look("http")["http.door"])


def test_35_a_door_to_the_network_without_a_token(ward: Ward) -> None:
    ward.set("http.host=0.0.0.0", f"http.port={ports.choose(None)}")
    before = ward.look("http")["http.settings"]
    is_fault(before, "token")
    assert ward.mend(before, typed="a-long-enough-token-for-the-garden\n").returncode == 0
    assert {finding.state for finding in ward.look("http").values()} == {"ok"}


# all together


def test_a_node_that_is_well_has_no_fault(ward: Ward, store: RunningStore, with_catalog: Path) -> None:
    ward.set_store(store.settings)
    Spool(ward.data / "spool", "porch").create()
    ward.data.chmod(0o700)
    with running_broker() as (host, port), server_in_thread() as server:
        ward.set(f"mqtt.host={host}", f"mqtt.port={port}")
        ward.set(f"ably.api_key={server.api_key.reveal()}", f"ably.endpoint={server.endpoint}")
        code, found = run_doctor(ward)
    assert [item for item in found.values() if item["state"] == "fault"] == []
    assert code == 0
    assert len(found) >= 20
    assert Secret(server.api_key).reveal() not in json.dumps(found)


def test_everything_deaf_is_told_within_15_seconds(ward: Ward) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        ward.set(
            "mqtt.host=127.0.0.1",
            f"mqtt.port={port}",
            f"ably.endpoint=127.0.0.1:{port}",
            f"ably.api_key=a.b:{'c' * 40}",
        )
        ward.set_store(S3("garden", endpoint_url=f"http://127.0.0.1:{port}"))
        ward.set("s3.access_key_id=a", "s3.secret_access_key=b")
        started = time.monotonic()
        code, found = run_doctor(ward)
        took = time.monotonic() - started
    assert code == 1
    assert {"broker", "store", "realtime"} <= {n.split(".")[0] for n, f in found.items() if f["state"] == "fault"}, (
        found
    )
    assert took < 15, took


def test_a_room_that_never_comes_back_is_a_fault_itself(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_patient: Patient) -> Iterator[Finding]:
        threading.Event().wait(3)
        return iter(())

    monkeypatch.setattr("commands.doctor.spool.look", never)
    monkeypatch.setattr(doctor, "ROOMS", ("spool", "clock"))
    found = {finding.check: finding for finding in doctor.examine(ward.patient(), 0.5)}
    is_fault(found["spool.time"], "within 0.5 s")
    is_ok(found["clock.synchronised"])
