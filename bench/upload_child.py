"""The archiver's share of `bench.upload`, in a process that imports nothing else: its memory is the archiver's."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

from edge.archiver.plan.plan import ArchiveLimits, Destination, batches, make_plan
from edge.archiver.plan.read_back import ReadBackPolicy
from edge.archiver.retention.age_check import AgeCheck
from edge.archiver.retention.deletions import Deletions
from edge.archiver.upload.upload import Uploader
from edge.catalog import Catalog
from edge.configuration.settings import S3, Secret
from edge.core import wire
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.spool.spool import Spool
from edge.store.bucket import check_bucket
from edge.store.s3 import S3Store

MEGABYTE = 1_000_000


def main(folder: Path, settings: Path, read_back: str, chunks: int) -> None:
    """Plans, commits, uploads, verifies, commits, removes: what the service does, without its waiting.

    An archive holds `chunks`. A file `same` beside the spool is the audio of every chunk.
    """
    spool, storage = Spool(folder, "porch"), S3Store(_s3_of(settings.read_text().splitlines()))
    catalog, same = Catalog(folder.with_name("catalog.db")), folder.with_name("same")
    catalog.open()
    check_bucket(storage.connection)
    cpu = time.process_time()
    written, began, size = _proc("io", "write_bytes:"), time.monotonic(), 0

    def open_member(name: str) -> BinaryIO:
        return (same if same.exists() else spool.path / name).open("rb")

    catalog.registration.add_chunks(spool.chunks.manifest(chunk_id) for chunk_id in sorted(spool.chunks.manifest_ids()))
    uploader = Uploader(storage, open_member, threading.Event(), read_back=ReadBackPolicy.parse(read_back))
    for batch in batches(catalog.queue.waiting(10_000), ArchiveLimits(10**12, chunks)):
        streams = catalog.streams({chunk.stream_id for chunk in batch})
        plan = make_plan(batch, streams, Destination(storage.bucket, "imhearing/", "porch"))
        catalog.plans.commit(plan.archive(Instant(1)), plan.members, plan.manifest)
        catalog.plans.mark_uploaded(plan.archive_id, uploader.upload(plan.key, plan.bundle), Instant(2))
        Deletions(spool, catalog, storage, AgeCheck(0, KernelClock())).remove_chunks(
            [chunk.chunk_id for chunk in batch]
        )
        size += plan.bundle.size
    seconds = time.monotonic() - began
    figures = {
        "seconds": seconds,
        "cpu": time.process_time() - cpu,
        "rate": size / MEGABYTE / seconds,
        "rss_mb": _proc("status", "VmHWM:") * 1024 / MEGABYTE,  # getrusage has that of who started us
        "written": float(_proc("io", "write_bytes:") - written),
    }
    print(wire.encode(figures).decode())


def _proc(file: str, name: str) -> int:
    lines = Path(f"/proc/self/{file}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def _s3_of(values: list[str]) -> S3:
    bucket, endpoint, key_id, secret = values
    return S3(
        s3_bucket_name=bucket, endpoint_url=endpoint, access_key_id=Secret(key_id), secret_access_key=Secret(secret)
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
