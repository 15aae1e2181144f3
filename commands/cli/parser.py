"""The command line's options. Imports nothing but argparse, so that `imhearing --help` is instant."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from commands.cli.help_texts import COMMANDS, EPILOG, QUERY_TYPES, Subcommand


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line, as the commands themselves do, without printing the usage first."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuses what it does not know, so that a subcommand points to its own help."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        # `--last -5m`: argparse takes the value for an option
        message = message.replace("expected one argument", "the value is missing, or starts with - like an option")
        # Python 3.13 prints the choices without quotes
        message = re.sub(r"\(choose from .*\)", lambda choices: choices[0].replace("'", ""), message)
        self.exit(2, f"imhearing: {message}; see `{self.prog} --help`\n")


_V = TypeVar("_V", int, float)

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[_Parser]


def build_parser() -> argparse.ArgumentParser:
    """A parser for all subcommands; the parsed `command` is the subcommand's name."""
    parser = _Parser(
        prog="imhearing",
        description="Records sound without gaps, archives it to S3, and answers queries about what was recorded when.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    parsers = {}
    for text in COMMANDS:
        parsers[text.name] = _add_parser(commands, text)
        _add_common_options(parsers[text.name])
        for argument in text.arguments:
            parsers[text.name].add_argument(*argument.names, **argument.options)
    parsers["up"].add_argument("--for", dest="seconds", type=_seconds, metavar="SECONDS", help="stop after this time")
    _add_query_options(parsers["query"])
    _add_fetch_options(parsers["fetch"])
    _add_sound_options(parsers["play"])
    parsers["play"].add_argument("--utc", action="store_true", help="show times in UTC instead of local time")
    _add_door_options(parsers["watch"], default="mqtt")
    _add_door_options(parsers["status"])
    for name in ("watch", "status", "devices", "doctor", "calibrate"):
        _add_output_options(parsers[name])
    _add_calibrate_options(parsers["calibrate"])
    parsers["adopt"].add_argument(
        "--from", dest="old", type=Path, metavar="FOLDER", help="another spool of this node, whose sound moves here"
    )
    parsers["configure"].add_argument(
        "changes", nargs="+", metavar="SECTION.KEY=VALUE", help="a setting; for a secret, use - to be prompted"
    )
    for name in (text.name for text in COMMANDS if text.run.startswith("commands.control:")):
        parsers[name].add_argument("--node", metavar="NAME", help="the node to control (default: the configured one)")
        _add_output_options(parsers[name])
    _add_broker_options(parsers["broker-setup"])
    _add_catalog_options(parsers)
    return parser


def _add_query_options(parser: argparse.ArgumentParser) -> None:
    _add_range_options(parser)
    _add_door_options(parser)
    parser.add_argument("--type", default="coverage", help=QUERY_TYPES)
    parser.add_argument("--order", choices=("loudest", "time"), help="of sounds and levels: loudest first, or by time")
    parser.add_argument("--min-level", type=_number, metavar="DB", help="only sounds at least this loud (LAFmax)")
    parser.add_argument("--step", type=_step, metavar="SECONDS", help="step length of levels (60)")
    parser.add_argument("--zone", metavar="NAME", help="whose days, such as Europe/Berlin (the node's)")
    _add_output_options(parser)


def _add_fetch_options(parser: argparse.ArgumentParser) -> None:
    _add_sound_options(parser)
    into = parser.add_mutually_exclusive_group(required=True)
    into.add_argument("-o", "--output", type=Path, metavar="FILE", help="name.wav, name.flac or name.opus")
    into.add_argument(
        "--export",
        type=Path,
        metavar="DIR",
        help="one WAV file per chunk, DIR/NODE_YYYYMMDD_HHMMSS.wav, with GUANO metadata",
    )
    _add_output_options(parser)


def _add_sound_options(parser: argparse.ArgumentParser) -> None:
    _add_range_options(parser)
    _add_door_options(parser)
    parser.add_argument(
        "--gaps",
        choices=("silence", "skip", "refuse"),
        default="silence",
        help="for gaps: insert silence (default), skip them, or refuse the range",
    )
    parser.add_argument(
        "--identity", type=Path, metavar="FILE", help="age private key (from age-keygen) to decrypt sound with"
    )


def _add_catalog_options(parsers: dict[str, argparse.ArgumentParser]) -> None:
    parsers["catalog"].add_argument(
        "action", choices=("verify", "rebuild", "recover"), help="check the catalog, or repair it"
    )
    parsers["catalog"].add_argument("--deep", action="store_true", help="verify: read back every archive")
    _add_range_options(parsers["hold"])
    parsers["hold"].add_argument("--release", action="store_true", help="release the holds in this range")
    _add_range_options(parsers["forget"])
    parsers["forget"].add_argument("--yes", action="store_true", help="do not ask for confirmation")
    parsers["forget"].add_argument(
        "--timeout", type=_seconds, default=60.0, metavar="SECONDS", help="how long to wait for completion (60)"
    )
    for name in ("catalog", "hold", "forget"):
        _add_output_options(parsers[name])


def _add_calibrate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--level", type=_number, default=94.0, metavar="DB", help="level of the calibrator (94)")
    parser.add_argument(
        "--frequency", type=_number, default=1_000.0, metavar="HZ", help="frequency of the calibrator (1000)"
    )
    parser.add_argument("--known", type=_number, metavar="DB", help="without a calibrator: the LAeq of a steady sound")
    parser.add_argument("--seconds", type=_seconds, metavar="SECONDS", help="how long to listen (10)")
    parser.add_argument("--gain", type=_integer, metavar="PERCENT", help="set the input gain first, 0 to 100")


def _add_broker_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="folder that the broker will read")
    parser.add_argument(
        "--name",
        dest="names",
        action="append",
        default=[],
        metavar="HOST",
        help="host name or address of the broker; may be repeated (localhost is always included)",
    )
    parser.add_argument("--page", action="store_true", help="also issue a certificate for the web page: page.crt")
    parser.add_argument("--renew-passwords", action="store_true", help="replace existing passwords")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="your own certificate for the broker")
    parser.add_argument("--key", type=Path, metavar="FILE", help="key of that certificate")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="certificate of your CA, for clients")


