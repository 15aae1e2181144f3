"""`imhearing configure SECTION.KEY=VALUE ...`: changes settings in the configuration file, and nothing else in it."""

from __future__ import annotations

import argparse
import getpass
import os
import re
import stat
import sys
from pathlib import Path

from commands.cli.common import data_dir, print_message
from commands.doctor import installed
from commands.up.plan import MARKER
from edge.configuration import loader as config
from edge.core.errors import ConfigError, ImHearingError, UsageError
from edge.core.files import write_atomically
from edge.spool.home import Home

_CHANGE = re.compile(r"(\w+)\.(\w+)=(.*)", re.DOTALL)
_SECTION = re.compile(r"\s*\[([^\]]+)\]")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_Setting = tuple[str, str, str]  # section, key, value


def run(args: argparse.Namespace) -> int:
    """Changes nothing unless every value is valid. UsageError, ConfigError."""
    changes = [_parsed(text) for text in args.changes]
    config.load(data_dir(args), Path(os.devnull), [f"{section}.{key}={value}" for section, key, value in changes], {})
    path: Path = args.config or data_dir(args) / "config.ini"
    text, mode = _read_editable(path)
    changes += _former_names(data_dir(args), path, changes)
    for section, key, value in changes:
        text = with_setting(text, section, key, value)
    secret = any(config.is_secret(section, key) and value for section, key, value in changes)
    _write(path, text, mode & ~_OTHERS if secret else mode)
    names = ", ".join(f"[{section}] {key}" for section, key, _ in changes)
    print_message(f"{path}: {names} set; restart the node's services to apply the change")
    for section, key, _ in changes:
        _warn_if_overridden(path, section, key, installed.is_installed(data_dir(args), args.config))
    return 0


def _former_names(folder: Path, path: Path, changes: list[_Setting]) -> list[_Setting]:
    """What must change with the node's name, so that what it recorded so far remains its own."""
    given = {(section, key): value for section, key, value in changes}
    if ("node", "name") not in given or ("node", "former_names") in given:
        return []
    try:
        before = config.load(folder, path if path.exists() else Path(os.devnull), environ={})
    except ConfigError:  # this change may be what makes the file valid again
        return []
    record = Home(before).record()
    if record is None or record.name == given["node", "name"]:
        return []
    former = dict.fromkeys([*before.node.earlier_names, record.name])
    return [("node", "former_names", ", ".join(name for name in former if name != given["node", "name"]))]


def _warn_if_overridden(path: Path, section: str, key: str, is_installed: bool) -> None:
    source = installed.overriding_source(section, key)
    if not source:
        return
    if is_installed:  # deploy/imhearing turns the services' credentials into variables
        source = f"{installed.CREDENTIALS}/imhearing_{section}_{key}"
        remedy = f"{installed.paste_into_credentials(section, key)}  # paste the secret, Enter, Ctrl-D"
    else:
        remedy = f"unset {source[1:]}" if source.startswith("$") else f"rm {source}"
    print_message(f"warning: [{section}] {key} has no effect: {source} overrides {path}; change it there: {remedy}")


def _write(path: Path, text: str, mode: int) -> None:
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        write_atomically(path, text.encode(), mode)
        path.chmod(mode)
    except OSError as problem:
        raise ImHearingError(
            f"{path}: cannot be written ({problem.strerror}); run this with sudo, or use another file with --config"
        ) from None


def _parsed(text: str) -> _Setting:
    match = _CHANGE.fullmatch(text)
    if not match:
        raise UsageError(f"{text[:60]!r}: expected SECTION.KEY=VALUE, such as recorder.record_period=5")
    section, key, value = match.groups()
    if value == "-" and config.is_secret(section, key):
        value = getpass.getpass(f"{section}.{key}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if "\n" in value or "\r" in value:
        raise UsageError(f"{section}.{key}: a value must be a single line")
    return section, key, value.strip()


def _read_editable(path: Path) -> tuple[str, int]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # without the byte order mark of some editors
    except FileNotFoundError:
        return "", 0o600
    except OSError as problem:
        raise ConfigError([config.unreadable(path, problem)]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text; start from config_example.ini"]) from None
    if MARKER in text.partition("\n")[0]:
        raise ConfigError(
            [
                f"{path}: `imhearing up` rewrites this file at every start; use its option --set instead, or your own"
                " settings with --config FILE"
            ]
        )
    return text, stat.S_IMODE(path.stat().st_mode)


def with_setting(text: str, section: str, key: str, value: str) -> str:
    """The INI `text` with one value changed; comments and everything else are preserved. Pure."""
    line = f"{key} = {value}".rstrip()
    lines = text.splitlines()
    start, end = _span_of(lines, section)
    if start is None:
        return "\n".join([*lines, *([""] if lines else []), f"[{section}]", line]) + "\n"
    setting = re.compile(rf"\s*{re.escape(key)}\s*[=:]", re.IGNORECASE)
    for number in range(start + 1, end):
        if setting.match(lines[number]):
            last = number  # a value continues on lines that are indented further, even after empty ones and comments
            for after in range(number + 1, end):
                if lines[after].lstrip()[:1] in ("", "#", ";"):
                    continue
                if _indent(lines[after]) <= _indent(lines[number]):
                    break
                last = after
            indented = " " * _indent(lines[number]) + line  # else the next setting would continue this one
            return "\n".join([*lines[:number], indented, *lines[last + 1 :]]) + "\n"
    while end > start + 1 and not lines[end - 1].strip():
        end -= 1
    return "\n".join([*lines[:end], line, *lines[end:]]) + "\n"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _span_of(lines: list[str], section: str) -> tuple[int | None, int]:
    """The line numbers of the section's heading, and of the first line after it."""
    start: int | None = None
    for number, line in enumerate(lines):
        match = _SECTION.match(line)
        if match and start is not None:
            return start, number
        if match and match[1] == section:
            start = number
    return start, len(lines)
