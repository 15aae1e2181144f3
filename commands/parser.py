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
  imhearing query --last 10m --via ably --node all     every node at once
  imhearing query --last 1d --type sounds --min-level -30
  imhearing query --last 1h --type levels --step 300
  imhearing query --type status
{_TIMES}""",
    ),
    _Words(
        "fetch",
        "the sound of a range as a WAV, FLAC or Opus file, cut to the sample",
        f"""\
examples:
  imhearing fetch --last 1m -o last.flac
  imhearing fetch --from 'yesterday 22:00' --to 'yesterday 22:10' -o evening.wav
  imhearing fetch --last 1h --gaps refuse -o whole.flac     only if nothing is missing
  imhearing fetch --last 1d --export night/                 for BirdNET, Kaleidoscope and others
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
    _Words(
        "pause",
        "stop recording, at once and honestly: the time counts as paused",
        "examples:\n  imhearing pause 30m\n  imhearing pause            until `imhearing resume`\n",
    ),
    _Words("resume", "record again", "example:\n  imhearing resume\n"),
    _Words("rotate", "finish the chunk that is being written, begin another", "example:\n  imhearing rotate\n"),
    _Words("archive", "archive now what is finished, whatever the limits say", "example:\n  imhearing archive\n"),
    _Words(
        "doctor",
        "really try each part: microphone, disk, clock, broker, store, Ably, catalog; and say what mends it",
        "examples:\n  imhearing doctor\n  imhearing doctor --json | jq '.findings[] | select(.state != \"ok\")'\n",
    ),
    _Words(
        "calibrate",
        "from dBFS to dBA: by a sound calibrator on the microphone, or a sound of known level",
        """\
examples:
  imhearing calibrate                        a calibrator of 94 dB at 1 kHz is on, for 3 of 10 seconds
  imhearing calibrate --level 114
  imhearing calibrate --gain 60              set the input gain first
  imhearing calibrate --known 62.5           another meter reads LAeq 62.5 dB meanwhile
If the recorder has the microphone:  imhearing pause 5m
""",
    ),
    _Words(
        "configure",
        "change settings in the configuration file, and leave the rest of it as it is",
        """\
examples:
  imhearing configure recorder.device=USB recorder.sample_rate=44100
  imhearing configure --config my.ini s3.secret_access_key=-     asks for it, or reads it from a pipe
""",
    ),
    _Words(
        "token",
        "a token that lets one client ask over Ably, and no more",
        """\
examples:
  imhearing token --client grandma                         prints the token, which works for a day
  imhearing token --client dashboard --ttl 30d             keep it as you would a password
  imhearing query --via ably --node porch --last 10m       with it, in the variable IMHEARING_ABLY_TOKEN
""",
    ),
    _Words("make-bucket", "make the bucket that the settings name", "example:\n  imhearing make-bucket\n"),
    _Words(
        "broker-setup",
        "passwords, rights and certificates for a Mosquitto broker",
        """\
examples:
  sudo imhearing broker-setup --into /etc/mosquitto/imhearing --name raspberrypi.local
  imhearing broker-setup --into /tmp/broker --name 192.168.1.20 --cert my.crt --key my.key --ca my-ca.crt
What is there already is kept: passwords unless --renew-passwords, the own CA always.
""",
    ),
    _Words(
        "catalog",
        "hold the catalog against store and spool (verify), or make it anew from them (rebuild)",
        """\
examples:
  imhearing catalog verify             sizes and names; --deep reads every archive back and compares hashes
  imhearing catalog rebuild            from bucket and spool alone; stop the archiver first
""",
    ),
    _Words(
        "hold",
        "keep a range from every expiry, and from `forget`",
        f"""\
examples:
  imhearing hold --from '2026-03-03 22:00' --to '2026-03-03 22:10'
  imhearing hold --from '2026-03-03 22:00' --to '2026-03-03 22:10' --release
  imhearing hold                                    what is held
{_TIMES}""",
    ),
    _Words(
        "forget",
        "erase the sound of a range everywhere: spool, store, clips",
        f"""\
examples:
  imhearing forget --from '2026-03-03 22:00' --to '2026-03-03 22:10'         says what would go, and asks
  imhearing forget --from '2026-03-03 22:00' --to '2026-03-03 22:10' --yes
Whole chunks go: those that have any sound in the range. The archiver carries it out, also later if it is stopped.
{_TIMES}""",
    ),
    _Words(
        "unannounce",
        "take a stopped node back from broker and Home Assistant",
        "example:\n  imhearing unannounce --node porch\n",
    ),
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
    made["query"].add_argument("--type", default="coverage", help="coverage (default), sounds, levels, status or clip")
    made["query"].add_argument(
        "--order", choices=("loudest", "time"), default="loudest", help="of sounds: the loudest first, or as they came"
    )
    made["query"].add_argument("--min-level", type=float, metavar="DB", help="sounds at least that loud (LAFmax)")
    made["query"].add_argument(
        "--step", type=_step, default=60, metavar="SECONDS", help="length of a step of levels (60)"
    )
    _output(made["query"])
    _range(made["fetch"])
    _door(made["fetch"])
    into = made["fetch"].add_mutually_exclusive_group(required=True)
    into.add_argument("-o", "--output", type=Path, metavar="FILE", help="name.wav, name.flac or name.opus")
    into.add_argument(
        "--export", type=Path, metavar="DIR", help="each chunk whole, DIR/NODE_YYYYMMDD_HHMMSS.wav, with GUANO metadata"
    )
    made["fetch"].add_argument(
        "--gaps",
        choices=("silence", "skip", "refuse"),
        default="silence",
        help="where there is no sound: fill with silence (default), leave out, or write no file",
    )
    made["fetch"].add_argument(
        "--identity", type=Path, metavar="FILE", help="age private key, as age-keygen wrote it, for encrypted sound"
    )
    _output(made["fetch"])
    for name in ("watch", "status", "devices", "doctor", "calibrate"):
        _output(made[name])
    _calibrate(made["calibrate"])
    made["configure"].add_argument("changes", nargs="+", metavar="SECTION.KEY=VALUE", help="what to set; a secret: -")
    made["pause"].add_argument("duration", nargs="?", metavar="DURATION", help="as in 30m or 2h; without: until resume")
    for name in ("pause", "resume", "rotate", "archive", "unannounce"):
        made[name].add_argument("--node", metavar="NAME", help="which node (default: the configured one)")
        _output(made[name])
    _broker(made["broker-setup"])
    made["token"].add_argument("--client", required=True, metavar="ID", help="who it is for: A-Z, a-z, 0-9, _ and -")
    made["token"].add_argument("--ttl", default="24h", metavar="LENGTH", help="how long it works (24h)")
    made["token"].add_argument("--utc", action="store_true", help="show times in UTC instead of local time")
    _keeping(made)
    return parser


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
    parser.add_argument("--level", type=float, default=94.0, metavar="DB", help="of the calibrator (94)")
    parser.add_argument("--frequency", type=float, default=1_000.0, metavar="HZ", help="of the calibrator (1000)")
    parser.add_argument("--known", type=float, metavar="DB", help="no calibrator: a steady sound of this LAeq")
    parser.add_argument("--seconds", type=_seconds, metavar="SECONDS", help="to listen (10)")
    parser.add_argument("--gain", type=int, metavar="PERCENT", help="set the input gain first, 0 to 100")


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
    parser.add_argument("--via", default="local", help="how to ask: local (default), ably, mqtt or http")
    parser.add_argument(
        "--node", metavar="NAME", help="which node (default: the configured one); query over Ably: `all` for every one"
    )
    parser.add_argument("--timeout", type=_seconds, default=10.0, metavar="SECONDS", help="to wait for an answer (10)")


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON on standard output, for programs")
    parser.add_argument("--utc", action="store_true", help="show times in UTC instead of local time")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def _step(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 86400 seconds")
    return value


_step.__name__ = "whole number of seconds"
_seconds.__name__ = "number of seconds"  # argparse: "invalid number of seconds value: 'x'"
