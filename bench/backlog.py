"""A week offline: how soon the archiver is ready, and what memory it takes.

python -m bench.backlog [--chunks 20160] [--together N]

Chunks of a few bytes, each with the manifest of a minute, wait in the spool; nobody has catalogued them. The archiver's
own service starts, with no broker and with a store, and runs until all is archived.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edge.configuration.loader import to_ini
from edge.configuration.settings import Archive, Mqtt, Node, Recorder, Settings
from edge.configuration.settings import Catalog as CatalogSettings
from edge.core import wire
from edge.core.values import SpoolState
from edge.spool.spool import Spool
from tests.support.spool.chunks import BOOT, START, STREAM, make_chunk, make_stream
from tests.support.store.s3 import running_store

_PROCESS = """
import sys, threading
from pathlib import Path
from edge.archiver import service
from edge.configuration.loader import load
service.run(load(Path(sys.argv[1])), threading.Event())
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=20_160)
    parser.add_argument("--together", type=int, default=Archive().archive_max_chunks)
    parser.add_argument("--ready-only", action="store_true", help="end when all is catalogued")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imhearing-bench-")))
        store = stack.enter_context(running_store())
        settings = Settings(
            node=Node(name="porch"),
            recorder=Recorder(record_path=folder / "spool"),
            mqtt=Mqtt(host="127.0.0.1", port=1),
            archive=Archive(archive_max_chunks=options.together),
            s3=store.settings,
            catalog=CatalogSettings(db_path=folder / "catalog.db"),
        )
        (folder / "config.ini").write_text(to_ini(settings, "of a bench"))
        (folder / "config.ini").chmod(0o600)
        _fill(settings, options.chunks)
        _forget_what_was_read()
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, "-c", _PROCESS, str(folder)])
        stack.callback(process.wait)
        stack.callback(process.kill)
        _watch(process, settings, options.chunks, began, options.ready_only)


def _watch(process: subprocess.Popen[bytes], settings: Settings, chunks: int, began: float, ready_only: bool) -> None:
    ready = False
    while process.poll() is None:
        time.sleep(0.5)
        known, stored = _count(settings.catalog.db_path)
        if known >= chunks and not ready:
            ready = True
            print(f"catalogued after {time.monotonic() - began:.1f} s, {_resident(process.pid)} MB at most")
        if stored >= chunks or (ready and ready_only):
            break
    print(f"{stored} archived after {time.monotonic() - began:.1f} s, {_resident(process.pid)} MB at most")


def _count(catalog: Path) -> tuple[int, int]:
    """Chunks that are known, and stored."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{catalog}?mode=ro", uri=True)) as connection:
            query = "SELECT count(*), coalesce(sum(state = 'stored'), 0) FROM chunks"
            known, stored = connection.execute(query).fetchone()
            return known, stored
    except sqlite3.OperationalError:  # not there yet, or locked
        return 0, 0


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 // 1_000_000


def _fill(settings: Settings, chunks: int) -> None:
    spool = Spool(settings.recorder.record_path, "porch")
    spool.create()
    spool.streams.write(make_stream())
    spool.state.write(SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM))
    for seq in range(chunks):
        chunk = make_chunk(seq, f"sound {seq}".encode(), seconds=60)
        spool.layout.audio_path(chunk).write_bytes(f"sound {seq}".encode())
        spool.layout.manifest_path(chunk.chunk_id).write_bytes(wire.encode(chunk))


def _forget_what_was_read() -> None:
    """A cold cache, as after a boot; only root may."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
        print("cold cache")
    except OSError as problem:
        print(f"warm cache: {problem}")


if __name__ == "__main__":
    main()
