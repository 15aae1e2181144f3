"""What several commands need: the settings that were asked for, words to people, JSON to programs."""

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

_SCRATCH = ".imhearing-"


def data_dir(args: argparse.Namespace) -> Path:
    """The node's folder: --data, else the platform's."""
    chosen: Path = args.data if args.data is not None else config.default_data_dir()
    return chosen.expanduser().absolute()


def settings(args: argparse.Namespace) -> Settings:
    """What --data, --config and --set, the environment and DIR/config.ini say together. ConfigError."""
    return config.load(data_dir(args), args.config, args.overrides)


def settings_with_broker(args: argparse.Namespace) -> Settings:
    """The same where a broker is needed. ConfigError when none is named."""
    chosen = settings(args)
    if not chosen.mqtt.host:
        raise ConfigError(
            [
                f"no MQTT broker is known in {data_dir(args)}; start `imhearing up` with the same --data,"
                " or name the broker with --set mqtt.host=HOST"
            ]
        )
    return chosen


def settings_to_ask(args: argparse.Namespace) -> Settings:
    """The same to ask a node with. ImHearingError where the node should be in a folder and is not, or no way is set."""
    chosen = settings(args)
    via = getattr(args, "via", "local")
    if lacking := _lacking(via, chosen):
        raise ConfigError(
            [
                f"{lacking} in the settings of {data_dir(args)}; name the folder of an `imhearing up` with --data,"
                " your settings with --config, or ask another way"
            ]
        )
    if via == "local" and not chosen.recorder.record_path.is_dir():
        raise ImHearingError(
            f"no node has recorded in {data_dir(args)} yet ({chosen.recorder.record_path.name} is not there);"
            " start `imhearing up`, or name the node's folder with --data"
        )
    return chosen


def _lacking(via: str, chosen: Settings) -> str:
    """What is not set and `via` cannot do without; empty when all is there."""
    if via == "ably" and not chosen.ably.api_key.reveal() and not chosen.ably.token.reveal():
        return "[ably] api_key and [ably] token: both are empty"
    if via == "mqtt" and not chosen.mqtt.host:
        return "[mqtt] host: names no broker to ask through"
    if via == "http" and not chosen.http.port and not chosen.http.url:
        return "[http] port and [http] url: there is no HTTP door"
    return ""


def chosen_node(args: argparse.Namespace, chosen: Settings) -> str:
    """--node, else the configured one. UsageError where it can be no node's name."""
    name: str = args.node or chosen.node.name
    if not is_node_name(name):
        raise UsageError(f"{name[:60]!r} is no node's name; allowed are a-z, 0-9, _ and -, at most 63")
    return name


def now() -> Instant:
    return Instant.from_seconds(time.time())


@contextlib.contextmanager
def writing(what: str) -> Iterator[None]:
    """Around `fetch` and `export`: what the file system refuses to take becomes ImHearingError; other errors pass."""
    try:
        yield
    except OSError as problem:
        # both write into a scratch folder of that name first, beside where it shall be
        ours = _SCRATCH in str(problem.filename or "")
        if not ours and problem.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise ImHearingError(
            f"{what}: cannot be written ({problem.strerror}); name another place, or make room there"
        ) from None


def say(text: str) -> None:
    """A line to people, or lines: standard error, so that standard output stays what was asked for.

    Control characters in it, which others may have written, do nothing to the terminal.
    """
    print("\n".join(map(escaped, text.split("\n"))), file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    sys.stdout.write(wire.encode(value).decode() + "\n")
    sys.stdout.flush()
