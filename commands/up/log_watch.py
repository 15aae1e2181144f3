"""Follows the logs of child processes for problems that the user should see."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from commands.cli.logs import escaped

# our own lines; then those of Mosquitto and rclone, and the last line of a service that failed to start
_OURS = re.compile(r"\S+Z (?:WARNING|ERROR|CRITICAL) [\w-]+: (.*)")
_JSON = re.compile(
    r'\{"at":"[^"]+","level":"(?:WARNING|ERROR|CRITICAL)","service":"[\w-]+","message":"((?:[^"\\]|\\.)*)"'
)
_THEIRS = re.compile(r"[\d/: ]*((?:ERROR|CRITICAL|Error|NOTICE: Failed|imhearing:).*)")
# rclone, after each deletion: it tries to remove the parent folder too, which may not be empty
_HARMLESS = re.compile(r"ERROR : .*: Dir\.Remove not empty")
_READ_BYTES = 65_536  # at a time: a child that floods its log must not hold up the rest
_STAMP = re.compile(r"\S+Z [A-Z]+ [\w-]+: |[\d/: ]+(?=\D)")


def without_stamp(line: str) -> str:
    """A log line without its time and level, escaped for display."""
    return escaped(_STAMP.sub("", line, count=1) if _STAMP.match(line) else line)


class LogWatch:
    """Reads what is appended to `logs` (name -> file) from now on."""

    def __init__(self, logs: Mapping[str, Path]) -> None:
        self._logs = logs
        self._read = {name: _length(path) for name, path in logs.items()}

    def problems(self) -> Iterator[str]:
        """New lines about problems, without their time, each prefixed with its log's name."""
        for name, path in self._logs.items():
            for line in self._new_lines(name, path):
                match = _OURS.match(line) or _JSON.match(line) or _THEIRS.match(line)
                if match and not _HARMLESS.fullmatch(match[1]):
                    yield f"{name}: {escaped(match[1])[:300]}"

    def _new_lines(self, name: str, path: Path) -> list[str]:
        length = _length(path)
        start = self._read[name] if length >= self._read[name] else 0  # trimmed in the meantime
        if length == start:
            return []
        try:
            with path.open("rb") as file:
                file.seek(max(start, length - _READ_BYTES))
                data = file.read(_READ_BYTES)
        except OSError:
            return []
        complete = data[: data.rfind(b"\n") + 1]  # an unfinished line is read next time
        self._read[name] = max(start, length - _READ_BYTES) + len(complete)
        return complete.decode("utf-8", "replace").splitlines()


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
