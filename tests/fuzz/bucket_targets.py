"""What a bucket holds: archives and corrections, as `catalog rebuild` reads them."""

from __future__ import annotations

import atexit
import functools
import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from edge.archiver.plan.plan import ArchivePlan, Destination, make_plan
from edge.archiver.rebuild import rebuild
from edge.archiver.stored_manifests import fetch_manifest
from edge.catalog import Catalog
from edge.catalog.values import SoundRange
from edge.core import wire
from edge.core.errors import WireError
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import DiscardedChunk, Hole, SoundSpan
from edge.spool.spool import Spool
from tests.fuzz.target import Target
from tests.support.spool.chunks import START, STREAM, make_chunk, make_stream

PREFIX, NODE, SOUND = "imhearing/", "porch", b"sound"


class Bucket:
    """One object."""

    bucket = "bucket"

    def __init__(self, key: str, data: bytes) -> None:
        self._key, self._data = key, data

    def keys(self, prefix: str, after: str = "") -> Iterator[tuple[str, int]]:
        if self._key.startswith(prefix) and self._key > after:
            yield self._key, len(self._data)

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        yield self._data[offset : offset + length]


def _plan() -> ArchivePlan:
    sounds = (SoundSpan(f"{STREAM}-s100", 100, 500, -20.0, -24.0),)
    hole = Hole("crash", Instant(START - 1_000_000), START)
    chunks = [make_chunk(0, SOUND, sounds=sounds, before=(hole,)), make_chunk(1, SOUND)]
    destination = Destination("bucket", PREFIX, NODE)
    return make_plan(chunks, {STREAM: make_stream()}, destination, [DiscardedChunk(make_chunk(2, SOUND), "quiet")])


PLAN = _plan()


@functools.cache
def _node() -> tuple[Spool, Catalog]:
    """An empty spool, and a catalog that remembers what the inputs before have put there."""
    folder = Path(tempfile.mkdtemp(prefix="imhearing-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    spool = Spool(folder / "spool", NODE)
    spool.create()
    return spool, Catalog(folder / "catalog.db")


def _rebuild(key: str, data: bytes) -> None:
    """What is accepted must not break the catalog either."""
    spool, catalog = _node()
    found = rebuild(Bucket(key, data), PREFIX, spool, catalog, Instant(9))
    if found.faults:
        raise WireError(found.faults[0])
    catalog.chunks_between(FIRST, LAST, 100)
    catalog.sound_run(SoundRange(FIRST, LAST), None, 100)
    catalog.queue.backlog()


def _directory(data: bytes) -> None:
    fetch_manifest(Bucket(PLAN.key, data), PLAN.key, len(data))


def _manifest(data: bytes) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for member in PLAN.members:
            archive.writestr(member.member, SOUND)
        archive.writestr("manifest.json", data)
    _rebuild(PLAN.key, file.getvalue())


def _correction(data: bytes) -> None:
    _rebuild(f"{PREFIX}{NODE}/corrections/{STREAM}.json", data)


def _whole_archive() -> bytes:
    return b"".join(PLAN.bundle.stream(lambda _: io.BytesIO(SOUND)))


def targets() -> list[Target]:
    record = wire.encode(make_stream(shift=5, uncertain=True, knots=((0, START), (96_000, LAST)), calibration_db=94.0))
    return [
        Target("zip directory", _directory, [_whole_archive()]),
        Target("manifest", _manifest, [PLAN.manifest]),
        Target("correction", _correction, [record]),
    ]
