"""The systemd units: their promises, and that they match the code and scripts/install."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from commands.cli import help_texts
from edge.configuration import loader as config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
OURS = [unit for unit in UNITS if unit.name != "imhearing-broker.service"]


def lines(unit: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def name(unit: Path) -> str:
    return unit.stem


def test_there_are_units_for_four_services() -> None:
    assert [unit.stem.removeprefix("imhearing-") for unit in UNITS] == [
        "archiver",
        "broker",
        "query-service",
        "recorder",
    ]


@pytest.mark.parametrize("unit", UNITS, ids=name)
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_the_sandbox_exposure_is_low(unit: Path) -> None:
    """At most 1.4, but for the recorder (sound cards): 1.5."""
    threshold = 15 if unit.stem == "imhearing-recorder" else 14
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={threshold}", "--no-pager", str(unit)],
        capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert "Overall exposure level" in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout[-200:]


@pytest.mark.parametrize("unit", UNITS, ids=name)
def test_the_unit_depends_on_nothing_and_always_restarts(unit: Path) -> None:
    for key in ("After", "Wants", "Requires", "BindsTo", "Requisite"):
        assert not lines(unit, key)
    assert lines(unit, "Restart") == ["always"]
    assert lines(unit, "StartLimitIntervalSec") == ["0"]
    for key in ("RestartSteps", "RestartMaxDelaySec", "MemoryMax"):
        assert lines(unit, key)


@pytest.mark.parametrize("unit", OURS, ids=name)
def test_each_service_has_a_user_of_its_own_and_a_group_in_common(unit: Path) -> None:
    user = {"imhearing-query-service": "imhearing-query"}.get(unit.stem, unit.stem)
    assert (lines(unit, "User"), lines(unit, "Group")) == ([user], ["imhearing"])
    assert not lines(unit, "StateDirectory")  # systemd would give the whole folder to each in turn
    assert lines(unit, "UMask") == ["0027"]
    assert lines(unit, "ReadWritePaths") == ([] if user == "imhearing-query" else ["/var/lib/imhearing"])


def test_a_commit_in_which_the_archiver_was_killed_is_undone_when_it_has_stopped() -> None:
    archiver = DEPLOY / "imhearing-archiver.service"
    [command], [start] = lines(archiver, "ExecStopPost"), lines(archiver, "ExecStart")
    # of which systemd 252 still names the folder, but lets nobody read it
    assert command == "-/usr/bin/env --unset=CREDENTIALS_DIRECTORY " + start.replace(" archiver ", " catalog recover ")


@pytest.mark.parametrize("unit", OURS, ids=name)
def test_the_service_notifies_systemd_and_has_a_watchdog(unit: Path) -> None:
    assert lines(unit, "Type") == ["notify"]
    assert lines(unit, "WatchdogSec")


@pytest.mark.parametrize("unit", OURS, ids=name)
def test_the_unit_starts_an_existing_command(unit: Path) -> None:
    [command] = lines(unit, "ExecStart")
    program, verb, *_ = command.split()
    assert program == "/opt/imhearing/current/.venv/bin/imhearing"
    assert verb in {each.name for each in help_texts.COMMANDS}


@pytest.mark.parametrize("unit", OURS, ids=name)
def test_the_credentials_are_secret_settings_of_its_own_role(unit: Path) -> None:
    known = {f"imhearing_{section}_{key}" for section, key in config._SECRETS}
    given = set(lines(unit, "LoadCredential"))
    assert given <= known
    assert "imhearing_mqtt_control_password" not in given
    role = {"imhearing-query-service": "query"}.get(unit.stem, unit.stem.removeprefix("imhearing-"))
    assert f"imhearing_mqtt_{role}_password" in given
    for other in {"recorder", "archiver", "query"} - {role}:
        assert f"imhearing_mqtt_{other}_password" not in given
    # what passes the owner's orders on cannot make the proof that those who carry them out check
    assert ("imhearing_mqtt_page_password" in given) == (role == "query")
    assert ("imhearing_http_owner_key" in given) == (role != "query")


def test_every_secret_setting_is_an_optional_credential_of_its_service() -> None:
    """`LoadCredential=NAME` without a path looks in /etc/credstore, and goes on where there is no such file."""
    given = {credential for unit in OURS for credential in lines(unit, "LoadCredential")}
    unused = {"imhearing_mqtt_control_password", "imhearing_ably_token"}  # people's commands alone log in with them
    assert given == {f"imhearing_{section}_{key}" for section, key in config._SECRETS} - unused
    assert not any(":" in credential for credential in given)
    assert "imhearing_http_token" in lines(DEPLOY / "imhearing-query-service.service", "LoadCredential")


def test_only_the_recorder_may_use_sound_cards_and_it_can_read_the_clock() -> None:
    devices = {unit.stem: lines(unit, "DeviceAllow") for unit in UNITS}
    assert [stem for stem, allowed in devices.items() if allowed] == ["imhearing-recorder"]
    recorder = DEPLOY / "imhearing-recorder.service"
    assert lines(recorder, "BindPaths") == ["-/dev/snd"]
    assert "adjtimex clock_adjtime" in lines(recorder, "SystemCallFilter")
    assert not lines(recorder, "ProcSubset")  # /proc/sys/kernel/random/boot_id
    assert not lines(recorder, "ProtectClock")


def test_what_lies_in_memory_alone_is_in_a_folder_of_the_recorder_that_survives_its_restart() -> None:
    recorder = DEPLOY / "imhearing-recorder.service"
    assert lines(recorder, "RuntimeDirectory") == ["imhearing-recorder"]
    assert lines(recorder, "RuntimeDirectoryMode") == ["0750"]
    assert lines(recorder, "RuntimeDirectoryPreserve") == ["yes"]


def test_the_query_service_is_limited_to_1024_file_descriptors() -> None:
    assert lines(DEPLOY / "imhearing-query-service.service", "LimitNOFILE") == ["1024"]


@pytest.mark.parametrize("script", ["install", "setup", "uninstall", "try-fresh"])
def test_scripts_run_python_in_isolated_mode(script: str) -> None:
    calls = re.findall(
        r"python3?\"? (?:-\S+ )*-[cm] .*|python\"? (?:-\S+ )*- .*", (ROOT / "scripts" / script).read_text()
    )
    isolated = [call for call in calls if " -I " in call or call.startswith("python -")]  # `python`: install's own
    assert calls == isolated
    if script == "install":
        assert '.venv/bin/python" -I "$@"' in (ROOT / "scripts" / script).read_text()


@pytest.mark.parametrize("script", ["install", "setup", "uninstall"])
def test_scripts_leave_the_callers_folder(script: str) -> None:
    assert re.search(r"^cd /( |$)", (ROOT / "scripts" / script).read_text(), re.MULTILINE)


def test_a_release_contains_everything_that_runs() -> None:
    content = re.search(r"release_content=\((.*?)\)", (ROOT / "scripts" / "node-files").read_text(), re.DOTALL)
    assert content is not None
    taken = content[1].split()
    assert all((ROOT / path).exists() for path in taken)
    assert {"edge", "query_service", "commands", "imhearing.py", "requirements.txt", "scripts", "deploy"} <= set(taken)


@pytest.mark.parametrize("arguments", [["--frobnicate"], ["--config"]])
def test_wrong_usage_of_install_exits_with_2(arguments: list[str]) -> None:
    done = subprocess.run([str(ROOT / "scripts" / "install"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Usage" in done.stderr


def test_a_spool_on_another_disk_is_used_after_that_is_mounted_and_a_missing_disk_stops_no_service() -> None:
    functions = re.findall(
        r"^(?:mount_unit|place_text)\(\) \{.*?^\}$", (ROOT / "scripts/install").read_text(), re.M | re.S
    )
    stubs = (
        "findmnt() { case $4 in /mnt/usb*) echo /mnt/usb-1 ;; *) echo / ;; esac; }\n"
        "systemd-escape() { [[ $* == '--path --suffix=mount -- /mnt/usb-1' ]] && echo 'mnt-usb\\x2d1.mount'; }\n"
        "setting() { printf '%s\\n' /mnt/usb-1/spool /srv/catalog; }\n"
    )
    kept = {}
    for service in ("recorder", "query-service"):
        script = "set -eu\n" + stubs + "\n".join(functions) + f"\nplace_text imhearing-{service}.service"
        written = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
        kept[service] = [line for line in written.splitlines() if not line.startswith("#")]
    mounted = ["[Unit]", "Wants=mnt-usb\\x2d1.mount", "After=mnt-usb\\x2d1.mount"]
    writable = ["[Service]", 'ReadWritePaths="-/mnt/usb-1/spool"', 'ReadWritePaths="-/srv/catalog"']
    assert kept == {"recorder": [*mounted, *writable], "query-service": mounted}


@pytest.mark.parametrize("script", ["install", "uninstall"])
def test_scripts_print_their_help(script: str) -> None:
    done = subprocess.run([str(ROOT / "scripts" / script), "--help"], capture_output=True, text=True, check=True)
    assert "--dry-run" in done.stdout
