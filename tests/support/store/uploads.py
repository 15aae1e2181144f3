"""Archives in memory, and uploaders of them."""

from __future__ import annotations

import hashlib
import io
import random
import threading
import zlib
from typing import BinaryIO

import pytest

from edge.archiver.plan.bundle import Bundle, BundleMember
from edge.archiver.upload.upload import Uploader
from edge.store.s3 import S3Store
from tests.support.store.s3 import RunningStore

PART = 5 * 1024 * 1024  # the least that S3 takes


class Files:
    """Members in memory: `sizes` bytes each of seeded noise."""

    def __init__(self, *sizes: int, seed: int = 1) -> None:
        noise = random.Random(seed)
        names = (f"20260303T220000Z-abcd-{n:06d}.flac" for n in range(len(sizes)))
        self.data = {name: noise.randbytes(size) for name, size in zip(names, sizes, strict=True)}
        entries = [BundleMember(name, len(data), zlib.crc32(data)) for name, data in self.data.items()]
        self.bundle = Bundle(entries, b'{"v":1}')
        self.whole = b"".join(self.bundle.stream(self.open))

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self.data[name])


SMALL = Files(1_000, 20_000)
MEDIUM = Files(4_000_000, 1_500_000)  # two parts
LARGE = Files(4_000_000, 7_000_000, 3_000_000)  # three parts


def make_uploader(storage: S3Store, files: Files, stop: threading.Event | None = None) -> Uploader:
    return Uploader(storage, files.open, stop or threading.Event(), PART, retry_delay=0.01)


def unique_key(request: pytest.FixtureRequest) -> str:
    return f"imhearing/porch/{hashlib.sha256(request.node.nodeid.encode()).hexdigest()}.zip"


def md5_of(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def stored_bytes(store: RunningStore, key: str) -> bytes:
    storage = S3Store(store.settings)
    found = storage.head(key)
    assert found is not None
    return b"".join(storage.read(key, 0, found.size))
