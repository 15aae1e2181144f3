"""Stores that do not offer an operation that we use where available: every archive arrives, verified, all the same."""

from __future__ import annotations

import contextlib
import hashlib
import logging

import pytest
from msgspec.structs import replace

from edge.core.errors import StoreBlocked, StoreError
from edge.store.interface import ObjectExists
from edge.store.s3 import S3Store
from tests.support.store.fault_proxy import Fault, Reply, Request, running_proxy
from tests.support.store.faults import NOT_IMPLEMENTED, OPTIONAL_OPERATIONS, always, without
from tests.support.store.s3 import RunningStore
from tests.support.store.uploads import MEDIUM, SMALL, Files, make_uploader, md5_of, stored_bytes, unique_key

WAYS = [(name,) for name in OPTIONAL_OPERATIONS] + [tuple(OPTIONAL_OPERATIONS)]


@pytest.mark.parametrize("missing", WAYS, ids=lambda names: names[0] if len(names) == 1 else "all of them")
def test_every_archive_arrives_verified_at_a_store_without(
    store: RunningStore, missing: tuple[str, ...], caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    """Also after a fault in the middle of an upload."""
    lost: list[Fault] = ["reset_body"]
    lacks = without(*missing)

    def choose(incoming: Request) -> Fault | Reply | None:
        if answer := lacks(incoming):
            return answer
        return lost.pop() if lost and incoming.name == "PUT part" and "partNumber=2" in incoming.query else None

    with running_proxy(store.settings) as (proxy, through):
        proxy.choose, proxy.folder = choose, store.folder
        storage = S3Store(replace(through, tags="project=garden"), read_timeout=5)
        for files, key in ((SMALL, unique_key(request) + "s"), (MEDIUM, unique_key(request) + "m")):
            assert _upload(storage, files, key) == hashlib.sha256(files.whole).hexdigest()
            assert stored_bytes(store, key) == files.whole
            assert any(seen.name == "GET" and seen.path.endswith(key) for seen, _ in proxy.seen), "was not read back"
    assert not lost
    assert "answers alone" not in caplog.text


def _upload(storage: S3Store, files: Files, key: str) -> str:
    uploader = make_uploader(storage, files)
    with contextlib.suppress(StoreError):
        return uploader.upload(key, files.bundle)
    return uploader.upload(key, files.bundle)


def test_a_store_that_refuses_if_none_match_is_sent_it_once(
    store: RunningStore, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    caplog.set_level(logging.WARNING)
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = without("If-None-Match")
        storage, key = S3Store(through), unique_key(request)
        storage.put(f"{key}-1", b"one", md5_of(b"one"))
        storage.put(f"{key}-2", b"two", md5_of(b"two"))
        assert proxy.names() == ["PUT", "HEAD", "PUT", "HEAD", "PUT"]
        with pytest.raises(ObjectExists):
            storage.put(f"{key}-1", b"other", md5_of(b"other"))
    assert b"".join(S3Store(store.settings).read(f"{key}-1", 0, 3)) == b"one"
    assert [text for text in caplog.messages if "If-None-Match" in text] == [caplog.messages[0]]


def test_a_store_without_listings_of_open_uploads_is_asked_once(store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = without("ListMultipartUploads")
        storage = S3Store(through)
        for _ in range(2):
            with pytest.raises(StoreBlocked, match="does not support") as caught:
                storage.open_uploads("imhearing/")
            assert caught.value.reason == "unsupported"
        assert proxy.names() == ["GET list"]


def test_a_store_without_an_operation_that_we_need_is_blocked(store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = always(NOT_IMPLEMENTED)
        with pytest.raises(StoreBlocked, match=r"NotImplemented.*docs/storage\.md") as caught:
            S3Store(through).put("a", b"x", md5_of(b"x"))
    assert caught.value.reason == "unsupported"


def test_tags_that_vanish_from_multipart_uploads_are_reported_once(
    store: RunningStore, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    """As at Ceph, which stores the object and drops its tags."""
    none = Reply(200, "<Tagging><TagSet/></Tagging>")
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = lambda incoming: none if OPTIONAL_OPERATIONS["GetObjectTagging"](incoming) else None
        storage, key = S3Store(replace(through, tags="project=garden")), unique_key(request)
        for number in range(2):
            make_uploader(storage, MEDIUM).upload(f"{key}-{number}", MEDIUM.bundle)
        checks = [seen for seen, _ in proxy.seen if OPTIONAL_OPERATIONS["GetObjectTagging"](seen)]
    assert len(checks) == 1
    assert [text for text in caplog.messages if "without [s3] tags" in text] == [caplog.messages[0]]


def test_a_range_is_cut_out_of_the_whole_object(store: RunningStore, request: pytest.FixtureRequest) -> None:
    key = unique_key(request)
    S3Store(store.settings).put(key, SMALL.whole, md5_of(SMALL.whole))
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose, proxy.folder = without("Range"), store.folder
        assert b"".join(S3Store(through).read(key, 100, 1_000)) == SMALL.whole[100:1_100]
