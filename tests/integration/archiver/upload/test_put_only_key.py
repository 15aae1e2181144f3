"""Uploads with a key that may only put objects."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from edge.core.errors import StoreBlocked, StoreError
from edge.store.interface import ObjectExists, StoredObject, StoredPart
from edge.store.s3 import S3Store
from tests.support.store.fault_proxy import FaultProxy, running_proxy
from tests.support.store.s3 import RunningStore
from tests.support.store.uploads import LARGE, SMALL, Files, make_uploader, md5_of, stored_bytes, unique_key


def test_a_key_that_may_only_put_can_upload(
    store: RunningStore, through: tuple[FaultProxy, S3Store], request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    proxy.choose = lambda request: "denied" if request.method in ("GET", "HEAD") else None
    for files, key in ((SMALL, unique_key(request) + "s"), (LARGE, unique_key(request) + "l")):
        make_uploader(storage, files).upload(key, files.bundle)
        assert stored_bytes(store, key) == files.whole


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
def test_a_put_only_key_can_upload_although_a_response_was_lost(
    store: RunningStore, files: Files, name: str, request: pytest.FixtureRequest
) -> None:
    key, digest = unique_key(request), None
    with running_proxy(store.settings) as (proxy, settings):
        proxy.fail_once(name, "reply_lost")
        for _ in range(3):  # the second one begins after a delay, as after any fault
            with contextlib.suppress(StoreError):
                digest = digest or make_uploader(_PutOnly(settings), files).upload(key, files.bundle)
    assert any(what for _, what in proxy.seen), "the fault was never met"
    assert digest == hashlib.sha256(files.whole).hexdigest()
    assert stored_bytes(store, key) == files.whole


def test_a_put_only_key_accepts_its_own_object_after_a_kill_before_the_commit(
    store: RunningStore, request: pytest.FixtureRequest
) -> None:
    key = unique_key(request)
    S3Store(store.settings).put(key, SMALL.whole, md5_of(SMALL.whole))
    make_uploader(_PutOnly(store.settings), SMALL).upload(key, SMALL.bundle)
