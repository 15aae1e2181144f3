"""`imhearing recorder | archiver | query-service | realtime-server`: one process each, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from commands.cli import logs
from commands.cli.common import load_settings
from edge import __version__
from edge.configuration.settings import Settings
from edge.core.errors import ConfigError, ImHearingError

log = logging.getLogger(__name__)

_PATIENCE = 10.0  # seconds from the signal to the end by force: nothing here depends on an orderly end

Service = Callable[[Settings, threading.Event], None]


def recorder(args: argparse.Namespace) -> int:
    from edge.recorder.service import run  # noqa: PLC0415 -- each process imports its own libraries only

    return _serve(args, "recorder", run)


def archiver(args: argparse.Namespace) -> int:
    from edge.archiver.service import run  # noqa: PLC0415

    return _serve(args, "archiver", run)


def query_service(args: argparse.Namespace) -> int:
    from query_service.service import run  # noqa: PLC0415

    return _serve(args, "query-service", run)


def realtime_server(args: argparse.Namespace) -> int:
    from query_service.loopback.server import main  # noqa: PLC0415

    chosen = load_settings(args)
    logs.set_up(chosen.log, "realtime-server")
    host, _, port = chosen.ably.endpoint.rstrip("/").rpartition(":")
    if host != "127.0.0.1" or not port.isdigit():
        raise ConfigError([f"[ably] endpoint = {chosen.ably.endpoint!r}: expected 127.0.0.1:PORT, as `up` writes it"])
    return main(int(port), chosen.ably.api_key)


def _serve(args: argparse.Namespace, name: str, run: Service) -> int:
    chosen = load_settings(args)
    logs.set_up(chosen.log, name)
    stop = threading.Event()
    asked: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) == 1:
            # in a thread: the main one may hold the event's or the log's lock just now
            threading.Thread(target=_end, args=(number, stop), daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    log.info("%s %s starts, node %s", name, __version__, chosen.node.name)
    try:
        run(chosen, stop)
    except ImHearingError as problem:
        log.error("%s", problem)  # noqa: TRY400 -- what is wrong is all there is to say; the log file gets it too
        return problem.exit_code
    log.info("%s has ended", name)
    return 0


def _end(number: int, stop: threading.Event) -> None:
    stop.set()
    log.info("asked to end (%s)", signal.Signals(number).name)
    time.sleep(_PATIENCE)
    log.error("still busy %.0f s after the signal to end; ending by force", _PATIENCE)
    os._exit(1)
