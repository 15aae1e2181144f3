"""Processes of a life: started without root's rights, restarted when they end, as systemd would."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_RESTART_SECONDS = 0.5
_POLL_SECONDS = 0.02


def is_root() -> bool:
    return os.geteuid() == 0


def unprivileged(command: Sequence[str]) -> list[str]:
    """`command` without a single capability, so that modes and read-only mounts hold for it as for any user; and it
    dies with us.

    (A user other than root may not reach the Python interpreter, which often lies below /root.)
    """
    rights = ["--inh-caps=-all", "--bounding-set=-all"] if is_root() else []
    return ["setpriv", "--pdeathsig=KILL", "--no-new-privs", *rights, *command]


class Process:
    """One service or server. While it is wanted, it is started again half a second after it has ended."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name, self.starts = name, 0
        self.exit_codes: list[int] = []
        self._command, self._environment, self._log = unprivileged(command), dict(environment), log
        self._wanted = threading.Event()
        self._held_back = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._wanted.set()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._supervise, name=self.name, daemon=True)
            self._thread.start()

    def stop(self, timeout: float = 30.0) -> int | None:
        """SIGTERM, and its exit code; None if it had to be killed."""
        self._wanted.clear()
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return None
        if self._thread is not None:
            self._thread.join()
        return process.returncode if process is not None else 0

    def send(self, number: signal.Signals) -> bool:
        """False if it is not running."""
        process = self._process
        if process is None or process.poll() is not None:
            return False
        process.send_signal(number)
        return True

    def kill(self) -> bool:
        """True once it is dead of it."""
        process = self._process
        if process is None or not self.send(signal.SIGKILL):
            return False
        return process.wait() == -signal.SIGKILL

    def hold_back(self, seconds: float) -> None:
        """It is not started again before that."""
        self._held_back = time.monotonic() + seconds

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def _supervise(self) -> None:
        while self._wanted.is_set():
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
                )
            self.starts += 1
            while self._process.poll() is None:
                time.sleep(_POLL_SECONDS)
            self.exit_codes.append(self._process.returncode)
            self._held_back = max(self._held_back, time.monotonic() + _RESTART_SECONDS)
            while self._wanted.is_set() and time.monotonic() < self._held_back:
                time.sleep(_POLL_SECONDS)
