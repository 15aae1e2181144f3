"""A node whose parts tests break one by one, and a shell to run the remedies of `imhearing doctor` in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from commands.doctor.doctor import Part, checks_of
from commands.doctor.node_under_test import Finding, NodeUnderTest
from edge.configuration import loader as config
from edge.configuration.settings import S3, Secret
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from tests.support.wait import DEADLINE

_PLAIN_STUB = '#!/bin/sh\necho "$(basename "$0") $*" >>"{log}"\n'
_SUDO = '#!/bin/sh\nexec "$@"\n'


class AdjustableClock(KernelClock):
    """The kernel's clock, with its synchronisation and offset (seconds) set by the test."""

    def __init__(self, synchronised: bool = True, offset: float = 0.0) -> None:
        super().__init__()
        self.is_synchronised, self.offset = synchronised, offset

    def synchronised(self) -> bool:
        return self.is_synchronised

    def now(self) -> Instant:
        return Instant(super().now() + round(self.offset * 1e6))


class BreakableNode:
    """A data folder with a config.ini. Remedies run with a `sudo` that runs its command as the current user."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        self.config = self.data / "config.ini"
        self.clock = AdjustableClock()
        self._bin = folder / "bin"
        self._bin.mkdir()
        self._log = folder / "called"
        self._values: dict[str, dict[str, str]] = {}
        self.set("node.name=porch", "recorder.source=synthetic")
        self._install("sudo", _SUDO)

    def set(self, *changes: str) -> None:
        """Rewrites config.ini with these `section.key=value` changes."""
        for change in changes:
            name, _, value = change.partition("=")
            section, _, key = name.partition(".")
            self._values.setdefault(section, {})[key] = value
        lines = [f"[{s}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) for s, keys in self._values.items()]
        self.config.write_text("\n".join(lines))
        self.config.chmod(0o600)

    def set_store(self, s3: S3) -> None:
        plain = {key: getattr(s3, key) for key in ("s3_bucket_name", "endpoint_url", "access_key_id")}
        plain["secret_access_key"] = s3.secret_access_key
        self.set(*(f"s3.{k}={v.reveal() if isinstance(v, Secret) else v}" for k, v in plain.items()))

    def under_test(self) -> NodeUnderTest:
        return NodeUnderTest(config.load(self.data, environ={}), self.data, self.config, False, self.clock)

    def run_checks(self, part: Part) -> dict[str, Finding]:
        """The doctor's findings on one part, by check."""
        return {finding.check: finding for finding in checks_of(part)(self.under_test())}

    def apply_remedy(
        self,
        finding: Finding,
        typed: str = "",
        stubs: tuple[str, ...] = (),
        placeholders: Mapping[str, str] = {},
    ) -> subprocess.CompletedProcess[str]:
        """Runs the finding's remedy in a shell, with its placeholders filled in; programs in `stubs` only log calls."""
        command = finding.remedy
        for placeholder, value in placeholders.items():
            assert placeholder in command
            command = command.replace(placeholder, value)
        for name in stubs:
            self._install(name, _PLAIN_STUB.format(log=self._log))
        path = f"{self._bin}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", command], input=typed, text=True, capture_output=True, check=False,
            env={**os.environ, "PATH": path}, timeout=DEADLINE,
        )  # fmt: skip

    def stub_calls(self) -> list[str]:
        """The calls of stubs, with their arguments."""
        return self._log.read_text().splitlines() if self._log.exists() else []

    def _install(self, name: str, script: str) -> None:
        (self._bin / name).write_text(script)
        (self._bin / name).chmod(0o755)
