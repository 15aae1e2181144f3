"""A real Mosquitto on a free loopback port."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edge.embedded import ports
from edge.embedded.child import Child
from edge.embedded.servers import broker_process
from tests.support.wait import wait_until


class BrokerAddress(NamedTuple):
    host: str
    port: int


@contextlib.contextmanager
def running_broker(port: int | None = None) -> Iterator[BrokerAddress]:
    """Yields (host, port) of a broker without any state; `port` to restart one on the same port."""
    chosen = ports.choose(port, timeout=5)
    with tempfile.TemporaryDirectory(prefix="imhearing-broker-") as folder:
        child = Child(broker_process(chosen, Path(folder), Path(folder) / "broker.log"))
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
        self._child = Child(broker_process(self.port, self._folder, self._folder / "broker.log"))
        wait_until(lambda: ports.answers(self.port), "the broker answers")

    def kill(self) -> None:
        os.kill(self._child.pid, signal.SIGKILL)
        self._child.end(5)
        (self._folder / "mosquitto.db").unlink(missing_ok=True)
