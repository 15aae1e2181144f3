"""What a check found, and what it is told about the node that it looks at."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from msgspec import Struct

from edge.kernel_clock import KernelClock
from edge.settings import Settings

State = Literal["ok", "warning", "fault"]


class Finding(Struct, frozen=True):
    """One check's result. `remedy` is a command to type, or where none will do, words; empty when all is well."""

    check: str  # room.check, as in `store.write`
    state: State
    message: str
    remedy: str = ""


class Patient(NamedTuple):
    """The node as it is set up. `config_file` is what the settings came from, if a file; `by_up`: `up` wrote it."""

    settings: Settings
    data_dir: Path
    config_file: Path | None
    by_up: bool
    kernel: KernelClock

    def command(self, words: str) -> str:
        """An `imhearing` command on this node."""
        place = f" --data {shlex.quote(str(self.data_dir))}"
        if self.config_file is not None and self.config_file != self.data_dir / "config.ini":
            place += f" --config {shlex.quote(str(self.config_file))}"
        return f"imhearing {words}{place}"

    def configure(self, *changes: str) -> str:
        """The command that changes settings, each `section.key=value`; a secret's value is `-`, which asks for it."""
        words = " ".join(shlex.quote(change) for change in changes)
        if self.by_up and self.config_file in (None, self.data_dir / "config.ini"):
            sets = " ".join(f"--set {shlex.quote(change)}" for change in changes)
            return f"imhearing up --data {shlex.quote(str(self.data_dir))} {sets}"
        return self.command(f"configure {words}")


Check = Callable[[Patient], Iterator[Finding]]


def ok(check: str, message: str) -> Finding:
    return Finding(check, "ok", message)


def warning(check: str, message: str, remedy: str) -> Finding:
    return Finding(check, "warning", message, remedy)


def fault(check: str, message: str, remedy: str) -> Finding:
    return Finding(check, "fault", message, remedy)
