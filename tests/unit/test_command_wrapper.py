"""`deploy/imhearing`: which secrets each command gets, that it has no terminal, and how its output file is made."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from commands.cli import help_texts
from edge.configuration import loader as config
from tests.support.wait import DEADLINE, wait_until

ROOT = Path(__file__).parents[2]
S3 = {"s3_access_key_id", "s3_secret_access_key"}
ABLY = {"ably_api_key", "ably_token"}
CONTROL = {"mqtt_password", "mqtt_control_password"}
OWNER = "http_owner_key"
SERVICES = {f"mqtt_{role}_password" for role in ("recorder", "archiver", "query")}
ALL = {f"{section}_{key}" for section, key in config._SECRETS}
NEEDED: dict[str, set[str]] = {
    "query": S3, "fetch": S3, "play": S3, "watch": CONTROL, "status": CONTROL, "rotate": CONTROL, "archive": CONTROL,
    "pause": set(), "resume": set(), "hold": set(), "forget": set(), "adopt": set(), "devices": set(),
    "calibrate": set(), "catalog": S3, "make-bucket": S3, "token": {"ably_api_key"},
    "page": {"query_cursor_key", OWNER}, "doctor": ALL, "configure": ALL,
    "broker-setup": set(), "unannounce": {"mqtt_password", *SERVICES}, "up": set(), "realtime-server": set(),
    "recorder": {"mqtt_password", "mqtt_recorder_password", OWNER},
    "archiver": {*S3, "mqtt_password", "mqtt_archiver_password", OWNER},
    "query-service": {
        *S3, "mqtt_password", "mqtt_query_password", "mqtt_page_password", "ably_api_key", "http_token",
        "http_owner_password", "http_viewer_password", "query_cursor_key"
    },
}  # fmt: skip


class Wrapper(NamedTuple):
    """The wrapper with its places moved to `folder`, and `runuser` and `id` as root has them."""

    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.folder), "LANG": "C.UTF-8"}

    def program(self, text: str) -> None:
        """What the command runs instead of `imhearing`."""
        self._write("imhearing.real", text)

    def command(self, *arguments: str) -> list[str]:
        return ["sh", str(self.folder / "imhearing"), *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), env=self.environ, capture_output=True, text=True, timeout=DEADLINE, check=False
        )

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


@pytest.fixture
def wrapper(tmp_path: Path) -> Wrapper:
    made = Wrapper(tmp_path)
    text = (ROOT / "deploy" / "imhearing").read_text()
    for place, name in (
        ("/opt/imhearing/current/.venv/bin/imhearing", "imhearing.real"),
        ("/etc/credstore", "credstore"),
        ("/var/tmp/imhearing-fetch", "scratch"),
    ):
        assert place in text
        text = text.replace(place, str(tmp_path / name))
    (tmp_path / "imhearing").write_text(text)
    made._write("bin/runuser", 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"')
    made._write("bin/id", "case $1 in -u) echo 0 ;; -un) echo root ;; esac")
    for program in ("chown", "chmod"):
        made._write(f"bin/{program}", ":")
    (tmp_path / "credstore").mkdir()
    for secret in ALL:
        (tmp_path / "credstore" / f"imhearing_{secret}").write_text(f"the {secret}")
    return made


def given(wrapper: Wrapper, *arguments: str) -> set[str]:
    wrapper.program("env")
    done = wrapper.run(*arguments)
    assert done.returncode == 0, done.stderr
    found = dict(re.findall(r"^IMHEARING_(\w+)=(.*)$", done.stdout, re.MULTILINE))
    assert all(value == f"the {name.lower()}" for name, value in found.items())
    return {name.lower() for name in found}


def test_every_command_is_listed_here() -> None:
    assert set(NEEDED) == {each.name for each in help_texts.COMMANDS}


@pytest.mark.parametrize("command", sorted(set(NEEDED) - {"fetch"}))
def test_a_command_gets_the_secrets_that_it_needs_and_no_others(wrapper: Wrapper, command: str) -> None:
    assert given(wrapper, command) == NEEDED[command]


@pytest.mark.parametrize("arguments", [["page", "link"], ["page", "proof"]])
def test_the_owners_key_is_never_in_a_process_of_the_query_services_user(
    wrapper: Wrapper, arguments: list[str]
) -> None:
    wrapper.program("env")
    wrapper._write("bin/runuser", 'echo "IMHEARING_AS=$2" >&2; while [ "$1" != -- ]; do shift; done; shift; exec "$@"')
    done = wrapper.run(*arguments)
    assert "IMHEARING_HTTP_OWNER_KEY=" in done.stdout
    assert "IMHEARING_AS=imhearing-archiver" in done.stderr


@pytest.mark.parametrize("command", ["query", "status", "watch"])
@pytest.mark.parametrize("form", [["--via", "{}"], ["--via={}"]])
@pytest.mark.parametrize(("via", "needed"), [("ably", ABLY), ("mqtt", CONTROL), ("http", {"http_token"})])
def test_a_way_to_the_node_brings_its_own_secrets_alone(
    wrapper: Wrapper, command: str, form: list[str], via: str, needed: set[str]
) -> None:
    assert given(wrapper, command, *(word.format(via) for word in form)) == needed


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_another_node_is_paused_over_the_broker(wrapper: Wrapper, command: str) -> None:
    assert given(wrapper, command, "--node", "shed") == given(wrapper, command, "--node=shed") == CONTROL


def test_fetch_gets_what_it_needs_and_its_file_is_new(wrapper: Wrapper) -> None:
    wrapper.program('env >&2; for word; do case $word in --output=*) echo sound >"${word#--output=}" ;; esac; done')
    done = wrapper.run("fetch", "-o", str(wrapper.folder / "last.flac"))
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"^IMHEARING_(\w+)=", done.stderr, re.MULTILINE)) == {name.upper() for name in S3}
    assert (wrapper.folder / "last.flac").read_text() == "sound\n"
    assert not list(wrapper.folder.glob("scratch*"))


@pytest.mark.parametrize("planted", ["/dev/null", "victim", "nowhere"])
def test_fetch_writes_to_nothing_that_somebody_put_in_its_way(wrapper: Wrapper, planted: str) -> None:
    """Its name contains the process id, which can be guessed."""
    wrapper.program('for word; do case $word in --output=*) echo sound >"${word#--output=}" ;; esac; done')
    (wrapper.folder / "victim").write_text("mine")
    plant = f'ln -s {planted} {wrapper.folder}/.imhearing-$$; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", plant, "sh", *wrapper.command("fetch", "-o", str(wrapper.folder / "last.flac"))],
        env=wrapper.environ, capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert not (wrapper.folder / "last.flac").exists()
    assert not (wrapper.folder / "last.flac").is_symlink()
    assert (wrapper.folder / "victim").read_text() == "mine"
    assert not (wrapper.folder / "nowhere").exists()


def test_fetch_opens_its_file_neither_through_a_link_nor_over_a_file() -> None:
    """Between the check and the opening somebody may have put one there."""
    [opening] = re.findall(r"\bdd of=.*", (ROOT / "deploy" / "imhearing").read_text())
    assert "conv=excl" in opening
    assert "oflag=nofollow" in opening


# the terminal


def in_terminal(wrapper: Wrapper, *arguments: str) -> tuple[int, int]:
    """Starts it as on a terminal: its process id, and the terminal's other end."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("sh", wrapper.command(*arguments), wrapper.environ)  # noqa: S606 -- with the terminal of this process
    return pid, terminal


