"""The S3 store: which errors are raised when, ranges, links, listings, and what is logged."""

from __future__ import annotations

import hashlib
import logging
import urllib.request

import pytest
from msgspec.structs import replace

from edge.configuration.settings import S3, Secret
from edge.core.errors import StoreBlocked, StoreError, StoreUnreachable
from edge.store.bucket import check_bucket, create_bucket
from edge.store.interface import ObjectExists
from edge.store.s3 import S3Store
from tests.support.store.fault_proxy import Fault, FaultProxy, running_proxy
from tests.support.store.s3 import RunningStore
from tests.support.store.uploads import SMALL, make_uploader, md5_of, unique_key


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        ("denied", "denied", "permissions"),
        ("skewed", "clock_skew", "s ahead of the store's|s behind the store's"),
        ("no_bucket", "no_bucket", "no bucket 'imhearing'"),
    ],
)
def test_errors_that_only_a_person_can_fix_raise_store_blocked(
    through: tuple[FaultProxy, S3Store], fault: Fault, reason: str, words: str
) -> None:
    proxy, storage = through
    proxy.fail_always(fault)
    with pytest.raises(StoreBlocked, match=words) as caught:
        storage.put("x", b"", md5_of(b""))
    assert caught.value.reason == reason


def test_a_missing_bucket_a_wrong_key_and_a_wrong_md5_raise_their_errors(store: RunningStore) -> None:
    md5 = md5_of(b"x")
    with pytest.raises(StoreBlocked) as caught:
        S3Store(replace(store.settings, s3_bucket_name="elsewhere")).put("x", b"x", md5)
    assert caught.value.reason == "no_bucket"
    with pytest.raises(StoreBlocked) as caught:
        S3Store(replace(store.settings, secret_access_key=Secret("wrong"))).put("x", b"x", md5)
    assert caught.value.reason == "credentials"
    with pytest.raises(StoreError):
        S3Store(store.settings).put("imhearing/bad", b"other", md5)
    assert S3Store(store.settings).head("imhearing/bad") is None


def test_a_refused_connection_raises_store_unreachable() -> None:
    settings = S3(
        s3_bucket_name="sounds",
        endpoint_url="http://127.0.0.1:1",
        access_key_id=Secret("id"),
        secret_access_key=Secret("secret"),
    )
    with pytest.raises(StoreUnreachable):
        S3Store(settings).head("x")


def test_a_stalled_store_raises_store_unreachable(store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, settings):
        proxy.fail_always("stall")
        with pytest.raises(StoreUnreachable):
            S3Store(settings, read_timeout=0.2).head("x")


def test_a_byte_range_can_be_read_and_a_short_response_is_detected(
    store: RunningStore, through: tuple[FaultProxy, S3Store], request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    key = unique_key(request)
    make_uploader(storage, SMALL).upload(key, SMALL.bundle)
    assert b"".join(storage.read(key, 100, 1_000)) == SMALL.whole[100:1_100]
    proxy.fail_always("truncated", "GET")
    with pytest.raises(StoreError):
        list(storage.read(key, 100, 1_000))


def test_a_presigned_link_serves_the_object_without_a_key(store: RunningStore, request: pytest.FixtureRequest) -> None:
    storage, key = S3Store(store.settings), unique_key(request)
    make_uploader(storage, SMALL).upload(key, SMALL.bundle)
    with urllib.request.urlopen(storage.presigned_url(storage.bucket, key, 60)) as answer:  # noqa: S310
        assert answer.read() == SMALL.whole
    public = S3Store(replace(store.settings, public_endpoint_url="https://sounds.example.com"))
    assert public.presigned_url("imhearing", key, 60).startswith(f"https://sounds.example.com/imhearing/{key}?")


def test_keys_can_be_listed_and_buckets_created(store: RunningStore) -> None:
    storage = S3Store(replace(store.settings, s3_bucket_name="another"))
    create_bucket(storage.connection)
    create_bucket(storage.connection)
    for name in ("b", "a"):
        storage.put(f"listed/{name}", name.encode(), md5_of(name.encode()))
    assert list(storage.keys("listed/")) == [("listed/a", 1), ("listed/b", 1)]
    storage.delete("listed/a")
    assert list(storage.keys("listed/")) == [("listed/b", 1)]


def test_the_s3_store_logs_no_secret(store: RunningStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    storage = S3Store(store.settings)
    make_uploader(storage, SMALL).upload("imhearing/logged.zip", SMALL.bundle)
    with pytest.raises(StoreBlocked):
        check_bucket(S3Store(replace(store.settings, s3_bucket_name="elsewhere")).connection)
    assert store.settings.secret_access_key.reveal() not in caplog.text
    assert "Credential=" not in caplog.text
    assert "Signature" not in caplog.text


def test_an_existing_object_raises_object_exists(
    through: tuple[FaultProxy, S3Store], request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    proxy.fail_once("PUT", "exists")
    with pytest.raises(ObjectExists):
        storage.put(unique_key(request), b"x", hashlib.md5(b"x", usedforsecurity=False).hexdigest())
