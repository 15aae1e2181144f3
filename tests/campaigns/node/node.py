"""The node of one life: its folders, settings, processes and commands, as a user would run them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyrage

from edge.core.files import write_atomically
from edge.embedded import ports
from edge.embedded.servers import BUCKET, find_mosquitto, find_rclone
from tests.campaigns.node.choices import SERVICES
from tests.campaigns.node.faults.store_faults import StoreFaults
from tests.campaigns.node.plan import Plan
from tests.campaigns.node.process import Process, unprivileged
from tests.support.wait import wait_until

# another checkout's product may be put to the test, with the libraries of this one
PRODUCT = Path(os.environ.get("IMHEARING_PRODUCT", Path(__file__).parents[3]))
_IMHEARING = [sys.executable, str(PRODUCT / "imhearing.py")]
_COMMAND_SECONDS = 60.0


class Node:
    """`folder` holds the life; `data`, the node's folder, lies on a disk of its own; `run`, its tmpfs, too."""

    def __init__(self, folder: Path, data: Path, run: Path, plan: Plan, environment: Mapping[str, str]) -> None:
        self.folder, self.data, self.life_settings = folder, data, plan.settings
        self._changes_clock = any(fault.kind == "clock" for fault in plan.faults)
        self.spool, self.bucket = data / "spool", folder / "store" / BUCKET
        self.commands: list[dict[str, Any]] = []
        self.own_disk = data.is_mount()
        self.disk_in_use = threading.Lock()
        self.catalog_lost = False
        self._logs = folder / "logs"
        self.tmpfs = run / "node"
        self.tmpfs.mkdir(mode=0o700)
        self._environment = os.environ | environment | {"XDG_RUNTIME_DIR": str(self.tmpfs), "MALLOC_ARENA_MAX": "1"}
        self._clock = folder / "clock"
        self._lock = threading.Lock()
        taken: set[int] = set()
        for _ in range(4):
            taken.add(ports.choose(None, frozenset(taken)))
        self.broker_port, self._store_port, self._realtime_port, self.http_port = taken
        self._key_id, self._secret = secrets.token_hex(8), secrets.token_hex(16)
        for path in (self.bucket, self._logs, folder / "broker", data):
            path.mkdir(parents=True, exist_ok=True)
        self.store = StoreFaults(f"http://{ports.LOOPBACK}:{self._store_port}")
        self.config = folder / "config.ini"
        self.overrides: dict[str, str] = {}
        self._identity()
        self._ably_key = f"app.{secrets.token_hex(4)}:{secrets.token_hex(20)}"
        self.write_config()
        self._write_broker_config()
        self.processes = {process.name: process for process in (*self._servers(), *self._services())}

    def write_config(self) -> None:
        """`overrides` are section.key -> value, and come last."""
        lines = []
        for section, values in self._sections().items():
            changed = {key.split(".")[1]: v for key, v in self.overrides.items() if key.startswith(f"{section}.")}
            lines += [f"[{section}]", *(f"{key} = {value}" for key, value in (values | changed).items())]
        temporary = self.config.with_suffix(".new")
        temporary.write_text("\n".join(lines) + "\n")
        temporary.chmod(0o600)
        temporary.replace(self.config)

    def start(self) -> None:
        for process in self.processes.values():
            process.start()
        wait_until(lambda: self.recorder_mode() == "recording", "the node records")

    def stop(self) -> dict[str, int | None]:
        """Ends everything, services first; the exit code of each service, None if it had to be killed."""
        codes = {name: self.processes[name].stop() for name in ("query-service", "archiver", "recorder")}
        for name in ("realtime", "broker", "store"):
            self.processes[name].stop()
        self.store.close()
        return codes

    def command(self, *arguments: str, timeout: float = _COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
        """Runs one `imhearing` command, as the node's user; a killed one has exit code -9."""
        command, *rest = arguments
        began = time.time()
        line = unprivileged([*_IMHEARING, command, "--config", str(self.config), "--data", str(self.data), *rest])
        try:
            done = subprocess.run(
                line, env=self._environment, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            done = subprocess.CompletedProcess(line, -9, "", f"no result within {timeout:g} s")
        with self._lock:
            entry = {"command": list(arguments), "code": done.returncode, "error": done.stderr[-2000:]}
            self.commands.append(entry | {"began": began, "ended": time.time()})
        return done

    def extra_service(self, name: str) -> subprocess.Popen[bytes]:
        """A second process of a service, which should refuse to run beside the first."""
        with (self._logs / f"second-{name}.log").open("ab") as log:
            return subprocess.Popen(
                unprivileged(self._service_command(name)), env=self._environment, stdout=log, stderr=log
            )

    def get(self, path: str, **query: str) -> dict[str, Any] | None:
        """Over HTTP; None while there is no answer."""
        fields = "&".join(f"{key.rstrip('_')}={quote(value)}" for key, value in query.items())
        url = f"http://{ports.LOOPBACK}:{self.http_port}/{path}" + (f"?{fields}" if fields else "")
        with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
        return None

    def recorder_mode(self) -> str:
        """From the spool's state file; empty while it cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads((self.spool / "state.json").read_bytes())["state"])
        return ""

    def set_clock(self, seconds: float) -> bool:
        """The services' clock is so much ahead. False if their clock was not prepared for that."""
        if not self._clock.exists():
            return False
        write_atomically(self._clock, f"{seconds:+g}".encode())  # reading half of it, libfaketime ends the process
        return True

    def _identity(self) -> None:
        self.recipient = ""
        if self.life_settings.encrypted:
            identity = pyrage.x25519.Identity.generate()
            (self.folder / "identity.txt").write_text(str(identity))
            self.recipient = str(identity.to_public())

    def _sections(self) -> dict[str, dict[str, str]]:
        chosen = self.life_settings
        return {
            "node": {"name": "porch"},
            "recorder": {
                "source": "microphone", "record_path": str(self.spool), "record_period": f"{chosen.record_period:g}",
                "channels": str(chosen.channels), "format": chosen.format, "keep": chosen.keep,
                "pre_roll": "1", "post_roll": "1", "recipients": self.recipient, "part_path": str(self.tmpfs),
            },
            "thresholds": {
                "records_count": str(chosen.records_count),
                "sound_level": "-30" if chosen.keep == "sounds" else "0",
            },
            "mqtt": {"host": ports.LOOPBACK, "port": str(self.broker_port)},
            "archive": {
                "archive_max_chunks": str(chosen.archive_max_chunks), "keep_local": f"{chosen.keep_local:g}",
                "keep_remote": f"{chosen.keep_remote:g}", "when_full": chosen.when_full,
            },
            "s3": {
                "s3_bucket_name": BUCKET, "endpoint_url": self.store.url,
                "access_key_id": self._key_id, "secret_access_key": self._secret,
            },
            "catalog": {"db_path": str(self.data / "catalog.db")},
            "ably": {"api_key": self._ably_key, "endpoint": f"{ports.LOOPBACK}:{self._realtime_port}"},
            "http": {"port": str(self.http_port)},
            "log": {"level": "info"},
        }  # fmt: skip

    def _servers(self) -> list[Process]:
        auth = {"RCLONE_AUTH_KEY": f'"{self._key_id},{self._secret}"', "GOMEMLIMIT": "64MiB"}
        store = [
            find_rclone(), "serve", "s3", "--addr", f"{ports.LOOPBACK}:{self._store_port}", "--config", "",
            "--dir-cache-time", "1s", "--log-level", "NOTICE", str(self.bucket.parent),
        ]  # fmt: skip
        return [
            self._process("broker", [find_mosquitto(), "-c", str(self.folder / "broker" / "mosquitto.conf")]),
            self._process("store", store, auth),
            self._process("realtime", self._service_command("realtime-server")),
        ]

    def _services(self) -> list[Process]:
        return [self._process(name, self._service_command(name), self._fake_clock()) for name in SERVICES]

    def _fake_clock(self) -> dict[str, str]:
        library = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
        if library is None or not self._changes_clock:
            return {}
        self._clock.write_text("+0")
        return {
            "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(self._clock), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip

    def _service_command(self, name: str) -> list[str]:
        return [*_IMHEARING, name, "--config", str(self.config), "--data", str(self.data)]

    def _process(self, name: str, command: list[str], extra: Mapping[str, str] | None = None) -> Process:
        return Process(name, command, self._environment | dict(extra or {}), self._logs / f"{name}.log")

    def _write_broker_config(self) -> None:
        lines = [
            f"listener {self.broker_port} {ports.LOOPBACK}", "allow_anonymous true", "persistence true",
            f"persistence_location {self.folder / 'broker'}/", "autosave_interval 5", "log_dest stderr", "user root",
        ]  # fmt: skip
        (self.folder / "broker" / "mosquitto.conf").write_text("\n".join(lines) + "\n")
