"""Serves the local store of `imhearing up` for a command that needs it while `up` and its archiver are stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from commands.up.plan import load_state
from edge.configuration.settings import Settings
from edge.embedded import ports
from edge.embedded.servers import store_process
from edge.embedded.supervisor import Supervisor

_STOP_SECONDS = 2.0


@contextlib.contextmanager
def local_store(folder: Path, settings: Settings) -> Iterator[None]:
    """Serves the store in `folder`, if `settings` use it and it is not running already. ImHearingError."""
    state = load_state(folder)
    port = state.store_port
    if port is None or settings.s3.endpoint_url != f"http://{ports.LOOPBACK}:{port}" or not ports.is_free(port):
        yield
        return
    supervisor = Supervisor()
    log = folder / "logs" / "store.log"
    supervisor.start(store_process(port, folder / "store", state.store_key_id, state.store_secret, log))
    try:
        supervisor.wait_ready()
        yield
    finally:
        supervisor.stop_all(_STOP_SECONDS)
