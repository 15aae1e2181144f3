"""Uploads while requests fail, chunks are damaged, or the store keeps other bytes."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from edge.archiver.upload.upload import Uploader
from edge.core.errors import ChunkDamaged, StoreError
from edge.store.interface import StoredObject
from edge.store.s3 import S3Store
from tests.support.store.fault_proxy import FAULTS, Fault, FaultProxy
from tests.support.store.s3 import RunningStore
from tests.support.store.uploads import (
    LARGE,
    MEDIUM,
    PART,
    SMALL,
    Files,
    make_uploader,
    md5_of,
    stored_bytes,
    unique_key,
)

WAYS = [
    *[(SMALL, name, fault) for name in ("HEAD", "PUT") for fault in FAULTS],
    *[
        (MEDIUM, name, fault)
        for name in ("HEAD", "GET list", "POST start", "PUT part", "POST complete")
        for fault in FAULTS
    ],
]


@pytest.mark.parametrize(
    ("files", "name", "fault"), WAYS, ids=[f"{name}-{fault}".replace(" ", "_") for _, name, fault in WAYS]
)
def test_an_upload_survives_one_fault_in_any_request(
    store: RunningStore,
    through: tuple[FaultProxy, S3Store],
    files: Files,
    name: str,
    fault: Fault,
    request: pytest.FixtureRequest,
) -> None:
    proxy, storage = through
    key = unique_key(request)
    proxy.fail_once(name, fault)
    sha256 = None
    for _ in range(3):  # what one attempt does not bring home, the next one does
        try:
            sha256 = make_uploader(storage, files).upload(key, files.bundle)
            break
        except StoreError:
            continue
    assert sha256 == hashlib.sha256(files.whole).hexdigest()
    assert any(what for _, what in proxy.seen), "the fault was never met"
    assert stored_bytes(store, key) == files.whole
    assert S3Store(store.settings).open_uploads(key) == []


@pytest.mark.parametrize("files", [SMALL, LARGE], ids=["whole", "in parts"])
def test_a_damaged_chunk_is_detected_before_the_upload_completes(
    store: RunningStore, files: Files, request: pytest.FixtureRequest
) -> None:
    storage, key = S3Store(store.settings), unique_key(request)
    name = list(files.data)[-1]
    broken = {**files.data, name: bytes(len(files.data[name]))}
    uploader = Uploader(storage, lambda member: io.BytesIO(broken[member]), threading.Event(), PART)
    with pytest.raises(ChunkDamaged, match=name):
        uploader.upload(key, files.bundle)
    assert storage.head(key) is None
    assert storage.open_uploads("imhearing/") == []


class _Lying(S3Store):
    """A store that takes parts and bodies and keeps something else."""

    def put(self, *arguments: Any, **named: Any) -> str:
        super().put(*arguments, **named)
        return "0" * 32

    def complete(self, *arguments: Any, **named: Any) -> str:
        super().complete(*arguments, **named)
        return "0" * 32

    def head(self, key: str) -> StoredObject | None:
        found = super().head(key)
        return replace(found, etag="0" * 32) if found else None

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        yield bytes(length)


@pytest.mark.parametrize("files", [SMALL, LARGE], ids=["whole", "in parts"])
def test_different_bytes_in_the_store_fail_the_upload(
    store: RunningStore, files: Files, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(StoreError, match="different bytes"):
        make_uploader(_Lying(store.settings), files).upload(unique_key(request), files.bundle)


@pytest.mark.parametrize("files", [SMALL, LARGE], ids=["whole", "in parts"])
def test_a_matching_etag_is_not_verified_with_another_request(
    through: tuple[FaultProxy, S3Store], files: Files, request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    make_uploader(storage, files).upload(unique_key(request), files.bundle)
    assert proxy.names().count("HEAD") == 1  # whether it was there before


def test_an_object_whose_etag_is_not_an_md5_is_read_back(
    through: tuple[FaultProxy, S3Store], request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    proxy.choose = lambda request: "wrong_etag" if request.name in ("HEAD", "PUT") else None
    make_uploader(storage, SMALL).upload(unique_key(request), SMALL.bundle)
    assert "GET" in proxy.names()


@pytest.mark.parametrize("files", [SMALL, LARGE], ids=["whole", "in parts"])
@pytest.mark.parametrize("tells", [True, False], ids=["ETag tells", "read back"])
def test_an_archive_already_in_the_store_counts_although_the_local_chunks_are_damaged(
    store: RunningStore,
    through: tuple[FaultProxy, S3Store],
    files: Files,
    tells: bool,
    request: pytest.FixtureRequest,
) -> None:
    """Killed after the last byte and before the commit: the store then has the only whole copy."""
    storage, key = S3Store(store.settings), unique_key(request)
    digest = make_uploader(storage, files).upload(key, files.bundle)
    broken = {name: bytes(len(data)) for name, data in files.data.items()}
    proxy, again = through
    proxy.choose = lambda incoming: None if tells or incoming.name != "HEAD" else "wrong_etag"
    uploader = Uploader(again, lambda member: io.BytesIO(broken[member]), threading.Event(), PART, retry_delay=0.01)
    assert uploader.upload(key, files.bundle) == digest
    other = bytearray(files.whole)
    other[1_000] ^= 1
    storage.put(key, bytes(other), md5_of(bytes(other)), overwrite=True)
    with pytest.raises(ChunkDamaged, match="in the spool"):
        uploader.upload(key, files.bundle)


@pytest.mark.parametrize("fault", ["slow_down", "error", "truncated"])
def test_a_copy_that_cannot_be_read_back_leaves_open_whether_the_plan_was_uploaded(
    store: RunningStore, through: tuple[FaultProxy, S3Store], fault: Fault, request: pytest.FixtureRequest
) -> None:
    """A file was damaged since: if this counted as damage, the plan would be dropped and its archive orphaned."""
    key = unique_key(request)
    digest = make_uploader(S3Store(store.settings), SMALL).upload(key, SMALL.bundle)
    proxy, storage = through
    damaged = Uploader(storage, lambda _: io.BytesIO(bytes(9)), threading.Event(), PART, retry_delay=0.01)
    proxy.fail_always(fault, "GET")
    with pytest.raises(StoreError):
        damaged.upload(key, SMALL.bundle)
    proxy.heal()
    assert damaged.upload(key, SMALL.bundle) == digest
