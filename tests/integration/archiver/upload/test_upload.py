"""Uploading to a real S3 server: what is sent, resumed, verified and reported."""

from __future__ import annotations

import hashlib
import io
import threading
from typing import Any, BinaryIO

import pytest
from msgspec.structs import replace

from edge.archiver.upload.parts import Parts, part_size
from edge.archiver.upload.upload import Stopped, Uploader
from edge.core.errors import StoreError
from edge.store.interface import StoredObject, UploadNotFound
from edge.store.s3 import S3Store
from tests.support.store.fault_proxy import FaultProxy
from tests.support.store.s3 import RunningStore
from tests.support.store.uploads import LARGE, PART, SMALL, Files, make_uploader, md5_of, stored_bytes, unique_key


@pytest.mark.parametrize("files", [SMALL, LARGE], ids=["whole", "in parts"])
def test_an_uploaded_archive_equals_its_plan(store: RunningStore, files: Files, request: pytest.FixtureRequest) -> None:
    storage, key = S3Store(store.settings), unique_key(request)
    seen: list[int] = []
    assert (
        make_uploader(storage, files).upload(key, files.bundle, seen.append) == hashlib.sha256(files.whole).hexdigest()
    )
    assert stored_bytes(store, key) == files.whole
    assert seen == sorted(seen)
    assert seen[-1] == files.bundle.size
    assert storage.open_uploads("imhearing/") == []


