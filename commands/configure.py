"""`imhearing configure SECTION.KEY=VALUE ...`: changes the configuration file, and leaves the rest of it as it is."""

from __future__ import annotations

import argparse
import getpass
import os
import re
import stat
import sys
from pathlib import Path

from commands.cli import logs
from commands.cli.common import data_dir, print_message
from commands.doctor import installed
from commands.up.plan import MARKER
from edge.configuration import loader as config
from edge.core.errors import ConfigError, ImHearingError, UsageError
from edge.core.files import write_atomically

_CHANGE = re.compile(r"(\w+)\.(\w+)=(.*)", re.DOTALL)
_SECTION = re.compile(r"\s*\[([^\]]+)\]")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def run(args: argparse.Namespace) -> int:
    """Changes nothing unless every value is allowed. UsageError, ConfigError."""
    logs.set_up_for_people()
    changes = [_parsed(text) for text in args.changes]
    config.load(data_dir(args), Path(os.devnull), [f"{section}.{key}={value}" for section, key, value in changes], {})
    path: Path = args.config or data_dir(args) / "config.ini"
    text, mode = _read(path)
    for section, key, value in changes:
        text = changed(text, section, key, value)
    secret = any(config.is_secret(section, key) and value for section, key, value in changes)
    _write(path, text, mode & ~_OTHERS if secret else mode)
    names = ", ".join(f"[{section}] {key}" for section, key, _ in changes)
    print_message(f"{path}: {names} set; restart the node's services for it to hold")
    for section, key, _ in changes:
        _warn_if_overruled(path, section, key, installed.is_installed(data_dir(args), args.config))
    return 0


def _warn_if_overruled(path: Path, section: str, key: str, is_installed: bool) -> None:
    source = installed.overriding_source(section, key)
    if not source:
        return
    if is_installed:  # deploy/imhearing makes variables of what the services get as credentials
        source = f"{installed.CREDENTIALS}/imhearing_{section}_{key}"
        remedy = f"{installed.paste_into_credentials(section, key)}  # paste the secret, Enter, Ctrl-D"
    else:
        remedy = f"unset {source[1:]}" if source.startswith("$") else f"rm {source}"
    print_message(f"warning: [{section}] {key} does not hold: {source} goes before {path}; change it there: {remedy}")


def _write(path: Path, text: str, mode: int) -> None:
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        write_atomically(path, text.encode(), mode)
        path.chmod(mode)
    except OSError as problem:
        raise ImHearingError(
            f"{path}: cannot be written ({problem.strerror}); run it with sudo, or name another file with --config"
        ) from None


def _parsed(text: str) -> tuple[str, str, str]:
    match = _CHANGE.fullmatch(text)
    if not match:
        raise UsageError(f"{text[:60]!r}: not of the form SECTION.KEY=VALUE, as in recorder.record_period=5")
    section, key, value = match.groups()
    if value == "-" and config.is_secret(section, key):
        value = getpass.getpass(f"{section}.{key}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if "\n" in value or "\r" in value:
        raise UsageError(f"{section}.{key}: a value has one line")
    return section, key, value.strip()


def _read(path: Path) -> tuple[str, int]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "", 0o600
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError([f"{path}: cannot be read ({problem}); remedy its rights"]) from None
    if MARKER in text.partition("\n")[0]:
        raise ConfigError(
            [
                f"{path}: `imhearing up` writes this file anew at each start; give it the same with"
                " --set, or settings of your own with --config FILE"
            ]
        )
    return text, stat.S_IMODE(path.stat().st_mode)


def changed(text: str, section: str, key: str, value: str) -> str:
    """The INI `text` with that one value; comments and everything else stay. Pure."""
    line = f"{key} = {value}".rstrip()
    lines = text.splitlines()
    start, end = _span_of(lines, section)
    if start is None:
        return "\n".join([*lines, *([""] if lines else []), f"[{section}]", line]) + "\n"
    wanted = re.compile(rf"\s*{re.escape(key)}\s*[=:]", re.IGNORECASE)
    for number in range(start + 1, end):
        if wanted.match(lines[number]):
            after = number + 1
            while after < end and lines[after][:1] in (" ", "\t") and lines[after].strip():
                after += 1  # a value goes on in indented lines
            return "\n".join([*lines[:number], line, *lines[after:]]) + "\n"
    while end > start + 1 and not lines[end - 1].strip():
        end -= 1
    return "\n".join([*lines[:end], line, *lines[end:]]) + "\n"


def _span_of(lines: list[str], section: str) -> tuple[int | None, int]:
    """The section's heading, and the line after its last."""
    start: int | None = None
    for number, line in enumerate(lines):
        match = _SECTION.match(line)
        if match and start is not None:
            return start, number
        if match and match[1] == section:
            start = number
    return start, len(lines)
