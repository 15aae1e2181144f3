"""What several commands need: the settings that were asked for, words to people, JSON to programs."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from edge import config, wire
from edge.errors import ConfigError, ImHearingError, UsageError
from edge.instant import Instant
from edge.names import is_node_name
from edge.settings import Settings


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
    """The same to ask a node with. ImHearingError where the node should be in a folder and is not."""
    chosen = settings(args)
    if getattr(args, "via", "local") == "local" and not chosen.recorder.record_path.is_dir():
        raise ImHearingError(
            f"no node has recorded in {data_dir(args)} yet ({chosen.recorder.record_path.name} is not there);"
            " start `imhearing up`, or name the node's folder with --data"
        )
    return chosen


def chosen_node(args: argparse.Namespace, chosen: Settings) -> str:
    """--node, else the configured one. UsageError where it can be no node's name."""
    name: str = args.node or chosen.node.name
    if not is_node_name(name):
        raise UsageError(f"{name[:60]!r} is no node's name; allowed are a-z, 0-9, _ and -, at most 63")
    return name


def now() -> Instant:
    return Instant.from_seconds(time.time())


def say(text: str) -> None:
    """One line to people: standard error, so that standard output stays what was asked for."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    sys.stdout.write(wire.encode(value).decode() + "\n")
    sys.stdout.flush()
