"""`imhearing up` on a fixed spool, paused: what is archived and answered then. Then it records, and is listened to."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.contract import answers, command, fixed_spool, live, storage, traffic
from tests.contract.output import Output
from tests.contract.redaction import shape
from tests.support.messaging.broker import running_broker
from tests.support.messaging.mqtt import connected
from tests.support.wait import wait_until

_ROOT = Path(__file__).parents[2]
_ARCHIVE = ("node.name=porch", "thresholds.records_count=4", "archive.archive_max_chunks=4")
_SETTINGS = (
    *_ARCHIVE,
    "recorder.source=synthetic",
    "recorder.record_period=1",
    "thresholds.sound_level=-40",
    "levels.hold_seconds=0.2",
    "budget.price_per_gb=0.023",
)
_EVERYTHING = ("imhearing/#", "homeassistant/#", "home/#")


class Node:
    """A running node, as a program on the same machine reaches it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.spool = data / "spool"

    @property
    def ports(self) -> dict[str, int]:
        remembered: dict[str, Any] = json.loads((self.data / "up.json").read_bytes())
        return {name: value for name, value in remembered.items() if name.endswith("_port")}

    def run(self, name: str, *arguments: str) -> command.Ended:
        return command.run(name, "--data", str(self.data), *arguments)


def write(output: Output, scratch: Path) -> None:
    _write_plan(output, scratch / "planned")
    data = scratch / "node"
    _fill(data)
    ports = {name: _free_port() for name in ("store_port", "realtime_port", "http_port")}
    (data / "up.json").write_text(json.dumps({**ports, "cursor_key": "the same for each run"}))
    # a broker without accounts: this program listens to everything
    with (
        running_broker() as broker,
        connected(broker.port) as mqtt,
        traffic.overheard(broker.port, *_EVERYTHING) as seen,
    ):
        mqtt.subscribe(*_EVERYTHING)
        address = (f"mqtt.host={broker.host}", f"mqtt.port={broker.port}")
        with _service(scratch / "up.log", "up", data, (*_SETTINGS, *address)) as process:
            node = Node(data)
            _wait_for(process, node, "http_port", scratch / "up.log")
            storage.wait_until_archived(node.data, 2)
            chunks = [fixed_spool.write_chunk(node.spool, fixed_spool.B, seq) for seq in (2, 3)]
            answers.wait_until_noticed(node, mqtt, chunks)
            storage.write(output, node.data, "archived")
            answers.write(output, node, mqtt)
            storage.erase(output, node)
            recording = live.Recording(output, node, mqtt)
            recording.write()
            _write_other_node(output, address, mqtt, scratch)
            live.write_topics(output, mqtt, seen)
            node.run("pause")
    manifests = storage.live_manifests(data)
    output.lines("files/archive-manifest.shape", shape(*manifests))
    recording.write_files(manifests)
    storage.give_order(output, node)
    storage.write_schema(output, data / "catalog.db")


def _write_plan(output: Output, data: Path) -> None:
    """An archiver alone whose store is not there."""
    _fill(data)
    settings = (*_ARCHIVE, "s3.s3_bucket_name=imhearing", f"s3.endpoint_url=http://127.0.0.1:{_free_port()}")
    with _service(data.with_suffix(".log"), "archiver", data, settings):
        storage.wait_until_planned(data / "catalog.db", 2)
    storage.write_plan(output, data / "catalog.db")


def _write_other_node(output: Output, address: tuple[str, ...], mqtt: Any, scratch: Path) -> None:
    """Discovery of a recorder with a hyphen in its name, below a topic of its owner's choice; then taken back."""
    data = scratch / "other"
    (data / "spool").mkdir(parents=True)
    (data / "spool" / "pause.json").write_text('{"until":null}')
    settings = ("node.name=back-porch", "recorder.source=synthetic", *address, "mqtt.discovery=home")
    with _service(scratch / "other.log", "recorder", data, settings):
        live.write_discovery(output, mqtt, "home/device/imhearing_back-porch/config", "other-node")
    sets = [part for setting in settings for part in ("--set", setting)]
    ended = command.run("unannounce", "--data", str(data), *sets)
    output.text("home-assistant/unannounce.txt", f"exit code {ended.code}\n{ended.out}{ended.err}")
    mqtt.wait_for_message("home/device/imhearing_back-porch/config", lambda each: not each.payload)


def _fill(data: Path) -> None:
    data.mkdir(mode=0o700)
    fixed_spool.write_spool(data / "spool")
    for stream, seqs in ((fixed_spool.A, range(4)), (fixed_spool.B, range(2))):
        for seq in seqs:
            fixed_spool.write_chunk(data / "spool", stream, seq)


def _free_port() -> int:
    """One below those that the kernel hands out by itself, so that nobody else gets it meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def _service(log: Path, name: str, data: Path, settings: tuple[str, ...]) -> Iterator[subprocess.Popen[bytes]]:
    """One `imhearing` process until the end."""
    sets = [part for setting in settings for part in ("--set", setting)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(data), "TZ": "UTC", "LANG": "C.UTF-8"}
    with log.open("wb") as file:  # a session of its own: Ctrl-C of whoever runs this is for us alone
        process = subprocess.Popen(
            [sys.executable, "-m", "imhearing", name, "--data", str(data), *sets],
            cwd=_ROOT, stdout=file, stderr=file, env=environment, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _wait_for(process: subprocess.Popen[bytes], node: Node, port: str, log: Path) -> None:
    wait_until(lambda: _listens(node, port) or process.poll() is not None, f"something listens on {port}", 60)
    assert process.poll() is None, log.read_text()


def _listens(node: Node, port: str) -> bool:
    with contextlib.suppress(KeyError, OSError), socket.create_connection(("127.0.0.1", node.ports[port]), 1):
        return True
    return False
