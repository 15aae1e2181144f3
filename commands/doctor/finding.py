"""What a check found, and what it is told about the node that it looks at."""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from msgspec import Struct

from commands.doctor import installed
from edge.configuration.settings import Settings
from edge.core.kernel_clock import KernelClock

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

    @property
    def installed(self) -> bool:
        """Whether `scripts/install` made it: then what is its own is neither the caller's nor to become root's."""
        return installed.is_installed(self.data_dir, self.config_file)

    @property
    def sudo(self) -> str:
        """What stands before a command that changes the node's files."""
        return "sudo " if self.installed else ""

    @property
    def user(self) -> str:
        """Whose the node is, as a shell takes it."""
        return installed.USER if self.installed else "$USER"

    def command(self, words: str) -> str:
        """An `imhearing` command on this node."""
        if self.installed:
            return f"sudo imhearing {words}"
        place = f" --data {shlex.quote(str(self.data_dir))}"
        if self.config_file is not None and self.config_file != self.data_dir / "config.ini":
            place += f" --config {shlex.quote(str(self.config_file))}"
        return f"imhearing {words}{place}"

    def as_root(self, words: str) -> str:
        """The same for one that needs root wherever the node is."""
        return self.command(words) if self.installed else f"sudo {self.command(words)}"

    def while_archiver_stopped(self, *words: str, first: str = "") -> str:
        """The same for one that cannot work beside the archiver; `first` is a shell command that goes before it."""
        command = " && ".join(filter(None, [first, self.command(" ".join(words))]))
        if self.installed:
            return f"sudo systemctl stop imhearing-archiver && {command}; sudo systemctl start imhearing-archiver"
        return f"{command}  # end `imhearing up` first" if self.by_up else command

    def up(self) -> str:
        return f"imhearing up --data {shlex.quote(str(self.data_dir))}"

    def setup(self) -> str:
        """The command that brings the libraries and programs that are missing."""
        return installed.setup(self.installed)

    def give_back(self, path: Path) -> str:
        """The command that makes `path`, and what is in it, the node's again. By rights, not $USER: sudo sets that."""
        try:
            owner = f"{installed.USER}:" if self.installed else pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            owner = str(os.geteuid())
        return f"sudo chown -R {owner} {shlex.quote(str(path))}"

    def configure(self, *changes: str) -> str:
        """The command that changes settings, each `section.key=value`; a secret's value is `-`, which asks for it.

        A secret that a credential or the environment gives is changed there: it goes before the file.
        """
        if self.by_up and self.config_file in (None, self.data_dir / "config.ini"):
            sets = " ".join(f"--set {shlex.quote(change)}" for change in changes)
            return f"{self.up()} {sets}"
        plain, given = [], []
        for change in changes:
            section, _, key = change.partition("=")[0].partition(".")
            source = installed.overruling(section, key)
            if not source:
                plain.append(shlex.quote(change))
            elif self.installed:
                given.append(installed.paste_into_credentials(section, key))
            elif source.startswith("$"):
                given.append(f"unset {source[1:]}")
                plain.append(shlex.quote(change))
            else:
                given.append(f"install -m 600 /dev/stdin {shlex.quote(source)}")
        pasted = any("/dev/stdin" in command for command in given)
        commands = [*given, *([self.command(f"configure {' '.join(plain)}")] if plain else [])]
        if pasted and self.installed:
            commands.append(installed.RESTART)
        return " && ".join(commands) + ("  # paste the secret, Enter, Ctrl-D" if pasted else "")


Check = Callable[[Patient], Iterator[Finding]]


def ok(check: str, message: str) -> Finding:
    return Finding(check, "ok", message)


def warning(check: str, message: str, remedy: str) -> Finding:
    return Finding(check, "warning", message, remedy)


def fault(check: str, message: str, remedy: str) -> Finding:
    return Finding(check, "fault", message, remedy)
