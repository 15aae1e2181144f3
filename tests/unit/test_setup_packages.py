"""scripts/setup installs every program that tests, benches and the doctor's remedies call."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.wait import DEADLINE

ROOT = Path(__file__).parents[2]
SETUP = (ROOT / "scripts" / "setup").read_text()

# Where each program comes from; None: every Debian has it, or its absence is a skip that names the package.
PACKAGE_OF = {
    "7z": "p7zip-full", "amixer": "alsa-utils", "arecord": "alsa-utils", "bsdtar": "libarchive-tools",
    "chromium": "chromium", "curl": "curl",
    "espeak-ng": "espeak-ng", "file": "file", "fuser": "psmisc", "ip": "iproute2", "jq": "jq", "mosquitto": "mosquitto",
    "mosquitto_passwd": "mosquitto", "mosquitto_pub": "mosquitto-clients", "mosquitto_sub": "mosquitto-clients",
    "nano": "nano", "openssl": "openssl", "pactl": "pulseaudio-utils", "paplay": "pulseaudio-utils",
    "ping": "iputils-ping", "pulseaudio": "pulseaudio", "strace": "strace", "unzip": "unzip",
    "bash": None, "sh": None,
    "cat": None, "df": None, "du": None, "mount": None, "setpriv": None, "umount": None, "git": None,
    "node": None, "npm": None, "promtool": None, "systemd-analyze": None,  # optional: see the tests that skip
    "imhearing": None, "rclone": None,  # our own environment's
    "aws": None,  # bench.upload installs it
}  # fmt: skip
FOR_THE_NODE = ("amixer", "arecord", "curl", "file", "fuser", "nano", "openssl", "ping", "mosquitto", "mosquitto_sub")
_CALLS = ("run", "Popen", "check_output", "check_call", "call", "which")


def packages(name: str) -> set[str]:
    match = re.search(rf"^{name}=\((.*?)\)", SETUP, re.DOTALL | re.MULTILINE)
    assert match
    return set(match[1].split())


@cache
def called_programs(folder: str) -> list[tuple[str, str]]:
    """Each program that is named in a call that starts or looks for one, and the file."""
    return list(_called_programs(folder))


def _called_programs(folder: str) -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            if node.func.attr not in _CALLS:
                continue
            first = node.args[0]
            if isinstance(first, ast.List) and first.elts:
                first = first.elts[0]
            elif node.func.attr != "which":
                continue
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value, str(path.relative_to(ROOT))


@pytest.mark.parametrize("folder", ["tests", "bench", "commands", "edge", "query_service"])
def test_scripts_setup_installs_every_program_that_is_called(folder: str) -> None:
    installed = packages("node_packages") | packages("dev_packages")
    for program, path in called_programs(folder):
        assert program in PACKAGE_OF, f"{path} calls {program}: name its package here and in scripts/setup"
        package = PACKAGE_OF[program]
        assert package is None or package in installed, f"{path} calls {program}, of {package}"


@pytest.mark.parametrize("program", FOR_THE_NODE)
def test_programs_in_the_doctors_remedies_are_installed_with_the_node(program: str) -> None:
    assert PACKAGE_OF[program] in packages("node_packages")


def required_programs(path: Path) -> set[str]:
    """What a bench hands to `require`: programs, and names of tuples of them."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    required = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "require"]
    return set(re.findall(r"[\w-]+", " ".join(ast.unparse(argument) for call in required for argument in call.args)))


@pytest.mark.parametrize("path", sorted((ROOT / "bench").glob("*.py")), ids=lambda path: path.stem)
def test_a_bench_says_which_of_its_programs_are_missing(path: Path) -> None:
    called = {program for program, file in called_programs("bench") if file == str(path.relative_to(ROOT))}
    of_dev = {program for program in called if PACKAGE_OF[program] in packages("dev_packages")}
    if "import virtual_microphone" in path.read_text() or "VirtualMicrophone, virtual_microphone" in path.read_text():
        of_dev.add("MICROPHONE")
    looked_for = {"unzip", "7z", "bsdtar"} if path.stem == "upload" else set()  # it leaves out those that are missing
    assert of_dev - looked_for <= required_programs(path)


def test_a_bench_without_espeak_ng_ends_with_a_message_that_names_it(tmp_path: Path) -> None:
    for program in ("pulseaudio", "pactl", "paplay", "arecord"):
        (tmp_path / program).symlink_to("/bin/true")
    done = subprocess.run(
        [sys.executable, "-m", "bench.capture", "--seconds", "1"], cwd=ROOT, env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "this bench needs espeak-ng, not installed here; run: scripts/setup --dev\n"


def test_the_search_for_called_programs_finds_known_ones() -> None:
    """That the two tests above have something to judge."""
    found = {program for folder in ("tests", "bench", "commands") for program, _ in called_programs(folder)}
    assert {"espeak-ng", "strace", "pactl"} <= found
