"""What a store, or something in its place, answers: the region that it names, pages that are no answers, new keys."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.configuration.settings import S3, Secret
from edge.core.errors import StoreBlocked, StoreError
from edge.store.bucket import check_bucket
from edge.store.s3 import S3Store
from tests.support.store.fault_proxy import LOGIN_PAGE, Reply, running_proxy
from tests.support.store.faults import RegionKeeper, always
from tests.support.store.s3 import RunningStore

BODY = b"sound"
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()

CALLS: dict[str, Callable[[S3Store], object]] = {
    "check": lambda storage: check_bucket(storage.connection),
    "head": lambda storage: storage.head("a"),
    "put": lambda storage: storage.put("a", BODY, MD5, overwrite=True),
    "read": lambda storage: list(storage.read("a", 0, len(BODY))),
    "keys": lambda storage: list(storage.keys("")),
    "start": lambda storage: storage.start_parts("b"),
    "part": lambda storage: storage.put_part("b", "upload", 1, BODY, MD5),
    "open": lambda storage: storage.open_uploads(""),
    "delete": lambda storage: storage.delete("c"),
}
PAGES = {
    "page": LOGIN_PAGE,
    "page that is XML": LOGIN_PAGE._replace(body="<html><head/><body>Welcome</body></html>"),
    "not found": LOGIN_PAGE._replace(status=404),
    "blocked": LOGIN_PAGE._replace(status=403),
    "sent elsewhere": Reply(302, "", "text/plain"),
}


# a HEAD has no page: 403 and 404 read as a missing right or object, and the next request says more
HEADS = {"page", "page that is XML", "sent elsewhere"}


@pytest.mark.parametrize(
    ("call", "page"), [(call, page) for call in CALLS for page in PAGES if call != "head" or page in HEADS]
)
def test_a_page_is_never_taken_for_an_answer(store: RunningStore, call: str, page: str) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = always(PAGES[page])
        with pytest.raises(StoreBlocked, match="another web server answered") as caught:
            CALLS[call](S3Store(through))
    assert caught.value.reason == "not_a_store"


@pytest.mark.parametrize("call", ["head", "part"])
def test_an_answer_without_an_etag_is_none(store: RunningStore, call: str) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = always(Reply(200, "", "application/json"))
        with pytest.raises(StoreBlocked, match="the answer has no ETag"):
            CALLS[call](S3Store(through))


def test_an_answer_that_is_cut_short_is_asked_for_again(store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = always(Reply(200, "<ListBucketResult><Contents>"))
        with pytest.raises(StoreError) as caught:
            list(S3Store(through).keys(""))
    assert not isinstance(caught.value, StoreBlocked)


def test_a_store_that_sends_more_than_the_range_is_cut_off(store: RunningStore) -> None:
    """It may never end. One that ignores ranges would also give the wrong bytes."""
    body = "sound" * 1_000_000
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = always(Reply(206, body, "application/zip"))
        received: list[bytes] = []
        with pytest.raises(StoreError, match="more than the requested 5 bytes"):
            received.extend(S3Store(through).read("a", 0, len(BODY)))
    assert received == []


@pytest.mark.parametrize("where", ["field", "message"])
@pytest.mark.parametrize("call", sorted(CALLS.keys() - {"head", "part", "read"}))
def test_the_first_request_follows_the_store_to_its_region(store: RunningStore, call: str, where: str) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = RegionKeeper("eu-central-1", where)
        storage = S3Store(through)
        CALLS[call](storage)
        assert storage.connection.clients.region == "eu-central-1"


def test_a_head_in_the_wrong_region_succeeds_when_repeated(store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = RegionKeeper("eu-central-1")
        storage = S3Store(through)
        with pytest.raises(StoreError) as caught:
            storage.head("nothing")
        assert not isinstance(caught.value, StoreBlocked)
        assert storage.head("nothing") is None


def test_links_are_signed_for_the_region_that_the_store_named(store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = RegionKeeper("eu-central-1")
        storage = S3Store(through)
        storage.put("linked", BODY, MD5)
        with urllib.request.urlopen(storage.presigned_url(storage.bucket, "linked", 60)) as answer:  # noqa: S310
            assert answer.read() == BODY


def test_links_are_signed_with_the_credentials_that_are_in_their_file_now(
    store: RunningStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    storage = S3Store(replace(store.settings, access_key_id=Secret(), secret_access_key=Secret()))
    for key in ("first", "second"):
        file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n")
        assert f"Credential={key}%2F" in storage.presigned_url("garden", "a", 60)


@pytest.mark.parametrize(
    ("addressing", "endpoint", "expected"),
    [
        ("auto", "", "https://garden.s3.eu-central-1.amazonaws.com/a?"),
        ("path", "", "https://s3.eu-central-1.amazonaws.com/garden/a?"),
        ("auto", "https://store.example.com", "https://store.example.com/garden/a?"),
        ("virtual", "https://store.example.com", "https://garden.store.example.com/a?"),
    ],
)
def test_addressing_decides_where_the_bucket_stands(addressing: str, endpoint: str, expected: str) -> None:
    settings = S3(
        s3_region="eu-central-1",
        endpoint_url=endpoint,
        addressing=addressing,  # type: ignore[arg-type]
        access_key_id=Secret("id"),
        secret_access_key=Secret("secret"),
    )
    assert S3Store(settings).presigned_url("garden", "a", 60).startswith(expected)
