"""The store that `imhearing up` serves, for a command that needs it while `up`, and with it the archiver, is ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from commands.up.plan import recall
from edge.configuration.settings import Settings
from edge.embedded import ports
from edge.embedded.store import store_part
from edge.embedded.supervisor import Supervisor

_END_SECONDS = 2.0


@contextlib.contextmanager
def local_store(folder: Path, chosen: Settings) -> Iterator[None]:
    """Serves `folder`'s store meanwhile, if that is the one in `chosen` and nobody serves it. ImHearingError."""
    memory = recall(folder)
    port = memory.store_port
    if port is None or chosen.s3.endpoint_url != f"http://{ports.LOOPBACK}:{port}" or not ports.is_free(port):
        yield
        return
    supervisor = Supervisor()
    log = folder / "logs" / "store.log"
    supervisor.start(store_part(port, folder / "store", memory.store_key_id, memory.store_secret, log))
    try:
        supervisor.wait_ready()
        yield
    finally:
        supervisor.stop_all(_END_SECONDS)
