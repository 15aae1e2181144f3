"""What every check uses: the node with the commands that fix it, the finding it returns, and HTTP requests."""

from __future__ import annotations

import os
import pwd
import shlex
import ssl
import urllib.request
from http.client import HTTPResponse
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

from commands.doctor import installed
from edge.configuration.settings import Settings
from edge.core.kernel_clock import KernelClock

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HTTP_TIMEOUT = 3.0

State = Literal["ok", "warning", "fault"]


class Finding(Struct, frozen=True):
    """One check's result. `remedy` is a shell command, or advice if no command will do; empty if all is well."""

    check: str  # part.check, as in `store.write`
    state: State
    message: str
    remedy: str = ""


def ok(check: str, message: str) -> Finding:
    return Finding(check, "ok", message)


def warning(check: str, message: str, remedy: str) -> Finding:
    return Finding(check, "warning", message, remedy)


def fault(check: str, message: str, remedy: str) -> Finding:
    return Finding(check, "fault", message, remedy)


class NodeUnderTest(NamedTuple):
    """The node and its settings, which come from `config_file`, if any. `by_up`: `imhearing up` wrote that file."""

    settings: Settings
    data_dir: Path
    config_file: Path | None
    by_up: bool
    kernel: KernelClock

    @property
    def installed(self) -> bool:
        """Whether `scripts/install` installed it: its files then belong to its own users."""
        return installed.is_installed(self.data_dir, self.config_file)

    @property
    def sudo(self) -> str:
        """Prefix of commands that change the node's files."""
        return "sudo " if self.installed else ""

    @property
    def user(self) -> str:
        """Who records."""
        return installed.RECORDER if self.installed else "$USER"

    def command(self, arguments: str) -> str:
        if self.installed:
            return f"sudo imhearing {arguments}"
        options = f" --data {shlex.quote(str(self.data_dir))}"
        if self.config_file is not None and self.config_file != self.data_dir / "config.ini":
            options += f" --config {shlex.quote(str(self.config_file))}"
        return f"imhearing {arguments}{options}"

    def as_root(self, arguments: str) -> str:
        """An `imhearing` command that always needs root."""
        return self.command(arguments) if self.installed else f"sudo {self.command(arguments)}"

    def while_archiver_stopped(self, arguments: str, first: str = "") -> str:
        """An `imhearing` command that needs the archiver stopped; `first` is a shell command to run before it."""
        command = " && ".join(filter(None, [first, self.command(arguments)]))
        if self.installed:
            return f"sudo systemctl stop imhearing-archiver && {command}; sudo systemctl start imhearing-archiver"
        return f"{command}  # stop `imhearing up` first" if self.by_up else command

    def up(self) -> str:
        return f"imhearing up --data {shlex.quote(str(self.data_dir))}"

    def setup(self) -> str:
        return f"sudo {installed.SETUP}" if self.installed else "scripts/setup"

    def give_back(self, path: Path) -> str:
        """The command that makes `path` and its contents the node's own again. Not by $USER, which sudo changes."""
        if self.installed:
            return f"sudo {installed.INSTALL}"
        try:
            owner = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            owner = str(os.geteuid())
        return f"sudo chown -R {owner} {shlex.quote(str(path))}"

    def configure(self, *changes: str) -> str:
        """The command that changes settings, each `section.key=value`; a secret's value is `-`, which prompts for it.

        A secret set by a credential or the environment is changed there, as those override the file.
        """
        if self.by_up and self.config_file in (None, self.data_dir / "config.ini"):
            options = " ".join(f"--set {shlex.quote(change)}" for change in changes)
            return f"{self.up()} {options}"
        in_file, commands = [], []
        for change in changes:
            section, _, key = change.partition("=")[0].partition(".")
            source = installed.overriding_source(section, key)
            if not source:
                in_file.append(shlex.quote(change))
            elif self.installed:
                commands.append(installed.paste_into_credentials(section, key))
            elif source.startswith("$"):
                commands.append(f"unset {source[1:]}")
                in_file.append(shlex.quote(change))
            else:
                commands.append(f"install -m 600 /dev/stdin {shlex.quote(source)}")
        pasted = any("/dev/stdin" in command for command in commands)
        if in_file:
            commands.append(self.command(f"configure {' '.join(in_file)}"))
        if pasted and self.installed:
            commands.append(installed.RESTART)
        return " && ".join(commands) + ("  # paste the secret, Enter, Ctrl-D" if pasted else "")

    @property
    def store_url(self) -> str:
        s3 = self.settings.s3
        return s3.endpoint_url or f"https://s3.{s3.s3_region}.amazonaws.com"

    def reach_store(self) -> str:
        """The remedy if the store does not respond."""
        host = urlsplit(self.store_url).hostname
        if host not in LOOPBACK:
            return f"ping -c 3 {host}  # if the network is up: {self.configure('s3.endpoint_url=')}"
        if self.by_up:
            return self.up()
        return f"start the store, or use another: {self.configure('s3.endpoint_url=https://HOST')}"


def open_url(url: str, ca_file: str = "", context: ssl.SSLContext | None = None) -> HTTPResponse:
    """GETs an http(s) URL, through $http_proxy unless it is on this machine. OSError, ValueError.

    `ca_file`: CA certificates to trust besides the system's. `context`: what to trust instead.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("not an http URL")
    proxies = urllib.request.ProxyHandler({} if parts.hostname in LOOPBACK else None)
    context = context or ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    opener = urllib.request.build_opener(proxies, urllib.request.HTTPSHandler(context=context))
    response: HTTPResponse = opener.open(url, timeout=_HTTP_TIMEOUT)
    return response
