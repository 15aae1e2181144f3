"""One child process, which dies with its parent: its output goes to a log file, and it is stopped or killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from edge.core.errors import ImHearingError

_WRAPPER = Path(__file__).with_name("die_with_parent.py")
_MAX_OLD_LOG = 1_000_000  # bytes; a larger log is rotated before the next start
_TAIL_BYTES = 4_096


class ProcessSpec(NamedTuple):
    """A program and how to run it. `environ` is added to our own environment; `prepare` runs before each start,
    `clean_up` after it has exited by itself."""

    name: str
    command: tuple[str, ...]
    log: Path
    environ: Mapping[str, str] = {}
    port: int | None = None  # ready once it accepts connections on this loopback port,
    inherits_port: bool = False  # which we hold for it as systemd does: nobody else can take it while it is down
    socket: Path | None = None  # or on this Unix socket
    orphan_signal: signal.Signals = signal.SIGKILL  # sent to it if we die
    prepare: Callable[[], object] = lambda: None
    clean_up: Callable[[], object] = lambda: None


class Child:
    """A running process. The kernel ends it with the *thread* that started it: use one that lives on."""

    def __init__(self, spec: ProcessSpec, listener: socket.socket | None = None) -> None:
        """`listener`: what it inherits."""
        self.spec = spec
        self.started = time.monotonic()
        spec.prepare()
        inherited = () if listener is None else (listener.fileno(),)
        numbers = (os.getpid(), int(spec.orphan_signal), *(inherited or (-1,)))
        wrapper = [sys.executable, "-I", "-S", str(_WRAPPER), *map(str, numbers)]
        try:
            with _open_log(spec.log) as log:
                self._process = subprocess.Popen(
                    [*wrapper, *spec.command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **spec.environ},
                    pass_fds=inherited,
                    start_new_session=True,  # Ctrl-C in the terminal is for us only
                )
        except OSError as problem:
            raise ImHearingError(f"{spec.name} cannot be started: {problem}") from None

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it is running; negative if a signal ended it."""
        return self._process.poll()

    def terminate(self) -> None:
        if self.exit_code() is None:
            self._process.terminate()

    def end(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds, then kills it and all its children; False if it had to be killed."""
        exited = True
        try:
            self._process.wait(max(timeout, 0))
        except subprocess.TimeoutExpired:
            exited = False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        return exited

    def last_lines(self, lines: int = 3) -> list[str]:
        """The last lines of its output."""
        return read_tail(self.spec.log)[-lines:]


def read_tail(log: Path) -> list[str]:
    """The last lines of a log file; none if it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()]


def trim_log(log: Path, limit: int = 5_000_000) -> None:
    """Moves the content of a log larger than `limit` bytes to `.1`; its writer appends, so it can keep writing."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > limit:
            log.with_name(log.name + ".1").write_bytes(log.read_bytes())
            os.truncate(log, 0)


def _open_log(log: Path) -> IO[bytes]:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    trim_log(log, _MAX_OLD_LOG)
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "ab")
