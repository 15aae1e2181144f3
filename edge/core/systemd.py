"""Tells systemd that a service is ready, alive, and what it does: sd_notify(3), one datagram. Elsewhere: nothing."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

_BEATS = 4  # within the watchdog's timeout
_LONGEST_STATUS = 200  # characters


class Heartbeat:
    """Reports from one service to its supervisor. Any thread; never blocks or raises.

    Whoever calls `beat` vouches that the service does its work, not only that it runs.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._every = _watchdog_seconds(environ) / _BEATS
        self._clock = clock
        self._last: float | None = None
        self._status = ""
        self._socket: socket.socket | None = None

    @property
    def pause(self) -> float:
        """Seconds between two beats that suffice: a second, less where the watchdog is impatient."""
        return min(1.0, self._every or 1.0)

    def beat(self) -> None:
        """The service works now. The first beat also says that it is ready; beats that come too fast are not sent."""
        now = self._clock()
        if self._last is None:
            self._send("READY=1\nWATCHDOG=1")
        elif self._every and now - self._last >= self._every:
            self._send("WATCHDOG=1")
        else:
            return
        self._last = now

    def status(self, text: str) -> None:
        """What `systemctl status` shows of the service: one line."""
        line = " ".join(text.split())[:_LONGEST_STATUS]
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def stopping(self) -> None:
        """The service is shutting down."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            # a supervisor that does not read must not hold up recording
            self._socket.sendto(state.encode(), socket.MSG_DONTWAIT, self._address)
        except OSError as problem:
            log.debug("the supervisor did not take %r: %s", state, problem)


def _address(name: str) -> str:
    """In the form that sockets take: `@` starts a name in Linux's abstract namespace. Empty for anything else."""
    if name.startswith("@"):
        return f"\0{name[1:]}"
    return name if name.startswith("/") else ""


def _watchdog_seconds(environ: Mapping[str, str]) -> float:
    """The watchdog's timeout for this process (sd_watchdog_enabled(3)); 0: there is no watchdog."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and microseconds.isascii() else 0.0