def _add_parser(commands: _Commands, text: Subcommand) -> argparse.ArgumentParser:
    style = argparse.RawDescriptionHelpFormatter
    if not text.summary:  # argparse does not list a command without `help`
        return commands.add_parser(text.name, description=text.examples, formatter_class=style, allow_abbrev=False)
    return commands.add_parser(
        text.name,
        help=text.summary,
        description=f"{text.summary[0].upper()}{text.summary[1:]}.",
        epilog=text.examples,
        formatter_class=style,
        allow_abbrev=False,  # the installed command's wrapper scans for full option names
    )


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    common = parser.add_argument_group("common options")
    common.add_argument("--data", type=Path, metavar="DIR", help="the node's folder (default: your user data folder)")
    common.add_argument("--config", type=Path, metavar="FILE", help="settings (default: DIR/config.ini, if it exists)")
    common.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override a setting, such as recorder.record_period=5; may be repeated",
    )


def _add_range_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("time range")
    group.add_argument("--from", dest="start", metavar="T", help="start of the range")
    group.add_argument("--to", dest="end", metavar="T", help="end of the range, exclusive (default: now)")
    group.add_argument("--last", metavar="LENGTH", help="a time span up to now, such as 10m")


def _add_door_options(parser: argparse.ArgumentParser, default: str = "local") -> None:
    parser.add_argument("--via", default=default, help=f"how to reach the node: local, ably, mqtt or http ({default})")
    parser.add_argument(
        "--node",
        metavar="NAME",
        help="the node to ask (default: the configured one); `all` with query and status over Ably",
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=10.0, metavar="SECONDS", help="how long to wait for an answer (10)"
    )


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--utc", action="store_true", help="show times in UTC instead of local time")


def _value(parse: Callable[[str], _V], is_allowed: Callable[[_V], bool], what: str) -> Callable[[str], _V]:
    """The `type` of an option whose value must be `what`."""

    def convert(text: str) -> _V:
        try:
            value = parse(text)
            if is_allowed(value):
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not {what}")

    return convert


_number = _value(float, math.isfinite, "a number")
_seconds = _value(float, lambda value: 0 < value < 1e9, "a positive number of seconds")
_integer = _value(int, lambda _: True, "a whole number")
_step = _value(int, lambda value: 1 <= value <= 86_400, "a whole number of seconds from 1 to 86400")
