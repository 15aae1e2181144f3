"""A pseudo-terminal of a given size, and a command that runs in it."""

from __future__ import annotations

import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from fcntl import ioctl

from tests.support.wait import DEADLINE

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Runs `command` on standard input and output of a terminal; standard error too, unless `apart`."""

    def __init__(
        self, command: Sequence[str], rows: int, columns: int, *, apart: bool = False, **environment: str
    ) -> None:
        self._ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL if apart else theirs,
            env={**inherited, "TERM": "xterm-256color", **environment},
        )  # fmt: skip
        os.close(theirs)
        self._data = b""

    @property
    def shown(self) -> str:
        return self._data.decode("utf-8", "replace")

    def read_until(self, *patterns: str) -> str:
        """What has been shown since the start, once it has a match of all `patterns`; without any: to its end."""
        deadline = time.monotonic() + DEADLINE
        while not patterns or not all(re.search(pattern, self.shown) for pattern in patterns):
            assert time.monotonic() < deadline, self.shown[-3_000:]
            ready, _, _ = select.select([self._ours], [], [], 0.5)
            if not ready:
                continue
            try:
                more = os.read(self._ours, 65_536)
            except OSError:  # the other end is closed
                break
            if not more:
                break
            self._data += more
        return self.shown

    def close(self) -> None:
        os.close(self._ours)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def plain(text: str) -> str:
    """Without control sequences, lines ended as in files."""
    return _CONTROL.sub("", text).replace("\r\n", "\n")
