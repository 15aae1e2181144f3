"""Faults of the broker, its TLS, accounts and ACL: doctor names each, and its remedy fixes it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.doctor.node_under_test import Finding
from edge.embedded import ports
from edge.embedded.child import Child, ProcessSpec
from edge.embedded.servers import find_mosquitto
from edge.messaging.broker_configuration import ETC
from tests.support.messaging.broker import running_broker
from tests.support.nodes.breakable_node import BreakableNode
from tests.support.nodes.doctor import assert_fault, assert_ok, run_doctor
from tests.support.wait import wait_until


def test_a_broker_that_is_not_running_is_reported_and_fixed(node: BreakableNode) -> None:
    port = ports.choose(None)
    node.set("mqtt.host=127.0.0.1", f"mqtt.port={port}")
    before = node.run_checks("broker")["broker.connect"]
    assert_fault(before, "no broker at 127.0.0.1")
    node.apply_remedy(before, stubs=("systemctl",))
    assert node.stub_calls() == ["systemctl enable --now mosquitto"]
    with running_broker(port):
        found = node.run_checks("broker")
    assert {finding.state for finding in found.values()} == {"ok"}, found


def test_a_broker_name_that_does_not_resolve_is_reported_and_fixed(node: BreakableNode) -> None:
    with running_broker() as (host, port):
        node.set("mqtt.host=no-such-host.invalid", f"mqtt.port={port}")
        before = node.run_checks("broker")["broker.connect"]
        assert_fault(before, "no-such-host.invalid")
        node.apply_remedy(before, placeholders={"HOST": host})
        assert_ok(node.run_checks("broker")["broker.connect"])


def test_tls_with_a_broker_that_does_not_speak_it_is_reported_and_fixed(node: BreakableNode) -> None:
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


@pytest.mark.parametrize("role", ["archiver", "page"])
def test_a_wrong_password_of_one_role_is_reported_and_fixed(
    guarded: tuple[BreakableNode, Path, Child], role: str
) -> None:
    node, _, _ = guarded
    node.set(f"http.port={ports.choose(None)}")  # without a page, its account is not needed
    assert {finding.state for finding in node.run_checks("broker").values()} == {"ok"}
    right: str = getattr(node.under_test().settings.mqtt, f"{role}_password").reveal()
    node.set(f"mqtt.{role}_password=wrong")
    before = Finding(**run_doctor(node)[1]["broker.login"])  # type: ignore[arg-type]
    assert_fault(before, "refused the login")
    assert f"mqtt.{role}_password=-" in before.remedy
    assert right not in before.message + before.remedy
    assert node.apply_remedy(before, typed=f"{right}\n").returncode == 0
    assert {finding.state for finding in node.run_checks("broker").values()} == {"ok"}


def test_an_acl_that_lacks_a_role_is_reported_and_fixed(guarded: tuple[BreakableNode, Path, Child]) -> None:
    node, folder, child = guarded
    acl = folder / "acl"
    acl.write_text(acl.read_text().replace("topic write imhearing/porch/archiver/#\n", ""))
    os.kill(mosquitto_of(child), 1)
    wait_until(lambda: node.run_checks("broker")["broker.rights"].state == "fault" or None, "the new rights hold")
    before = node.run_checks("broker")["broker.rights"]
    assert_fault(before, "porch-archiver", "imhearing/porch/archiver/doctor", "ACL")
    done = node.apply_remedy(before, stubs=("systemctl",), placeholders={ETC: str(folder)})
    assert done.returncode == 0, done.stderr
    assert node.stub_calls() == ["systemctl reload mosquitto"]
    os.kill(mosquitto_of(child), 1)
    wait_until(lambda: node.run_checks("broker")["broker.rights"].state == "ok" or None, "the new rights hold")


def mosquitto_of(child: Child) -> int:
    """Mosquitto itself, or its parent if it forked."""
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    return int(children[0]) if children else child.pid


def test_missing_tls_and_an_unknown_ca_are_reported_and_fixed(guarded: tuple[BreakableNode, Path, Child]) -> None:
    node, folder, _ = guarded
    with guarded_broker(folder, f"certfile {folder}/server.crt", f"keyfile {folder}/server.key") as (port, _):
        node.set(f"mqtt.port={port}", "mqtt.tls=off")
        before = node.run_checks("broker")["broker.login"]
        assert_fault(before, "expects TLS")
        assert node.apply_remedy(before).returncode == 0
        before = node.run_checks("broker")["broker.login"]
        assert_fault(before, "is not signed by a known CA")
        assert node.apply_remedy(before, placeholders={"PATH/TO": str(folder)}).returncode == 0
        assert {finding.state for finding in node.run_checks("broker").values()} == {"ok"}
