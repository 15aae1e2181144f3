"""Uploading to a real S3 server, also when requests go wrong on the way."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import random
import threading
import urllib.request
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import pytest
from msgspec.structs import replace

from edge.archiver.plan.bundle import Bundle, BundleMember
from edge.archiver.upload.parts import Parts, part_size
from edge.archiver.upload.upload import Stopped, Uploader
from edge.configuration.settings import S3, Secret
from edge.core.errors import ChunkDamaged, StoreBlocked, StoreError, StoreUnreachable
from edge.store.interface import ObjectExists, StoredObject, StoredPart, UploadNotFound
from edge.store.s3 import S3Store
from tests.support.fault_proxy import FAULTS, Fault, FaultProxy, running_proxy
from tests.support.s3 import RunningStore

PART = 5 * 1024 * 1024  # the least that S3 takes
KEY = "imhearing/porch/2026/03/03/20260303T220000Z-abcd-000000-01234567.zip"


@pytest.fixture
def through(store: RunningStore) -> Iterator[tuple[FaultProxy, S3Store]]:
    with running_proxy(store.settings) as (proxy, settings):
        yield proxy, S3Store(settings, read_timeout=5)


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


def _uploader(storage: S3Store, files: Files, stop: threading.Event | None = None) -> Uploader:
    return Uploader(storage, files.open, stop or threading.Event(), PART, retry_delay=0.01)


def _key(request: pytest.FixtureRequest) -> str:
    return f"imhearing/porch/{hashlib.sha256(request.node.nodeid.encode()).hexdigest()}.zip"


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _stored(store: RunningStore, key: str) -> bytes:
    storage = S3Store(store.settings)
    found = storage.head(key)
    assert found is not None
    return b"".join(storage.read(key, 0, found.size))


@pytest.mark.parametrize("files", [SMALL, LARGE], ids=["whole", "in parts"])
def test_what_is_uploaded_is_what_was_planned(
    store: RunningStore, files: Files, request: pytest.FixtureRequest
) -> None:
    storage, key = S3Store(store.settings), _key(request)
    seen: list[int] = []
    assert _uploader(storage, files).upload(key, files.bundle, seen.append) == hashlib.sha256(files.whole).hexdigest()
    assert _stored(store, key) == files.whole
    assert seen == sorted(seen)
    assert seen[-1] == files.bundle.size
    assert storage.open_uploads("imhearing/") == []


@pytest.mark.parametrize("files", [SMALL, LARGE], ids=["whole", "in parts"])
def test_what_is_there_already_is_not_sent_again(
    through: tuple[FaultProxy, S3Store], files: Files, request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    key = _key(request)
    first = _uploader(storage, files).upload(key, files.bundle)
    proxy.seen.clear()
    assert _uploader(storage, files).upload(key, files.bundle) == first
    assert proxy.names() == (["HEAD"] if files is SMALL else ["HEAD", "GET list"])


def test_other_bytes_under_our_key_are_replaced(store: RunningStore, request: pytest.FixtureRequest) -> None:
    storage, key = S3Store(store.settings), _key(request)
    other = bytes(SMALL.bundle.size)
    storage.put(key, other, _md5(other))
    _uploader(storage, SMALL).upload(key, SMALL.bundle)
    assert _stored(store, key) == SMALL.whole


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
def test_one_fault_anywhere_changes_nothing(
    store: RunningStore,
    through: tuple[FaultProxy, S3Store],
    files: Files,
    name: str,
    fault: Fault,
    request: pytest.FixtureRequest,
) -> None:
    proxy, storage = through
    key = _key(request)
    proxy.fail_once(name, fault)
    sha256 = None
    for _ in range(3):  # what one attempt does not bring home, the next one does
        try:
            sha256 = _uploader(storage, files).upload(key, files.bundle)
            break
        except StoreError:
            continue
    assert sha256 == hashlib.sha256(files.whole).hexdigest()
    assert any(what for _, what in proxy.seen), "the fault was never met"
    assert _stored(store, key) == files.whole
    assert S3Store(store.settings).open_uploads(key) == []


def test_an_upload_goes_on_with_the_parts_that_are_there(
    store: RunningStore, through: tuple[FaultProxy, S3Store], request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    key = _key(request)
    parts, upload_id = Parts(LARGE.bundle, LARGE.open, PART), storage.start_parts(key)
    for _ in range(2):
        part = parts.take(parts.buffer())
        assert part is not None
        storage.put_part(key, upload_id, part.number, part.body, parts.md5(part))
    proxy.seen.clear()
    _uploader(storage, LARGE).upload(key, LARGE.bundle)
    assert proxy.names().count("PUT part") == 1
    assert _stored(store, key) == LARGE.whole
    assert storage.open_uploads("imhearing/") == []


def test_a_part_that_is_not_ours_is_not_trusted(store: RunningStore, request: pytest.FixtureRequest) -> None:
    storage, key = S3Store(store.settings), _key(request)
    parts, upload_id = Parts(LARGE.bundle, LARGE.open, PART), storage.start_parts(key)
    part = parts.take(parts.buffer())
    assert part is not None
    part.body[17] ^= 1
    storage.put_part(key, upload_id, 1, part.body, parts.md5(part))
    with pytest.raises(StoreError, match="a different part 1"):  # this store takes no part twice
        _uploader(storage, LARGE).upload(key, LARGE.bundle)
    _uploader(storage, LARGE).upload(key, LARGE.bundle)
    assert _stored(store, key) == LARGE.whole
    assert storage.open_uploads("imhearing/") == []


def test_left_open_uploads_are_swept_but_for_those_to_keep(store: RunningStore) -> None:
    storage = S3Store(store.settings)
    for key in ("imhearing/porch/a.zip", "imhearing/porch/b.zip", "imhearing/other/c.zip"):
        storage.start_parts(key)
    _uploader(storage, SMALL).sweep("imhearing/porch/", frozenset({"imhearing/porch/b.zip"}))
    left = storage.open_uploads("imhearing/")
    assert [key for key, _ in left] == ["imhearing/porch/b.zip", "imhearing/other/c.zip"]
    for key, upload_id in left:
        storage.abort(key, upload_id)


def test_an_upload_that_the_store_forgot_begins_anew(store: RunningStore, request: pytest.FixtureRequest) -> None:
    storage, key = S3Store(store.settings), _key(request)
    upload_id = storage.start_parts(key)
    storage.abort(key, upload_id)
    with pytest.raises(UploadNotFound):
        storage.put_part(key, upload_id, 1, b"x", _md5(b"x"))
    storage.abort(key, upload_id)  # gone already: no fault
    _uploader(storage, LARGE).upload(key, LARGE.bundle)
    assert _stored(store, key) == LARGE.whole


@pytest.mark.parametrize("files", [SMALL, LARGE], ids=["whole", "in parts"])
def test_damage_is_noticed_before_anything_is_complete(
    store: RunningStore, files: Files, request: pytest.FixtureRequest
) -> None:
    storage, key = S3Store(store.settings), _key(request)
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
def test_bytes_that_differ_in_the_store_are_a_failure(
    store: RunningStore, files: Files, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(StoreError, match="different bytes"):
        _uploader(_Lying(store.settings), files).upload(_key(request), files.bundle)


@pytest.mark.parametrize("files", [SMALL, LARGE], ids=["whole", "in parts"])
def test_an_answer_that_tells_is_enough(
    through: tuple[FaultProxy, S3Store], files: Files, request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    _uploader(storage, files).upload(_key(request), files.bundle)
    assert proxy.names().count("HEAD") == 1  # whether it was there before


def test_an_etag_that_is_no_md5_is_read_back(
    through: tuple[FaultProxy, S3Store], request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    proxy.choose = lambda request: "wrong_etag" if request.name in ("HEAD", "PUT") else None
    _uploader(storage, SMALL).upload(_key(request), SMALL.bundle)
    assert "GET" in proxy.names()


def test_a_key_that_may_only_put_is_enough(
    store: RunningStore, through: tuple[FaultProxy, S3Store], request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    proxy.choose = lambda request: "denied" if request.method in ("GET", "HEAD") else None
    for files, key in ((SMALL, _key(request) + "s"), (LARGE, _key(request) + "l")):
        _uploader(storage, files).upload(key, files.bundle)
        assert _stored(store, key) == files.whole


_DENIED = StoreBlocked("the key may not do this", "denied")


class _PutOnly(S3Store):
    """A key that may neither look nor read, at a store that honours `If-None-Match` (the server here does not)."""

    def _is_there(self, key: str) -> bool:
        return super().head(key) is not None

    def put(self, key: str, *arguments: Any, overwrite: bool = False, **named: Any) -> str:
        if not overwrite and self._is_there(key):
            raise ObjectExists(key)
        return super().put(key, *arguments, overwrite=overwrite, **named)

    def complete(self, key: str, *arguments: Any, overwrite: bool = False, **named: Any) -> str:
        if not overwrite and self._is_there(key):
            raise ObjectExists(key)
        return super().complete(key, *arguments, overwrite=overwrite, **named)

    def head(self, key: str) -> StoredObject | None:
        raise _DENIED

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        raise _DENIED

    def open_uploads(self, prefix: str) -> list[tuple[str, str]]:
        raise _DENIED

    def parts(self, key: str, upload_id: str) -> dict[int, StoredPart]:
        raise _DENIED


@pytest.mark.parametrize(("files", "name"), [(SMALL, "PUT"), (LARGE, "POST complete")], ids=["whole", "in parts"])
def test_a_lost_answer_does_not_block_a_key_that_may_only_put(
    store: RunningStore, files: Files, name: str, request: pytest.FixtureRequest
) -> None:
    key, digest = _key(request), None
    with running_proxy(store.settings) as (proxy, settings):
        proxy.fail_once(name, "reply_lost")
        for _ in range(3):  # the second one begins after a delay, as after any fault
            with contextlib.suppress(StoreError):
                digest = digest or _uploader(_PutOnly(settings), files).upload(key, files.bundle)
    assert any(what for _, what in proxy.seen), "the fault was never met"
    assert digest == hashlib.sha256(files.whole).hexdigest()
    assert _stored(store, key) == files.whole


def test_killed_before_the_commit_a_key_that_may_only_put_goes_on(
    store: RunningStore, request: pytest.FixtureRequest
) -> None:
    key = _key(request)
    S3Store(store.settings).put(key, SMALL.whole, _md5(SMALL.whole))
    _uploader(_PutOnly(store.settings), SMALL).upload(key, SMALL.bundle)


@pytest.mark.parametrize("files", [SMALL, LARGE], ids=["whole", "in parts"])
@pytest.mark.parametrize("tells", [True, False], ids=["ETag tells", "read back"])
def test_what_is_stored_already_counts_though_it_was_damaged_here(
    store: RunningStore,
    through: tuple[FaultProxy, S3Store],
    files: Files,
    tells: bool,
    request: pytest.FixtureRequest,
) -> None:
    """Killed after the last byte and before the commit: the store then has the only whole copy."""
    storage, key = S3Store(store.settings), _key(request)
    digest = _uploader(storage, files).upload(key, files.bundle)
    broken = {name: bytes(len(data)) for name, data in files.data.items()}
    proxy, again = through
    proxy.choose = lambda asked: None if tells or asked.name != "HEAD" else "wrong_etag"
    uploader = Uploader(again, lambda member: io.BytesIO(broken[member]), threading.Event(), PART, retry_delay=0.01)
    assert uploader.upload(key, files.bundle) == digest
    other = bytearray(files.whole)
    other[1_000] ^= 1
    storage.put(key, bytes(other), _md5(bytes(other)), overwrite=True)
    with pytest.raises(ChunkDamaged, match="in the spool"):
        uploader.upload(key, files.bundle)


class _Vague(S3Store):
    """Its ETags are no MD5s, as with SSE-KMS."""

    def complete(self, *arguments: Any, **named: Any) -> str:
        return super().complete(*arguments, **named) and "0" * 32

    def head(self, key: str) -> StoredObject | None:
        found = super().head(key)
        return replace(found, etag="0" * 32) if found else None


def test_reading_back_is_getting_on(store: RunningStore, request: pytest.FixtureRequest) -> None:
    """Whoever watches an upload hears of it while bytes come back, and while they are read from the files again."""
    storage = _Vague(store.settings)
    key, seen = _key(request), list[int]()
    _uploader(storage, LARGE).upload(key, LARGE.bundle, seen.append)
    size = LARGE.bundle.size
    assert seen == sorted(seen)
    assert seen.count(size) > size // 262_144
    seen.clear()
    _uploader(storage, LARGE).upload(key, LARGE.bundle, seen.append)
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
def test_every_byte_is_sent_at_the_given_pace(
    store: RunningStore, files: Files, checksums: Any, request: pytest.FixtureRequest
) -> None:
    pace, key = _Steps(), _key(request)
    _uploader(S3Store(replace(store.settings, checksums=checksums), pace=pace), files).upload(key, files.bundle)
    assert files.bundle.size <= sum(pace.sizes) < files.bundle.size + 1_000  # an XML document completes the parts
    assert max(pace.sizes) <= pace.step
    assert _stored(store, key) == files.whole


def test_told_to_end_it_leaves_the_upload_to_be_resumed(
    through: tuple[FaultProxy, S3Store], request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    key, stop = _key(request), threading.Event()

    def choose(asked: object) -> None:
        if "PUT part" in proxy.names():
            stop.set()

    proxy.choose = choose
    with pytest.raises(Stopped):
        _uploader(storage, LARGE, stop).upload(key, LARGE.bundle)
    proxy.heal()
    assert [name for name, _ in storage.open_uploads(key)] == [key]
    _uploader(storage, LARGE).upload(key, LARGE.bundle)
    assert storage.open_uploads(key) == []


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        ("denied", "denied", "permissions"),
        ("skewed", "clock_skew", "s ahead of the store's|s behind the store's"),
        ("no_bucket", "no_bucket", "no bucket 'imhearing'"),
    ],
)
def test_what_a_person_must_mend_is_blocked(
    through: tuple[FaultProxy, S3Store], fault: Fault, reason: str, words: str
) -> None:
    proxy, storage = through
    proxy.fail_always(fault)
    with pytest.raises(StoreBlocked, match=words) as caught:
        storage.put("x", b"", _md5(b""))
    assert caught.value.reason == reason


def test_what_the_real_store_refuses(store: RunningStore) -> None:
    md5 = _md5(b"x")
    with pytest.raises(StoreBlocked) as caught:
        S3Store(replace(store.settings, s3_bucket_name="elsewhere")).put("x", b"x", md5)
    assert caught.value.reason == "no_bucket"
    with pytest.raises(StoreBlocked) as caught:
        S3Store(replace(store.settings, secret_access_key=Secret("wrong"))).put("x", b"x", md5)
    assert caught.value.reason == "credentials"
    with pytest.raises(StoreError):
        S3Store(store.settings).put("imhearing/bad", b"other", md5)
    assert S3Store(store.settings).head("imhearing/bad") is None


def test_no_store_at_all_is_unreachable() -> None:
    settings = S3(
        s3_bucket_name="sounds",
        endpoint_url="http://127.0.0.1:1",
        access_key_id=Secret("id"),
        secret_access_key=Secret("secret"),
    )
    with pytest.raises(StoreUnreachable):
        S3Store(settings).head("x")


def test_a_stalled_store_is_unreachable(store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, settings):
        proxy.fail_always("stall")
        with pytest.raises(StoreUnreachable):
            S3Store(settings, read_timeout=0.2).head("x")


def test_a_range_is_read_and_a_short_answer_is_noticed(
    store: RunningStore, through: tuple[FaultProxy, S3Store], request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    key = _key(request)
    _uploader(storage, SMALL).upload(key, SMALL.bundle)
    assert b"".join(storage.read(key, 100, 1_000)) == SMALL.whole[100:1_100]
    proxy.fail_always("truncated", "GET")
    with pytest.raises(StoreError):
        list(storage.read(key, 100, 1_000))


def test_a_presigned_link_gives_the_object_to_whoever_has_it(
    store: RunningStore, request: pytest.FixtureRequest
) -> None:
    storage, key = S3Store(store.settings), _key(request)
    _uploader(storage, SMALL).upload(key, SMALL.bundle)
    with urllib.request.urlopen(storage.presigned_url(storage.bucket, key, 60)) as answer:  # noqa: S310
        assert answer.read() == SMALL.whole
    public = S3Store(replace(store.settings, public_endpoint_url="https://sounds.example.com"))
    assert public.presigned_url("imhearing", key, 60).startswith(f"https://sounds.example.com/imhearing/{key}?")


def test_keys_are_listed_and_buckets_made(store: RunningStore) -> None:
    storage = S3Store(replace(store.settings, s3_bucket_name="another"))
    storage.create_bucket()
    storage.create_bucket()
    for name in ("b", "a"):
        storage.put(f"listed/{name}", name.encode(), _md5(name.encode()))
    assert list(storage.keys("listed/")) == [("listed/a", 1), ("listed/b", 1)]
    storage.delete("listed/a")
    assert list(storage.keys("listed/")) == [("listed/b", 1)]


def test_nothing_secret_is_logged(store: RunningStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    storage = S3Store(store.settings)
    _uploader(storage, SMALL).upload("imhearing/logged.zip", SMALL.bundle)
    with pytest.raises(StoreBlocked):
        S3Store(replace(store.settings, s3_bucket_name="elsewhere")).check()
    assert store.settings.secret_access_key.reveal() not in caplog.text
    assert "Credential=" not in caplog.text
    assert "Signature" not in caplog.text


def test_parts_stay_below_the_limit_of_s3() -> None:
    mebibyte = 1024 * 1024
    assert part_size(1) == part_size(80_000 * mebibyte) == 8 * mebibyte
    assert part_size(80_000 * mebibyte + 1) == 9 * mebibyte
    assert -(-100_000_000_000 // part_size(100_000_000_000)) <= 10_000


def test_an_object_that_must_not_be_overwritten_is_a_distinct_error(
    through: tuple[FaultProxy, S3Store], request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    proxy.fail_once("PUT", "exists")
    with pytest.raises(ObjectExists):
        storage.put(_key(request), b"x", hashlib.md5(b"x", usedforsecurity=False).hexdigest())
