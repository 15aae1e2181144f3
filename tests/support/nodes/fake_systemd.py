"""A stand-in for systemd: the socket to which services report that they are ready and alive (sd_notify(3))."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path


class FakeSystemd:
    """Listens on `address`, which services find in `environ`; `seconds` is their watchdog interval."""

    def __init__(self, address: str, seconds: float) -> None:
        self.seconds = seconds
        self.environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(round(seconds * 1e6))}
        self.states: list[str] = []
        self._beat_at = time.monotonic()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.setblocking(False)

    def receive(self) -> list[str]:
        """The messages received since the last call."""
        new: list[str] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                new.append(self._socket.recv(4_096).decode())
        if any("WATCHDOG=1" in state for state in new):
            self._beat_at = time.monotonic()
        self.states += new
        return new

    def is_ready(self) -> bool:
        self.receive()
        return any("READY=1" in state for state in self.states)

    def would_kill(self) -> bool:
        """Whether the service has sent no keep-alive for the watchdog interval."""
        self.receive()
        return self.is_ready() and time.monotonic() - self._beat_at > self.seconds

    def status(self) -> str:
        """The last status reported."""
        self.receive()
        statuses = [line for state in self.states for line in state.splitlines() if line.startswith("STATUS=")]
        return statuses[-1].removeprefix("STATUS=") if statuses else ""

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def fake_systemd(seconds: float = 2.0) -> Iterator[FakeSystemd]:
    with tempfile.TemporaryDirectory(prefix="imhearing-notify-") as folder:
        made = FakeSystemd(str(Path(folder) / "notify"), seconds)
        try:
            yield made
        finally:
            made.close()
