"""Help of every command, and the exit codes with the messages that come with them."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from tests.contract import command
from tests.contract.output import Output

# each failure that a script may tell from others
_CALLS: dict[str, tuple[str, ...]] = {
    "no command": (),
    "unknown command": ("sing",),
    "unknown option": ("query", "--colour"),
    "missing argument": ("fetch", "--last", "1m"),
    "no such way to ask": ("query", "--last", "1m", "--via", "pigeon"),
    "no such type of question": ("query", "--last", "1m", "--type", "smells"),
    "a range that ends before it begins": ("query", "--from", "2026-03-03T23:00:00Z", "--to", "2026-03-03T22:00:00Z"),
    "an unusable time": ("query", "--from", "soon", "--to", "later"),
    "a setting that does not exist": ("status", "--set", "recorder.colour=red"),
    "settings out of bounds": ("status", "--set", "recorder.record_period=0", "--set", "mqtt.port=70000"),
    "a section that does not exist": ("status", "--set", "sky.colour=blue"),
    "a configuration file that does not exist": ("status", "--config", "/nonexistent/my.ini"),
    "no node here": ("query", "--last", "1m"),
    "no broker known": ("pause",),
    "no Ably key": ("query", "--last", "1m", "--via", "ably"),
    "no HTTP address": ("query", "--last", "1m", "--via", "http"),
    "no catalog to verify": ("catalog", "verify"),
    "every node over another way than Ably": ("query", "--last", "1m", "--node", "all"),
}


def write(output: Output) -> None:
    top = command.run("--help")
    output.text("help/imhearing.txt", top.out)
    for name in _commands(command.run("sing").err):
        output.text(f"help/{name}.txt", command.run(name, "--help").out)
    output.text("exit_codes.txt", "\n".join(_failure(what, call) for what, call in _CALLS.items()))


def _commands(refusal: str) -> list[str]:
    """Every command's name, also of those that help does not list: argparse names them all when it refuses one."""
    choices = refusal.split("choose from", 1)[1].split(")", maxsplit=1)[0]
    return re.findall(r"[a-z][a-z-]+", choices)


def _failure(what: str, call: tuple[str, ...]) -> str:
    with tempfile.TemporaryDirectory(prefix="imhearing-contract-") as home:
        ended = command.run(*call, home=Path(home))
        printed = (ended.out + ended.err).replace(home, "<home>") if call else ""
    shown = "".join(f"  {line}\n" for line in printed.splitlines())
    return f"{what}: {ended.code}\n  $ imhearing {' '.join(call)}\n{shown}"
