"""A store whose answers are right and whose bytes are wrong: found before anything local is removed."""

from __future__ import annotations

import pytest

from edge.core.errors import StoreBlocked
from edge.store.s3 import S3Store
from tests.support.store.fault_proxy import FaultProxy
from tests.support.store.faults import CorruptsOneInTen
from tests.support.store.s3 import RunningStore
from tests.support.store.uploads import MEDIUM, SMALL, Files, make_uploader, unique_key

WAYS = [
    pytest.param(files, storing, first, id=f"{name}, number {first}")
    for name, files, storing in (("whole", SMALL, "PUT"), ("in parts", MEDIUM, "POST complete"))
    for first in (0, 2)
]


@pytest.mark.parametrize(("files", "storing", "first"), WAYS)
def test_an_object_whose_etag_matches_and_whose_bytes_are_wrong_blocks_the_store(
    store: RunningStore,
    through: tuple[FaultProxy, S3Store],
    files: Files,
    storing: str,
    first: int,
    request: pytest.FixtureRequest,
) -> None:
    proxy, storage = through
    proxy.choose = CorruptsOneInTen(storing, first)
    uploader, key = make_uploader(storage, files), unique_key(request)
    for number in range(first):
        uploader.upload(f"{key}-{number}", files.bundle)
    with pytest.raises(StoreBlocked, match="different bytes from those it confirmed") as caught:
        uploader.upload(f"{key}-{first}", files.bundle)
    assert caught.value.reason == "corrupts"
