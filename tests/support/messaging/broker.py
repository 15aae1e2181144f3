"""A real Mosquitto on a free loopback port."""

from __future__ import annotations

import contextlib
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
