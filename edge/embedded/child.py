"""One child process: started on a leash, its output in a log file, ended orderly or by force."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

from edge.core.errors import ImHearingError

_LEASH = Path(__file__).with_name("leash.py")
_KEEP_LOG = 1_000_000  # bytes of a log that goes on at the next start; a larger one is moved aside
_TAIL = 4_096  # bytes looked at for the last lines


class Part(NamedTuple):
    """One program of the node and how to run it. `environ` comes on top of our own."""

    name: str
    command: tuple[str, ...]
    log: Path
    environ: Mapping[str, str] = {}
    port: int | None = None  # it is ready once it accepts connections on this loopback port
    orphan_signal: signal.Signals = signal.SIGKILL  # what it gets when we vanish


class Child:
    """A running `Part`. The kernel ends it with the *thread* that made it: make it in one that lives on."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.started = time.monotonic()
        leash = [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), str(int(part.orphan_signal))]
        try:
            with _open_log(part.log) as log:
                self._process = subprocess.Popen(
                    [*leash, *part.command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **part.environ},
                    start_new_session=True,  # Ctrl-C in the terminal is for us, not for our children
                )
        except OSError as problem:
            raise ImHearingError(f"{part.name} cannot be started: {problem}") from None

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative: ended by that signal."""
        return self._process.poll()

    def ask_to_end(self) -> None:
        if self.exit_code() is None:
            self._process.terminate()

    def end(self, timeout: float) -> bool:
        """Waits `timeout` seconds for its end, then kills it and what it started; False if that was needed."""
        orderly = True
        try:
            self._process.wait(max(timeout, 0))
        except subprocess.TimeoutExpired:
            orderly = False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        return orderly

    def last_words(self, lines: int = 3) -> list[str]:
        """The last lines that it wrote."""
        return read_tail(self.part.log)[-lines:]


def read_tail(log: Path) -> list[str]:
    """The last lines of a log file, none when it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()]


def trim_log(log: Path, limit: int = 5_000_000) -> None:
    """Moves what a log larger than `limit` bytes holds to `.1`; its writer appends, so it simply goes on."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > limit:
            log.with_name(log.name + ".1").write_bytes(log.read_bytes())
            os.truncate(log, 0)


def _open_log(log: Path) -> IO[bytes]:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    trim_log(log, _KEEP_LOG)
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "ab")
