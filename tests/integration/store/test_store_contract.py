"""What the archiver needs of a store, of each that runs here: rclone, moto, s3rver, and a real bucket by setting."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from edge.configuration.settings import S3
from edge.core.errors import StoreError
from edge.store.interface import ObjectExists
from edge.store.s3 import S3Store
from tests.support.store.fault_proxy import running_proxy
from tests.support.store.other_stores import NAMES, running_store_of
from tests.support.store.uploads import LARGE, MEDIUM, SMALL, make_uploader, md5_of


@pytest.fixture(scope="module", params=NAMES)
def settings(request: pytest.FixtureRequest) -> Iterator[S3]:
    with running_store_of(request.param) as found:
        yield found


@pytest.fixture
def prefix(settings: S3) -> Iterator[str]:
    prefix, storage = f"imhearing/contract-{secrets.token_hex(6)}/", S3Store(settings)
    yield prefix
    for key, _ in list(storage.keys(prefix)):
        storage.delete(key)


def test_archives_arrive_and_are_read_back(settings: S3, prefix: str) -> None:
    storage = S3Store(replace(settings, tags="project=garden"))
    for files, name in ((SMALL, "whole"), (MEDIUM, "parts")):
        uploader = make_uploader(storage, files)
        for _ in range(2):  # the second time, it is there already
            assert uploader.upload(prefix + name, files.bundle) == hashlib.sha256(files.whole).hexdigest()
        found = storage.head(prefix + name)
        assert found is not None
        assert found.size == len(files.whole)
        assert b"".join(storage.read(prefix + name, 100, 1_000)) == files.whole[100:1_100]
    names = [(prefix + "parts", len(MEDIUM.whole)), (prefix + "whole", len(SMALL.whole))]
    assert list(storage.keys(prefix)) == names
    assert list(storage.keys(prefix, after=prefix + "parts")) == names[1:]


@pytest.mark.parametrize("name", ["PUT", "POST start", "PUT part", "POST complete"])
@pytest.mark.parametrize("fault", ["reset_body", "reply_lost"])
def test_an_upload_survives_a_fault(settings: S3, prefix: str, name: str, fault: str) -> None:
    if not settings.endpoint_url.startswith("http://127.0.0.1"):
        pytest.skip("the proxy is only for stores on this machine")
    files = SMALL if name == "PUT" else LARGE
    with running_proxy(settings) as (proxy, through):
        proxy.fail_once(name, fault)  # type: ignore[arg-type]
        for _ in range(3):
            with contextlib.suppress(StoreError):
                make_uploader(S3Store(through), files).upload(prefix + "a", files.bundle)
                break
        assert any(what for _, what in proxy.seen), "the fault was never met"
    assert b"".join(S3Store(settings).read(prefix + "a", 0, len(files.whole))) == files.whole


def test_missing_objects_and_existing_ones_are_recognised(settings: S3, prefix: str) -> None:
    storage, key = S3Store(settings), prefix + "a"
    assert storage.head(key) is None
    storage.delete(key)
    storage.put(key, b"one", md5_of(b"one"))
    with contextlib.suppress(ObjectExists):  # a store may ignore If-None-Match
        storage.put(key, b"two", md5_of(b"two"))
    storage.put(key, b"three", md5_of(b"three"), overwrite=True)
    assert b"".join(storage.read(key, 0, 5)) == b"three"
    storage.delete(key)
    assert storage.head(key) is None
