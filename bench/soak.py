"""Whether what a service holds goes on growing: a month's chunks through the archiver, a year's questions through the
query service, in minutes.

`python -m bench.soak archiver [--chunks 36000]`, `python -m bench.soak query [--minutes 7]`. Resident memory as the
kernel counts it. The query service keeps its answers of the last five minutes, so it grows until then.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edge.configuration.loader import load, to_ini
from edge.configuration.settings import Archive, Catalog, Mqtt, Node, Recorder, Settings
from edge.core.instant import Instant
from edge.spool.spool import Spool
from query_service import api
from query_service.api import Via
from tests.campaigns.archiver_kill_points import PROCESS
from tests.support.nodes.running_node import running_node
from tests.support.spool.chunks import fill_spool, make_chunk, put_chunk
from tests.support.store.s3 import running_store
from tests.support.wait import wait_until

_TOGETHER = 30  # chunks of an archive
_TEN_MINUTES = 600_000_000
_VIAS: tuple[Via, ...] = ("ably", "mqtt", "http")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("service", choices=["archiver", "query"])
    parser.add_argument("--chunks", type=int, default=36_000)
    parser.add_argument("--minutes", type=float, default=7.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imhearing-bench-") as name:
        if options.service == "archiver":
            _soak_archiver(Path(name), options.chunks)
        else:
            _soak_query_service(Path(name), options.minutes)


def _soak_archiver(folder: Path, chunks: int) -> None:
    spool = Spool(folder / "spool", "porch")
    fill_spool(spool.path, 0)
    data = random.Random(7).randbytes(3_000)
    with running_store() as store, (folder / "log").open("ab") as log:
        settings = Settings(
            node=Node(name="porch"),
            recorder=Recorder(record_path=spool.path),
            mqtt=Mqtt(host="127.0.0.1", port=1),
            archive=Archive(archive_max_chunks=_TOGETHER),
            s3=store.settings,
            catalog=Catalog(db_path=folder / "catalog.db"),
        )
        config = folder / "config.ini"
        config.write_text(to_ini(settings, "of a bench") + f"\n[thresholds]\nrecords_count = {_TOGETHER}\n")
        config.chmod(0o600)
        command = [sys.executable, "-c", PROCESS, str(folder)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"MALLOC_ARENA_MAX": "1"})
        try:
            for seq in range(chunks):
                put_chunk(spool, make_chunk(seq, data), data)
                if seq % _TOGETHER == _TOGETHER - 1:
                    wait_until(lambda: len(spool.chunks.finished()) <= _TOGETHER, "they are archived", 60)
                if (seq + 1) % (_TOGETHER * 60) == 0:
                    _tell(process.pid, f"{seq + 1} chunks")
        finally:
            process.kill()
            process.wait()


def _soak_query_service(folder: Path, minutes: float) -> None:
    data, asked = folder / "node", 0
    ways = ("node.name=porch", "recorder.source=synthetic", "recorder.record_period=2", "thresholds.records_count=30")
    with running_node(data, *ways) as node:
        settings = load(data, environ={})
        wait_until(lambda: node.query("--last", "1m")["intervals"], "it answers", 30)
        pid, end, printed_at = node.processes()["query-service"], time.monotonic() + 60 * minutes, 0.0
        while time.monotonic() < end:
            for via in _VIAS:
                now = time.time_ns() // 1000
                api.query(settings, via, start=Instant(now - _TEN_MINUTES), end=Instant(now))
                asked += 1
            if time.monotonic() >= printed_at + 30:
                printed_at = time.monotonic()
                _tell(pid, f"{asked} questions")


def _tell(pid: int, after: str) -> None:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    print(f"{after:>16}: {int(line.split()[1]) * 1024 / 1_000_000:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
