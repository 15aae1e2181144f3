"""A real Mosquitto on a free loopback port, which accepts anybody and has no access rules."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edge.embedded import ports
from edge.embedded.child import Child, ProcessSpec
from edge.embedded.servers import find_mosquitto
from tests.support.wait import wait_until


class BrokerAddress(NamedTuple):
    host: str
    port: int


def open_broker(port: int, folder: Path) -> ProcessSpec:
    """Stores its configuration, its messages and its log in `folder`."""
    lines = [
        f"listener {port} {ports.LOOPBACK}", "allow_anonymous true", "max_packet_size 262144", "set_tcp_nodelay true",
        "persistence true", f"persistence_location {folder}/", "autosave_interval 60", "log_dest stderr",
        "connection_messages false",
    ]  # fmt: skip
    if os.geteuid() == 0:  # it would change its user, which could not write there
        lines.append("user root")
    folder.mkdir(exist_ok=True)
    (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    command = (find_mosquitto(), "-c", str(folder / "mosquitto.conf"))
    return ProcessSpec("broker", command, folder / "broker.log", port=port)


@contextlib.contextmanager
def running_broker(port: int | None = None) -> Iterator[BrokerAddress]:
    """Yields (host, port) of a broker without any state; `port` to restart one on the same port."""
    chosen = ports.choose(port, timeout=5)
    with tempfile.TemporaryDirectory(prefix="imhearing-broker-") as folder:
        child = Child(open_broker(chosen, Path(folder)))
        try:
            wait_until(lambda: ports.listens(child.pid, chosen) or child.exit_code() is not None, "the broker answers")
            assert child.exit_code() is None, child.last_lines()
            yield BrokerAddress(ports.LOOPBACK, chosen)
        finally:
            child.terminate()
            child.end(5)


class RestartableBroker:
    """A Mosquitto with a database on the disk, which is deleted when it is killed."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = ports.choose(None), folder
        self.start()

    def start(self) -> None:
        self._child = Child(open_broker(self.port, self._folder))
        wait_until(lambda: ports.answers(self.port), "the broker answers")

    def kill(self) -> None:
        os.kill(self._child.pid, signal.SIGKILL)
        self._child.end(5)
        (self._folder / "mosquitto.db").unlink(missing_ok=True)
