"""A whole node in a separate folder: `imhearing up` as a child process, as users run it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.wait import DEADLINE, wait_until

_IMHEARING = [sys.executable, "-m", "imhearing"]
ROLES = {
    "recorder": " recorder ",
    "archiver": " archiver ",
    "query-service": " query-service ",
    "realtime": " realtime-server ",
    "broker": "mosquitto ",
    "store": "rclone ",
}


class RunningNode:
    """A running `imhearing up`, and commands on it as from a second terminal."""

    def __init__(self, data: Path, environment: Mapping[str, str], process: subprocess.Popen[bytes]) -> None:
        self.data = data
        self.process = process
        self._environment = dict(environment)

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs one `imhearing` command on this node."""
        command, *rest = arguments
        return subprocess.run(
            [*_IMHEARING, command, "--data", str(self.data), *rest],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def query(self, *arguments: str) -> dict[str, Any]:
        """`imhearing query --json`; an empty answer until the node is ready."""
        done = self.run("query", "--json", *arguments)
        answer: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"intervals": []}
        return answer

    def processes(self) -> dict[str, int]:
        """The process ids of the running processes, by role."""
        found = {}
        for pid in _descendants(self.process.pid):
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                for role, mark in ROLES.items():
                    if mark in line and "die_with_parent" not in line:
                        found[role] = pid
        return found

    def stop(self, timeout: float = DEADLINE) -> int:
        """Presses Ctrl-C, and returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout)


@contextlib.contextmanager
def running_node(data: Path, *settings: str, environment: Mapping[str, str] | None = None) -> Iterator[RunningNode]:
    """`imhearing up` on `data` with `section.key=value` settings; yields once it is recording."""
    inherited = os.environ | (environment or {})
    if not data.exists():
        data.mkdir(mode=0o700)
    sets = [part for setting in settings for part in ("--set", setting)]
    with (data.parent / f"{data.name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*_IMHEARING, "up", "--data", str(data), *sets], env=inherited, stdout=log, stderr=log
        )
        node = RunningNode(data, inherited, process)
        try:
            wait_until(lambda: _is_recording(data) or process.poll() is not None, "the node records")
            assert process.poll() is None, Path(log.name).read_text()
            yield node
        finally:
            try:
                node.stop()
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def _is_recording(data: Path) -> bool:
    state = data / "spool" / "state.json"
    return state.exists() and json.loads(state.read_bytes())["state"] == "recording"


def _descendants(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                yield int(child)
                yield from _descendants(int(child))
