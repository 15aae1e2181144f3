"""Shared by the commands: loading settings, messages for people, JSON for programs."""

from __future__ import annotations

import argparse
import contextlib
import errno
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from commands.cli.logs import escaped
from edge.configuration import loader as config
from edge.configuration.settings import Settings
from edge.core import wire
from edge.core.errors import ConfigError, ImHearingError, UsageError
from edge.core.ids import is_node_name
from edge.core.instant import Instant
from edge.spool.home import Home

_SCRATCH = ".imhearing-"


def data_dir(args: argparse.Namespace) -> Path:
    """The node's data folder: --data, else the platform's default. UsageError."""
    folder: Path = args.data if args.data is not None else config.default_data_dir()
    folder = config.expand_user(folder).absolute()
    if not str(folder).isprintable():  # it could not be written to config.ini
        raise UsageError(f"--data {str(folder)!a}: a path with control characters, or not in UTF-8, cannot be used")
    return folder


def load_settings(args: argparse.Namespace) -> Settings:
    """Settings from --data, --config, --set, the environment and DIR/config.ini. ConfigError."""
    return config.load(data_dir(args), args.config, args.overrides)


def load_settings_with_broker(args: argparse.Namespace) -> Settings:
    """Like `load_settings`; ConfigError if no broker is configured."""
    settings = load_settings(args)
    if not settings.mqtt.host:
        raise ConfigError(
            [
                f"no MQTT broker is configured in {data_dir(args)}; start `imhearing up` with the same --data,"
                " or set the broker with --set mqtt.host=HOST"
            ]
        )
    return settings


def load_settings_for_query(args: argparse.Namespace) -> Settings:
    """Like `load_settings`; ImHearingError if --via is not configured, the local node has no data, or its disk is not
    mounted."""
    settings = load_settings(args)
    via = getattr(args, "via", "local")
    if missing := _missing_settings(via, settings):
        raise ConfigError(
            [
                f"{missing} in the settings of {data_dir(args)}; use --data with the folder of an `imhearing up`,"
                " --config with your settings, or another --via"
            ]
        )
    if via == "local":
        Home(settings).check_disk()
    if via == "local" and not settings.recorder.record_path.is_dir():
        raise ImHearingError(
            f"no recordings in {data_dir(args)} yet ({settings.recorder.record_path.name} does not exist);"
            " start `imhearing up`, or set the node's folder with --data"
        )
    return settings


def _missing_settings(via: str, settings: Settings) -> str:
    """Which settings `via` needs but are empty; nothing if it can be used."""
    if via == "ably" and not settings.ably.api_key.reveal() and not settings.ably.token.reveal():
        return "[ably] api_key and [ably] token are both empty"
    if via == "mqtt" and not settings.mqtt.host:
        return "[mqtt] host is empty"
    if via == "http" and not settings.http.port and not settings.http.url:
        return "[http] port and [http] url are both empty"
    return ""


def chosen_node(args: argparse.Namespace, settings: Settings) -> str:
    """--node, else the configured node. UsageError if it is not a valid name."""
    name: str = args.node or settings.node.name
    if not is_node_name(name):
        raise UsageError(f"{name[:60]!r} is not a valid node name; use up to 63 of a-z, 0-9, _ and -")
    return name


def now() -> Instant:
    return Instant.from_seconds(time.time())


@contextlib.contextmanager
def writing(what: str) -> Iterator[None]:
    """Around `fetch` and `export`: turns failed writes into ImHearingError; lets other errors pass."""
    try:
        yield
    except OSError as problem:
        # both first write into a scratch folder of that name, beside the destination
        is_scratch = _SCRATCH in str(problem.filename or "")
        if not is_scratch and problem.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise ImHearingError(
            f"{what}: cannot be written ({problem.strerror}); choose another place, or free some space"
        ) from None


def print_message(text: str) -> None:
    """Prints a message for people on standard error, keeping standard output for results.

    Control characters, which may come from outside, are escaped to protect the terminal.
    """
    print("\n".join(map(escaped, text.split("\n"))), file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    sys.stdout.write(wire.encode(value).decode() + "\n")
    sys.stdout.flush()
