"""`imhearing recorder | archiver | query-service | realtime-server`: runs one service until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType

from commands.cli import logs
from commands.cli.common import load_settings
from edge import __version__
from edge.configuration.settings import Settings
from edge.core.errors import ConfigError, ImHearingError
from edge.core.local_zone import unknown_zone

log = logging.getLogger(__name__)

_STOP_TIMEOUT = 10.0  # seconds until a service that does not stop is killed, which loses nothing

Service = Callable[[Settings, threading.Event], None]


def recorder(args: argparse.Namespace) -> int:
    from edge.recorder.service import run  # noqa: PLC0415 -- each process imports only its own libraries

    return _serve(args, "recorder", run)


def archiver(args: argparse.Namespace) -> int:
    from edge.archiver.service import run  # noqa: PLC0415

    return _serve(args, "archiver", partial(run, read_settings=lambda: load_settings(args)))


def query_service(args: argparse.Namespace) -> int:
    from query_service.service import run  # noqa: PLC0415

    return _serve(args, "query-service", run)


def realtime_server(args: argparse.Namespace) -> int:
    from query_service.loopback.server import main  # noqa: PLC0415

    settings = load_settings(args)
    logs.set_up(settings.log, "realtime-server")
    host, _, port = settings.ably.endpoint.rstrip("/").rpartition(":")
    if host != "127.0.0.1" or not port.isdigit():
        raise ConfigError(
            [f"[ably] endpoint = {settings.ably.endpoint!r}: expected 127.0.0.1:PORT, as written by `imhearing up`"]
        )
    return main(int(port), settings.ably.api_key)


def _serve(args: argparse.Namespace, name: str, run: Service) -> int:
    settings = load_settings(args)
    logs.set_up(settings.log, name)
    stop = threading.Event()
    signals: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        if len(signals) == 1:
            # in a thread, as the main thread may hold the event's or the log's lock
            threading.Thread(target=_stop, args=(number, stop), daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    log.info("%s %s started, node %s", name, __version__, settings.node.name)
    if zone := unknown_zone(os.environ):
        log.warning("TZ=%s: no such time zone here, so local times are UTC; install tzdata, or correct TZ", zone)
    try:
        run(settings, stop)
    except ImHearingError as problem:
        log.error("%s", problem)  # noqa: TRY400 -- the message is enough without a traceback
        return problem.exit_code
    log.info("%s stopped", name)
    return 0


def _stop(number: int, stop: threading.Event) -> None:
    stop.set()
    log.info("stopping (%s)", signal.Signals(number).name)
    threading.Event().wait(_STOP_TIMEOUT)  # not time.sleep, which fails under libfaketime
    log.error("still running %.0f s after the signal to stop; exiting now", _STOP_TIMEOUT)
    os._exit(1)