@pytest.mark.parametrize("files", [SMALL, LARGE], ids=["whole", "in parts"])
def test_an_archive_that_the_store_already_has_is_not_sent_again(
    through: tuple[FaultProxy, S3Store], files: Files, request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    key = unique_key(request)
    first = make_uploader(storage, files).upload(key, files.bundle)
    proxy.seen.clear()
    assert make_uploader(storage, files).upload(key, files.bundle) == first
    assert proxy.names() == (["HEAD", "GET"] if files is SMALL else ["HEAD", "GET", "GET list"])


def test_different_bytes_under_the_archives_key_are_replaced(
    store: RunningStore, request: pytest.FixtureRequest
) -> None:
    storage, key = S3Store(store.settings), unique_key(request)
    other = bytes(SMALL.bundle.size)
    storage.put(key, other, md5_of(other))
    make_uploader(storage, SMALL).upload(key, SMALL.bundle)
    assert stored_bytes(store, key) == SMALL.whole


def test_an_upload_resumes_with_the_parts_the_store_already_has(
    store: RunningStore, through: tuple[FaultProxy, S3Store], request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    key = unique_key(request)
    parts, upload_id = Parts(LARGE.bundle, LARGE.open, PART), storage.start_parts(key)
    for _ in range(2):
        part = parts.take(parts.buffer())
        assert part is not None
        storage.put_part(key, upload_id, part.number, part.body, parts.md5(part))
    proxy.seen.clear()
    make_uploader(storage, LARGE).upload(key, LARGE.bundle)
    assert proxy.names().count("PUT part") == 1
    assert stored_bytes(store, key) == LARGE.whole
    assert storage.open_uploads("imhearing/") == []


def test_a_part_with_different_bytes_is_not_reused(store: RunningStore, request: pytest.FixtureRequest) -> None:
    storage, key = S3Store(store.settings), unique_key(request)
    parts, upload_id = Parts(LARGE.bundle, LARGE.open, PART), storage.start_parts(key)
    part = parts.take(parts.buffer())
    assert part is not None
    part.body[17] ^= 1
    storage.put_part(key, upload_id, 1, part.body, parts.md5(part))
    with pytest.raises(StoreError, match="a different part 1"):  # this store takes no part twice
        make_uploader(storage, LARGE).upload(key, LARGE.bundle)
    make_uploader(storage, LARGE).upload(key, LARGE.bundle)
    assert stored_bytes(store, key) == LARGE.whole
    assert storage.open_uploads("imhearing/") == []


def test_abandoned_uploads_are_aborted_except_those_to_keep(store: RunningStore) -> None:
    storage = S3Store(store.settings)
    for key in ("imhearing/porch/a.zip", "imhearing/porch/b.zip", "imhearing/other/c.zip"):
        storage.start_parts(key)
    make_uploader(storage, SMALL).sweep("imhearing/porch/", frozenset({"imhearing/porch/b.zip"}))
    left = storage.open_uploads("imhearing/")
    assert [key for key, _ in left] == ["imhearing/porch/b.zip", "imhearing/other/c.zip"]
    for key, upload_id in left:
        storage.abort(key, upload_id)


def test_an_upload_that_the_store_no_longer_knows_starts_over(
    store: RunningStore, request: pytest.FixtureRequest
) -> None:
    storage, key = S3Store(store.settings), unique_key(request)
    upload_id = storage.start_parts(key)
    storage.abort(key, upload_id)
    with pytest.raises(UploadNotFound):
        storage.put_part(key, upload_id, 1, b"x", md5_of(b"x"))
    storage.abort(key, upload_id)  # gone already: no fault
    make_uploader(storage, LARGE).upload(key, LARGE.bundle)
    assert stored_bytes(store, key) == LARGE.whole


class _Vague(S3Store):
    """Its ETags are no MD5s, as with SSE-KMS."""

    def complete(self, *arguments: Any, **named: Any) -> str:
        return super().complete(*arguments, **named) and "0" * 32

    def head(self, key: str) -> StoredObject | None:
        found = super().head(key)
        return replace(found, etag="0" * 32) if found else None


def test_progress_is_reported_while_an_archive_is_read_back(
    store: RunningStore, request: pytest.FixtureRequest
) -> None:
    """Whoever watches an upload hears of it while bytes come back, and while they are read from the files again."""
    storage = _Vague(store.settings)
    key, seen = unique_key(request), list[int]()
    make_uploader(storage, LARGE).upload(key, LARGE.bundle, seen.append)
    size = LARGE.bundle.size
    assert seen == sorted(seen)
    assert seen.count(size) > size // 262_144
    seen.clear()
    make_uploader(storage, LARGE).upload(key, LARGE.bundle, seen.append)
    assert seen.count(0) > size // 262_144
    assert seen[-1] == size


class _Steps:
    """Lets everything through, and notes how much at a time."""

    step = 7_000

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def wait(self, size: int) -> None:
        self.sizes.append(size)


@pytest.mark.parametrize("files", [SMALL, LARGE], ids=["whole", "in parts"])
@pytest.mark.parametrize("checksums", ["when_required", "when_supported"])
def test_every_byte_is_sent_and_read_back_at_the_given_pace(
    store: RunningStore, files: Files, checksums: Any, request: pytest.FixtureRequest
) -> None:
    pace, key = _Steps(), unique_key(request)
    make_uploader(S3Store(replace(store.settings, checksums=checksums), pace=pace), files).upload(key, files.bundle)
    twice = 2 * files.bundle.size
    assert twice <= sum(pace.sizes) < twice + 1_000  # an XML document completes the parts
    assert max(pace.sizes) <= pace.step
    assert stored_bytes(store, key) == files.whole


def test_a_stopped_upload_can_be_resumed(through: tuple[FaultProxy, S3Store], request: pytest.FixtureRequest) -> None:
    proxy, storage = through
    key, stop = unique_key(request), threading.Event()

    def choose(incoming: object) -> None:
        if "PUT part" in proxy.names():
            stop.set()

    proxy.choose = choose
    with pytest.raises(Stopped):
        make_uploader(storage, LARGE, stop).upload(key, LARGE.bundle)
    proxy.heal()
    assert [name for name, _ in storage.open_uploads(key)] == [key]
    make_uploader(storage, LARGE).upload(key, LARGE.bundle)
    assert storage.open_uploads(key) == []


def test_part_sizes_stay_within_the_part_limit_of_s3() -> None:
    mebibyte = 1024 * 1024
    assert part_size(1) == part_size(80_000 * mebibyte) == 8 * mebibyte
    assert part_size(80_000 * mebibyte + 1) == 9 * mebibyte
    assert -(-100_000_000_000 // part_size(100_000_000_000)) <= 10_000


def test_a_file_damaged_after_it_was_sent_is_no_reason_to_doubt_the_stored_copy(
    store: RunningStore, request: pytest.FixtureRequest
) -> None:
    """The uploader reads the files again where the store's ETag is not conclusive."""
    opened: list[str] = []

    def open_once(name: str) -> BinaryIO:
        opened.append(name)
        return io.BytesIO(bytes(9)) if opened.count(name) > 1 else LARGE.open(name)

    uploader = Uploader(_Vague(store.settings), open_once, threading.Event(), PART, retry_delay=0.01)
    assert uploader.upload(unique_key(request), LARGE.bundle) == hashlib.sha256(LARGE.whole).hexdigest()
    assert len(opened) > len(LARGE.data)
