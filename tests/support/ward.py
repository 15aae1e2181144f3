"""A node whose parts can be broken one by one, for `imhearing doctor`, and a shell for the commands that mend it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from commands.doctor.finding import Finding, Patient
from edge.configuration import loader as config
from edge.configuration.settings import S3, Secret
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock

_PLAIN_STUB = '#!/bin/sh\necho "$(basename "$0") $*" >>"{log}"\n'
_SUDO = '#!/bin/sh\nexec "$@"\n'


class SetClock(KernelClock):
    """The kernel's, but that it says what a test wants it to."""

    def __init__(self, synchronised: bool = True, wrong_by: float = 0.0) -> None:
        super().__init__()
        self.says, self.wrong_by = synchronised, wrong_by

    def synchronised(self) -> bool:
        return self.says

    def now(self) -> Instant:
        return Instant(super().now() + round(self.wrong_by * 1e6))


class Ward:
    """A data folder with a config.ini of its own. Programs in `stubs` only note that they were called."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        self.config = self.data / "config.ini"
        self.clock = SetClock()
        self._bin = folder / "bin"
        self._bin.mkdir()
        self._log = folder / "called"
        self._values: dict[str, dict[str, str]] = {}
        self.set("node.name=porch", "recorder.source=synthetic")
        self._install("sudo", _SUDO)

    def set(self, *changes: str) -> None:
        """Writes config.ini anew with these `section.key=value` on top."""
        for change in changes:
            place, _, value = change.partition("=")
            section, _, key = place.partition(".")
            self._values.setdefault(section, {})[key] = value
        lines = [f"[{s}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) for s, keys in self._values.items()]
        self.config.write_text("\n".join(lines))
        self.config.chmod(0o600)

    def set_store(self, s3: S3) -> None:
        plain = {key: getattr(s3, key) for key in ("s3_bucket_name", "endpoint_url", "access_key_id")}
        plain["secret_access_key"] = s3.secret_access_key
        self.set(*(f"s3.{k}={v.reveal() if isinstance(v, Secret) else v}" for k, v in plain.items()))

    def patient(self) -> Patient:
        return Patient(config.load(self.data, environ={}), self.data, self.config, False, self.clock)

    def look(self, room: str) -> dict[str, Finding]:
        """What one room of the doctor's finds now, by check."""
        return {finding.check: finding for finding in import_module(f"commands.doctor.{room}").look(self.patient())}

    def mend(
        self,
        finding: Finding,
        typed: str = "",
        stubs: tuple[str, ...] = (),
        words: Mapping[str, str] = {},
    ) -> subprocess.CompletedProcess[str]:
        """Types the finding's remedy into a shell; `words` replaces what only a person can know."""
        command = finding.remedy
        for placeholder, word in words.items():
            assert placeholder in command
            command = command.replace(placeholder, word)
        for name in stubs:
            self._install(name, _PLAIN_STUB.format(log=self._log))
        path = f"{self._bin}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", command], input=typed, text=True, capture_output=True, check=False,
            env={**os.environ, "PATH": path}, timeout=60,
        )  # fmt: skip

    def called(self) -> list[str]:
        """The stubs that were called, with their arguments."""
        return self._log.read_text().splitlines() if self._log.exists() else []

    def _install(self, name: str, script: str) -> None:
        (self._bin / name).write_text(script)
        (self._bin / name).chmod(0o755)
