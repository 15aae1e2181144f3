"""Faults in settings, secrets, files and libraries: doctor names each, and its remedy fixes it."""

from __future__ import annotations

import json
from pathlib import Path

from commands.doctor import machine
from commands.doctor.node_under_test import Finding
from edge.spool.spool import Spool
from tests.support.nodes.breakable_node import BreakableNode
from tests.support.nodes.doctor import assert_fault, assert_ok, run_doctor


def test_secrets_in_a_config_file_readable_by_others_are_reported_and_fixed(node: BreakableNode) -> None:
    node.set("mqtt.password=hush-hush")
    node.config.chmod(0o644)
    code, found = run_doctor(node)
    assert (code, found["settings"]["state"]) == (1, "fault")
    assert "other users can read it" in found["settings"]["message"]
    assert node.apply_remedy(Finding(**found["settings"])).returncode == 0  # type: ignore[arg-type]
    code, found = run_doctor(node)
    assert "settings" not in found
    assert "hush" not in json.dumps(found)


def test_an_unknown_setting_is_reported_and_fixed(node: BreakableNode) -> None:
    node.set("recorder.devise=USB")
    code, found = run_doctor(node, EDITOR="nano")
    assert code == 1
    assert "did you mean device?" in found["settings"]["message"]
    fixed = node.apply_remedy(Finding(**found["settings"]), placeholders={"nano": "sed -i s/devise/device/"})  # type: ignore[arg-type]
    assert fixed.returncode == 0
    assert "settings" not in run_doctor(node)[1]


def test_a_certificate_key_readable_by_others_is_reported_and_fixed(node: BreakableNode) -> None:
    key = node.data / "client.key"
    key.write_text("secret")
    key.chmod(0o644)
    node.set("mqtt.key_file=client.key")
    before = machine.check_secrets(node.under_test())
    assert_fault(before, "client.key", "other users can read it")
    node.apply_remedy(before)
    assert_ok(machine.check_secrets(node.under_test()))


def test_a_spool_readable_by_every_user_is_reported_and_fixed(node: BreakableNode) -> None:
    Spool(node.data / "spool", "porch").create()
    (node.data / "spool").chmod(0o755)
    before = node.run_checks("files")["files.data"]
    assert_fault(before, "every user")
    node.apply_remedy(before)
    assert_ok(node.run_checks("files")["files.data"])


def test_a_damaged_calibration_is_reported_and_fixed(node: BreakableNode) -> None:
    (node.data / "recorder").mkdir(exist_ok=True)
    (node.data / "recorder" / "calibration.json").write_text('{"calibrations": [{}]}')
    before = node.run_checks("files")["files.calibration"]
    assert_fault(before, "is damaged")
    node.apply_remedy(before, stubs=("imhearing",))
    assert node.stub_calls() == [f"imhearing calibrate --data {node.data}"]
    assert_ok(node.run_checks("files")["files.calibration"])


def test_missing_libraries_and_untested_versions_are_reported(node: BreakableNode, tmp_path: Path) -> None:
    pinned = tmp_path / "requirements.txt"
    pinned.write_text("nobody-has-this==1.0  # MIT\nnumpy==0.0.1\n")
    assert_fault(missing := machine.check_libraries(pinned), "nobody-has-this")
    assert missing.remedy == "scripts/setup"
    pinned.write_text("numpy==0.0.1\n")
    other = machine.check_libraries(pinned)
    assert (other.state, "instead of 0.0.1" in other.message) == ("warning", True)
    assert_ok(machine.check_libraries(machine.ROOT / "requirements.txt"))