@pytest.mark.parametrize("command", [["status"], ["fetch", "-o", "x.flac"]])
def test_a_command_has_no_controlling_terminal(wrapper: Wrapper, command: list[str]) -> None:
    """With one it could write input for root's shell (TIOCSTI)."""
    wrapper.program(f"if (: </dev/tty) 2>/dev/null; then echo has; else echo none; fi >{wrapper.folder}/terminal")
    pid, _ = in_terminal(wrapper, *command)
    os.waitpid(pid, 0)
    assert (wrapper.folder / "terminal").read_text() == "none\n"


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "INT"), (signal.SIGTERM, "TERM"), (signal.SIGHUP, "HUP")])
def test_signals_reach_the_command_whose_exit_code_is_kept(wrapper: Wrapper, number: int, name: str) -> None:
    wrapper.program(f"trap 'kill $!; exit 42' {name}\nsleep 600 &\ntouch {wrapper.folder}/ready\nwait\n")
    pid, terminal = in_terminal(wrapper, "status")
    wait_until((wrapper.folder / "ready").exists, "the command runs")
    if number == signal.SIGINT:
        os.write(terminal, b"\x03")  # Ctrl-C
    else:
        os.kill(pid, number)
    deadline = time.monotonic() + DEADLINE
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(ended[1]) == 42


def test_a_command_reads_what_is_typed(wrapper: Wrapper) -> None:
    """`forget` asks for confirmation."""
    wrapper.program(f'read -r answer; echo "$answer" >{wrapper.folder}/answer')
    pid, terminal = in_terminal(wrapper, "forget")
    os.write(terminal, b"yes\n")
    os.waitpid(pid, 0)
    assert (wrapper.folder / "answer").read_text() == "yes\n"
