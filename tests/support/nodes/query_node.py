"""A node's data folder with real audio, catalog and archives, and a query service on it in a thread."""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path

from edge.archiver.plan.plan import Destination, make_plan
from edge.catalog import Catalog
from edge.configuration import settings as sections
from edge.configuration.settings import S3, Ably, Mqtt, Settings
from edge.core.instant import Instant
from edge.spool.spool import Spool
from edge.store.s3 import S3Store
from query_service import service
from query_service.loopback.server import RealtimeServer
from tests.support.spool.chunks import START, STREAM, fill_spool
from tests.support.wait import DEADLINE


class QueryNode:
    """`settings` name its folder; `audio` holds the files of its chunks by id."""

    def __init__(self, folder: Path, chunks: int = 5, name: str = "porch") -> None:
        self.settings = Settings(
            node=sections.Node(name),
            recorder=sections.Recorder(record_path=folder / "spool"),
            catalog=sections.Catalog(folder / "catalog.db"),
        )
        self.audio = fill_spool(folder / "spool", chunks, node=name)
        self.spool = Spool(folder / "spool", name)
        with contextlib.closing(Catalog(folder / "catalog.db")) as catalog:
            catalog.open()
            catalog.registration.put_stream(self.spool.streams.read(STREAM))

    def with_doors(
        self, server: RealtimeServer | None = None, mqtt: Mqtt | None = None, s3: S3 | None = None
    ) -> Settings:
        """Its settings, with these doors configured."""
        ably = Ably(server.api_key, server.endpoint) if server else Ably()
        return Settings(
            node=self.settings.node,
            recorder=self.settings.recorder,
            catalog=self.settings.catalog,
            mqtt=mqtt or Mqtt(),
            s3=s3 or S3(),
            ably=ably,
        )

    def archive(self, s3: S3, chunk_ids: list[str]) -> str:
        """Registers, uploads and removes these chunks, as the archiver does; returns the archive's key."""
        storage = S3Store(s3)
        with contextlib.closing(Catalog(self.settings.catalog.db_path)) as catalog:
            catalog.open()
            chunks = [self.spool.chunks.manifest(name) for name in chunk_ids]
            catalog.registration.add_chunks(chunks)
            target = Destination(s3.s3_bucket_name, s3.prefix, self.settings.node.name)
            streams = {chunk.stream_id: self.spool.streams.read(chunk.stream_id) for chunk in chunks}
            plan = make_plan(chunks, streams, target)
            body = b"".join(plan.bundle.stream(self._open))
            archive = plan.archive(Instant(chunks[-1].ended_at))
            catalog.plans.commit(archive, plan.members, plan.manifest)
            storage.put(archive.key, body, hashlib.md5(body).hexdigest())  # noqa: S324
            catalog.plans.mark_uploaded(archive.archive_id, "0" * 64, Instant(chunks[-1].ended_at))
            for name in chunk_ids:
                self.spool.chunks.remove(name)
        return archive.key

    def _open(self, name: str) -> io.BufferedReader:
        return (self.spool.path / name).open("rb")


@contextlib.contextmanager
def running_service(settings: Settings) -> Iterator[threading.Event]:
    """Runs the query service meanwhile; yields its `stop`."""
    stop = threading.Event()
    thread = threading.Thread(target=service.run, args=(settings, stop), name="query-service", daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(DEADLINE)
        assert not thread.is_alive()


def archive_first(node: QueryNode) -> None:
    """The catalog gets the first three chunks, and the first of them is in an archive."""
    ids = sorted(node.audio)
    with contextlib.closing(Catalog(node.settings.catalog.db_path)) as catalog:
        catalog.registration.add_chunks(node.spool.chunks.manifest(chunk_id) for chunk_id in ids[:3])
        plan = make_plan(catalog.queue.waiting(1), {}, Destination("bucket", "p/", "porch"))
        catalog.plans.commit(plan.archive(START), plan.members, plan.manifest)
        catalog.plans.mark_uploaded(plan.archive_id, "0" * 64, START)
