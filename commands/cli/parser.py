"""The command line's options. Imports nothing but argparse: `imhearing --help` must come at once."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from commands.cli.words import COMMANDS, EPILOG, Words


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, as the commands themselves do, without all options before it."""

    def error(self, message: str) -> NoReturn:
        said = message.removeprefix("argument ")
        # `--last -5m`: argparse takes the value for an option
        said = said.replace("expected one argument", "a value is missing, or begins with - like an option")
        self.exit(2, f"imhearing: {said}; see `{self.prog} --help`\n")


if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[_Parser]


def build_parser() -> argparse.ArgumentParser:
    """Every sub-command with its options; `command` in the result is its name."""
    parser = _Parser(
        prog="imhearing",
        description="Records sound without a gap, archives it to S3, and answers what was recorded when.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and end")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    made = {}
    for words in COMMANDS:
        made[words.name] = _parser(commands, words)
        _everywhere(made[words.name])
    made["up"].add_argument("--for", dest="seconds", type=_seconds, metavar="SECONDS", help="end after that long")
    _query(made["query"])
    _fetch(made["fetch"])
    _door(made["watch"], default="mqtt")
    _door(made["status"])
    for name in ("watch", "status", "devices", "doctor", "calibrate"):
        _output(made[name])
    _calibrate(made["calibrate"])
    made["configure"].add_argument("changes", nargs="+", metavar="SECTION.KEY=VALUE", help="what to set; a secret: -")
    made["pause"].add_argument("duration", nargs="?", metavar="DURATION", help="as in 30m or 2h; without: until resume")
    for name in (words.name for words in COMMANDS if words.run.startswith("commands.control:")):
        made[name].add_argument("--node", metavar="NAME", help="which node (default: the configured one)")
        _output(made[name])
    _broker(made["broker-setup"])
    made["token"].add_argument("--client", required=True, metavar="ID", help="who it is for: A-Z, a-z, 0-9, _ and -")
    made["token"].add_argument("--ttl", default="24h", metavar="LENGTH", help="how long it works (24h)")
    made["token"].add_argument("--utc", action="store_true", help="show times in UTC instead of local time")
    _keeping(made)
    return parser


def _query(parser: argparse.ArgumentParser) -> None:
    _range(parser)
    _door(parser)
    parser.add_argument("--type", default="coverage", help="coverage (default), sounds, levels, status or clip")
    parser.add_argument(
        "--order", choices=("loudest", "time"), default="loudest", help="of sounds: the loudest first, or as they came"
    )
    parser.add_argument("--min-level", type=_number, metavar="DB", help="sounds at least that loud (LAFmax)")
    parser.add_argument("--step", type=_step, default=60, metavar="SECONDS", help="length of a step of levels (60)")
    _output(parser)


def _fetch(parser: argparse.ArgumentParser) -> None:
    _range(parser)
    _door(parser)
    into = parser.add_mutually_exclusive_group(required=True)
    into.add_argument("-o", "--output", type=Path, metavar="FILE", help="name.wav, name.flac or name.opus")
    into.add_argument(
        "--export", type=Path, metavar="DIR", help="each chunk whole, DIR/NODE_YYYYMMDD_HHMMSS.wav, with GUANO metadata"
    )
    parser.add_argument(
        "--gaps",
        choices=("silence", "skip", "refuse"),
        default="silence",
        help="where there is no sound: fill with silence (default), leave out, or write no file",
    )
    parser.add_argument(
        "--identity", type=Path, metavar="FILE", help="age private key, as age-keygen wrote it, for encrypted sound"
    )
    _output(parser)


def _keeping(made: dict[str, argparse.ArgumentParser]) -> None:
    made["catalog"].add_argument("action", choices=("verify", "rebuild"), help="look, or make it anew")
    made["catalog"].add_argument("--deep", action="store_true", help="verify: read every archive back")
    _range(made["hold"])
    made["hold"].add_argument("--release", action="store_true", help="no longer hold what lies in this range")
    _range(made["forget"])
    made["forget"].add_argument("--yes", action="store_true", help="do not ask")
    made["forget"].add_argument(
        "--timeout", type=_seconds, default=60.0, metavar="SECONDS", help="to wait until it is done (60)"
    )
    for name in ("catalog", "hold", "forget"):
        _output(made[name])


def _calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--level", type=_number, default=94.0, metavar="DB", help="of the calibrator (94)")
    parser.add_argument("--frequency", type=_number, default=1_000.0, metavar="HZ", help="of the calibrator (1000)")
    parser.add_argument("--known", type=_number, metavar="DB", help="no calibrator: a steady sound of this LAeq")
    parser.add_argument("--seconds", type=_seconds, metavar="SECONDS", help="to listen (10)")
    parser.add_argument("--gain", type=_whole, metavar="PERCENT", help="set the input gain first, 0 to 100")


def _broker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="where the broker will read it")
    parser.add_argument(
        "--name",
        dest="names",
        action="append",
        default=[],
        metavar="HOST",
        help="a name or address of the broker in your network; may be repeated (localhost is one anyway)",
    )
    parser.add_argument("--renew-passwords", action="store_true", help="make new passwords although there are some")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="your own certificate for the broker, not a new one")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its key")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="the certificate of your CA, for clients")


def _parser(commands: _Commands, words: Words) -> argparse.ArgumentParser:
    style = argparse.RawDescriptionHelpFormatter
    if not words.purpose:  # without `help` argparse does not list a command
        return commands.add_parser(
            words.name, description=words.examples, formatter_class=style, allow_abbrev=False
        )  # fmt: skip
    purpose = words.purpose
    return commands.add_parser(
        words.name,
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}.",
        epilog=words.examples,
        formatter_class=style,
        allow_abbrev=False,  # the installed command's wrapper looks for whole names
    )


def _everywhere(parser: argparse.ArgumentParser) -> None:
    common = parser.add_argument_group("with every command")
    common.add_argument("--data", type=Path, metavar="DIR", help="the node's folder (default: your user data folder)")
    common.add_argument("--config", type=Path, metavar="FILE", help="settings (default: DIR/config.ini if it is there)")
    common.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="one setting, as in recorder.record_period=5; may be repeated",
    )


def _range(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which time")
    group.add_argument("--from", dest="start", metavar="T", help="from this time on")
    group.add_argument("--to", dest="end", metavar="T", help="before this time (default: now)")
    group.add_argument("--last", metavar="LENGTH", help="that long until now, as in 10m")


def _door(parser: argparse.ArgumentParser, default: str = "local") -> None:
    parser.add_argument("--via", default=default, help=f"how to ask: local, ably, mqtt or http ({default})")
    parser.add_argument(
        "--node",
        metavar="NAME",
        help="which node (default: the configured one); query and status over Ably: `all` for every one",
    )
    parser.add_argument("--timeout", type=_seconds, default=10.0, metavar="SECONDS", help="to wait for an answer (10)")


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON on standard output, for programs")
    parser.add_argument("--utc", action="store_true", help="show times in UTC instead of local time")


def _number(text: str) -> float:
    value = _float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number")
    return value


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number") from None


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _seconds(text: str) -> float:
    value = _float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number of seconds above 0")
    return value


def _step(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not 1 to 86400 whole seconds")
    return value
