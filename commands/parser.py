"""The command line's words. Imports nothing but argparse: `imhearing --help` must come at once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

_EPILOG = """\
start here:
  imhearing up                              the whole node in this terminal: record, archive, answer
  imhearing query --last 10m                what is there of the last ten minutes (in a second terminal)
  imhearing fetch --last 1m -o last.flac    the last minute as a sound file

exit codes: 0 done, 1 failed, 2 wrong usage, 78 faults in the configuration
`imhearing COMMAND --help` has examples for each command.
"""

_TIMES = """
times:
  2026-03-03T22:00:00Z       RFC 3339, any offset
  '2026-03-03 22:00[:05]'    local time
  22:00, 'yesterday 22:00'   local time, and `now`
  --last 10m, 90s, 2h, 1d    that long until now
"""


if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]


class _Words(NamedTuple):
    """A sub-command: what it is for, and examples. No purpose: it is not listed."""

    name: str
    purpose: str
    examples: str


_COMMANDS = (
    _Words(
        "up",
        "the whole node in this terminal",
        """\
examples:
  imhearing up                                         record from the microphone until Ctrl-C
  imhearing up --data /tmp/try --for 60                for a minute, in a folder of its own
  imhearing up --set recorder.source=synthetic         without a microphone: a made-up scene
  imhearing up --config my.ini                         with your broker, bucket and Ably key
What is not configured is started locally: Mosquitto, an S3 server over a folder, a realtime server.
""",
    ),
    _Words(
        "recorder", "the recorder alone, for systemd", "example:\n  imhearing recorder --config /etc/imhearing.ini\n"
    ),
    _Words(
        "archiver", "the archiver alone, for systemd", "example:\n  imhearing archiver --config /etc/imhearing.ini\n"
    ),
    _Words(
        "query-service",
        "the query service alone, for systemd",
        "example:\n  imhearing query-service --config /etc/imhearing.ini\n",
    ),
    _Words("realtime-server", "", "The local realtime server of `imhearing up`.\n"),
    _Words(
        "query",
        "what was recorded when, and where it is",
        f"""\
examples:
  imhearing query --last 10m
  imhearing query --from '2026-03-03 22:00' --to '2026-03-03 22:10'
  imhearing query --last 1h --json | jq '.intervals[].state'
  imhearing query --last 10m --via ably --node porch   from anywhere
  imhearing query --type status
{_TIMES}""",
    ),
    _Words(
        "fetch",
        "the sound of a range as a WAV or FLAC file, cut to the sample",
        f"""\
examples:
  imhearing fetch --last 1m -o last.flac
  imhearing fetch --from 'yesterday 22:00' --to 'yesterday 22:10' -o evening.wav
  imhearing fetch --last 1h --gaps refuse -o whole.flac     only if nothing is missing
{_TIMES}""",
    ),
    _Words(
        "watch",
        "the node's events and level, live",
        "examples:\n  imhearing watch\n  imhearing watch --json | jq 'select(.topic | endswith(\"sound\"))'\n",
    ),
    _Words(
        "status",
        "whether it records, and what waits; exit code 1 if it does not record",
        "examples:\n  imhearing status\n  imhearing status --json\n",
    ),
    _Words("devices", "the input devices, and which one would be used", "examples:\n  imhearing devices\n"),
)


def build_parser() -> argparse.ArgumentParser:
    """Every sub-command with its options; `command` in the result is its name."""
    parser = argparse.ArgumentParser(
        prog="imhearing",
        description="Records sound without a gap, archives it to S3, and answers what was recorded when.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and end")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    made = {}
    for words in _COMMANDS:
        made[words.name] = _parser(commands, words)
        _everywhere(made[words.name])
    made["up"].add_argument("--for", dest="seconds", type=_seconds, metavar="SECONDS", help="end after that long")
    _range(made["query"])
    _door(made["query"])
    made["query"].add_argument("--type", default="coverage", help="coverage (default) or status")
    _output(made["query"])
    _range(made["fetch"])
    _door(made["fetch"])
    made["fetch"].add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="name.wav or name.flac")
    made["fetch"].add_argument(
        "--gaps",
        choices=("silence", "skip", "refuse"),
        default="silence",
        help="where there is no sound: fill with silence (default), leave out, or write no file",
    )
    _output(made["fetch"])
    for name in ("watch", "status", "devices"):
        _output(made[name])
    return parser


def _parser(commands: _Commands, words: _Words) -> argparse.ArgumentParser:
    style = argparse.RawDescriptionHelpFormatter
    if not words.purpose:  # without `help` argparse does not list a command
        return commands.add_parser(words.name, description=words.examples, formatter_class=style)
    purpose = words.purpose
    return commands.add_parser(
        words.name,
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}.",
        epilog=words.examples,
        formatter_class=style,
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


def _door(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--via", default="local", help="how to ask: local (default, on the node itself) or ably")
    parser.add_argument("--node", metavar="NAME", help="which node (default: the configured one)")
    parser.add_argument("--timeout", type=_seconds, default=10.0, metavar="SECONDS", help="to wait for an answer (10)")


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON on standard output, for programs")
    parser.add_argument("--utc", action="store_true", help="show times in UTC instead of local time")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


_seconds.__name__ = "number of seconds"  # argparse: "invalid number of seconds value: 'x'"
