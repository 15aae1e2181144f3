"""The systemd units: what they promise, and that they fit the code and scripts/install."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from commands.cli import words
from edge.configuration import loader as config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
OURS = [unit for unit in UNITS if unit.name != "imhearing-broker.service"]


def lines(unit: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def name(unit: Path) -> str:
    return unit.stem


def test_there_are_four() -> None:
    assert [unit.stem.removeprefix("imhearing-") for unit in UNITS] == [
        "archiver",
        "broker",
        "query-service",
        "recorder",
    ]


@pytest.mark.parametrize("unit", UNITS, ids=name)
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_its_exposure_is_at_most_two(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)],
        capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert "Overall exposure level" in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout[-200:]


@pytest.mark.parametrize("unit", UNITS, ids=name)
def test_it_waits_for_nothing_and_is_never_given_up(unit: Path) -> None:
    for key in ("After", "Wants", "Requires", "BindsTo", "Requisite"):
        assert not lines(unit, key)
    assert lines(unit, "Restart") == ["always"]
    assert lines(unit, "StartLimitIntervalSec") == ["0"]
    for key in ("RestartSteps", "RestartMaxDelaySec", "MemoryMax"):
        assert lines(unit, key)


@pytest.mark.parametrize("unit", OURS, ids=name)
def test_it_says_itself_that_it_is_ready_and_alive(unit: Path) -> None:
    assert lines(unit, "Type") == ["notify"]
    assert lines(unit, "WatchdogSec")


@pytest.mark.parametrize("unit", OURS, ids=name)
def test_it_starts_a_command_that_is_there(unit: Path) -> None:
    [command] = lines(unit, "ExecStart")
    program, verb, *_ = command.split()
    assert program == "/opt/imhearing/current/.venv/bin/imhearing"
    assert verb in {each.name for each in words.COMMANDS}


@pytest.mark.parametrize("unit", OURS, ids=name)
def test_its_credentials_are_secrets_of_the_configuration(unit: Path) -> None:
    known = {f"imhearing_{section}_{key}" for section, key in config._SECRETS}
    given = set(lines(unit, "LoadCredential"))
    assert given <= known
    assert "imhearing_mqtt_control_password" not in given
    role = {"imhearing-query-service": "query"}.get(unit.stem, unit.stem.removeprefix("imhearing-"))
    assert f"imhearing_mqtt_{role}_password" in given
    for other in {"recorder", "archiver", "query"} - {role}:
        assert f"imhearing_mqtt_{other}_password" not in given


def test_each_secret_reaches_the_service_that_uses_it_and_none_has_to_be_there() -> None:
    """`LoadCredential=NAME` without a path looks in /etc/credstore, and goes on where there is no such file."""
    given = {credential for unit in OURS for credential in lines(unit, "LoadCredential")}
    unused = {"imhearing_mqtt_control_password", "imhearing_ably_token"}  # people's commands alone log in with them
    assert given == {f"imhearing_{section}_{key}" for section, key in config._SECRETS} - unused
    assert not any(":" in credential for credential in given)
    assert "imhearing_http_token" in lines(DEPLOY / "imhearing-query-service.service", "LoadCredential")


def test_only_the_recorder_has_sound_cards_and_the_clock_can_be_asked() -> None:
    devices = {unit.stem: lines(unit, "DeviceAllow") for unit in UNITS}
    assert [stem for stem, allowed in devices.items() if allowed] == ["imhearing-recorder"]
    recorder = DEPLOY / "imhearing-recorder.service"
    assert not lines(recorder, "PrivateDevices")
    assert "adjtimex clock_adjtime" in lines(recorder, "SystemCallFilter")
    assert not lines(recorder, "ProcSubset")  # /proc/sys/kernel/random/boot_id
    assert not lines(recorder, "ProtectClock")


def test_the_query_service_has_no_descriptor_that_select_does_not_know() -> None:
    assert lines(DEPLOY / "imhearing-query-service.service", "LimitNOFILE") == ["1024"]


@pytest.mark.parametrize("script", ["install", "setup", "uninstall", "try-fresh"])
def test_no_python_of_a_script_takes_modules_from_where_it_stands(script: str) -> None:
    calls = re.findall(
        r"python3?\"? (?:-\S+ )*-[cm] .*|python\"? (?:-\S+ )*- .*", (ROOT / "scripts" / script).read_text()
    )
    isolated = [call for call in calls if " -I " in call or call.startswith("python -")]  # `python`: install's own
    assert calls == isolated
    if script == "install":
        assert '.venv/bin/python" -I "$@"' in (ROOT / "scripts" / script).read_text()


@pytest.mark.parametrize("script", ["install", "setup", "uninstall"])
def test_a_script_of_root_leaves_the_folder_of_its_caller(script: str) -> None:
    assert re.search(r"^cd /( |$)", (ROOT / "scripts" / script).read_text(), re.MULTILINE)


def test_install_takes_along_all_that_runs() -> None:
    content = re.search(r"release_content=\((.*?)\)", (ROOT / "scripts" / "node-files").read_text(), re.DOTALL)
    assert content is not None
    taken = content[1].split()
    assert all((ROOT / path).exists() for path in taken)
    assert {"edge", "query_service", "commands", "imhearing.py", "requirements.txt", "scripts", "deploy"} <= set(taken)


@pytest.mark.parametrize("arguments", [["--frobnicate"], ["--config"]])
def test_wrong_usage_of_install_does_nothing(arguments: list[str]) -> None:
    done = subprocess.run([str(ROOT / "scripts" / "install"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Usage" in done.stderr


@pytest.mark.parametrize("script", ["install", "uninstall"])
def test_help_comes_from_the_script_itself(script: str) -> None:
    done = subprocess.run([str(ROOT / "scripts" / script), "--help"], capture_output=True, text=True, check=True)
    assert "--dry-run" in done.stdout
