"""Follows the logs of children for lines that a person should see."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from commands.cli.logs import escaped

# our own lines; those of Mosquitto and rclone, and a service's last words, have no level of their own form
_OURS = re.compile(r"\S+Z (?:WARNING|ERROR|CRITICAL) [\w-]+: (.*)")
_JSON = re.compile(
    r'\{"at":"[^"]+","level":"(?:WARNING|ERROR|CRITICAL)","service":"[\w-]+","message":"((?:[^"\\]|\\.)*)"'
)
_THEIRS = re.compile(r"[\d/: ]*((?:ERROR|CRITICAL|Error|NOTICE: Failed|imhearing:).*)")
# rclone, after each deletion, of a folder above that still holds something: it tries whether one can go too
_HARMLESS = re.compile(r"ERROR : .*: Dir\.Remove not empty")
_READ = 65_536  # bytes at a time: a child that floods its log must not hold up the rest
_STAMP = re.compile(r"\S+Z [A-Z]+ [\w-]+: |[\d/: ]+(?=\D)")


def without_stamp(line: str) -> str:
    """A line of a log without its time and level, fit to be shown."""
    return escaped(_STAMP.sub("", line, count=1) if _STAMP.match(line) else line)


class LogWatch:
    """`logs`: a name for each file. Only what is written from now on counts."""

    def __init__(self, logs: Mapping[str, Path]) -> None:
        self._logs = logs
        self._read = {name: _length(path) for name, path in logs.items()}

    def problems(self) -> Iterator[str]:
        """New lines that tell of a problem, without their time, each with the name of its file."""
        for name, path in self._logs.items():
            for line in self._new_lines(name, path):
                match = _OURS.match(line) or _JSON.match(line) or _THEIRS.match(line)
                if match and not _HARMLESS.fullmatch(match[1]):
                    yield f"{name}: {escaped(match[1])[:300]}"

    def _new_lines(self, name: str, path: Path) -> list[str]:
        length = _length(path)
        start = self._read[name] if length >= self._read[name] else 0  # trimmed meanwhile
        if length == start:
            return []
        try:
            with path.open("rb") as file:
                file.seek(max(start, length - _READ))
                data = file.read(_READ)
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]  # the rest of a line comes later
        self._read[name] = max(start, length - _READ) + len(whole)
        return whole.decode("utf-8", "replace").splitlines()


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
