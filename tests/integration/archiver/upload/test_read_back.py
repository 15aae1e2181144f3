"""A store whose answers are right and whose bytes are wrong: found before anything local is removed."""

from __future__ import annotations

import hashlib
import logging
import threading

import pytest

from edge.archiver.plan.read_back import ReadBackPolicy
from edge.archiver.upload.upload import Uploader
from edge.core.errors import StoreBlocked
from edge.store.s3 import S3Store
from tests.support.store.fault_proxy import FaultProxy, Request
from tests.support.store.faults import CorruptsOneInTen
from tests.support.store.s3 import RunningStore
from tests.support.store.uploads import LARGE, MEDIUM, PART, SMALL, Files, make_uploader, stored_bytes, unique_key

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
    # nothing more goes there, and the object is not read again and again, until somebody deletes it
    proxy.seen.clear()
    for name in (f"{key}-{first}", f"{key}-other"):
        with pytest.raises(StoreBlocked, match="different bytes from those it confirmed"):
            uploader.upload(name, files.bundle)
    assert proxy.names() == ["HEAD", "HEAD"]
    storage.delete(f"{key}-{first}")
    uploader.upload(f"{key}-{first}", files.bundle)
    assert stored_bytes(store, f"{key}-{first}") == files.whole


@pytest.mark.parametrize("files", [SMALL, MEDIUM], ids=["whole", "in parts"])
def test_a_restarted_archiver_finds_the_wrong_bytes_again(
    through: tuple[FaultProxy, S3Store], files: Files, request: pytest.FixtureRequest
) -> None:
    """It does not upload them once more, which could pass by chance."""
    proxy, storage = through
    key = unique_key(request)
    proxy.choose = lambda incoming: "corrupted" if _reads_object(incoming) else None
    for _ in range(2):
        with pytest.raises(StoreBlocked, match="different bytes from those it confirmed"):
            make_uploader(storage, files).upload(key, files.bundle)
    stores = [name for name in proxy.names() if name in ("PUT", "POST complete")]
    assert len(stores) == 1


def test_reading_back_resumes_where_a_fault_stopped_it(
    through: tuple[FaultProxy, S3Store], request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    faults = ["truncated", "truncated"]
    proxy.choose = lambda incoming: faults.pop() if faults and _reads_object(incoming) else None  # type: ignore[assignment,return-value]
    make_uploader(storage, LARGE).upload(unique_key(request), LARGE.bundle)
    ranges = [seen.headers["range"] for seen, _ in proxy.seen if _reads_object(seen)]
    assert ranges[0] == f"bytes=0-{LARGE.bundle.size - 1}"
    assert len(ranges) == 3
    starts = [int(text.removeprefix("bytes=").split("-")[0]) for text in ranges]
    # a connection that breaks may take with it what had not been read yet, so that one goes on from the same place
    assert starts == sorted(starts)
    assert starts[-1] > 0
    assert starts[1] > LARGE.bundle.size // 10


@pytest.mark.parametrize(("share", "reads"), [(1.0, 4), (0.0, 2)], ids=["always", "first"])
def test_read_back_decides_which_archives_are_read(
    through: tuple[FaultProxy, S3Store], share: float, reads: int, request: pytest.FixtureRequest
) -> None:
    """`first`: of each kind of upload, as stores handle them by different code."""
    proxy, storage = through
    current = [SMALL]
    uploader = Uploader(
        storage,
        lambda name: current[0].open(name),  # noqa: PLW0108 - the current one
        threading.Event(),
        PART,
        retry_delay=0.01,
        read_back=ReadBackPolicy(share),
    )
    for number in range(2):
        for files in (SMALL, MEDIUM):
            current[0] = files
            uploader.upload(f"{unique_key(request)}-{len(files.whole)}-{number}", files.bundle)
    assert len([seen for seen, _ in proxy.seen if _reads_object(seen)]) == reads


def test_where_the_key_may_not_read_the_stores_answers_count_and_the_log_says_so(
    through: tuple[FaultProxy, S3Store], caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    proxy, storage = through
    caplog.set_level(logging.WARNING)
    proxy.choose = lambda incoming: "denied" if incoming.method in ("GET", "HEAD") else None
    uploader = make_uploader(storage, MEDIUM)
    for number in range(2):
        digest = uploader.upload(f"{unique_key(request)}-{number}", MEDIUM.bundle)
        assert digest == hashlib.sha256(MEDIUM.whole).hexdigest()
    said = [text for text in caplog.messages if "verified by the store's answers alone" in text]
    assert len(said) == 1
    assert "s3:GetObject" in said[0]


def _reads_object(incoming: Request) -> bool:
    return incoming.name == "GET" and incoming.path.endswith((".zip", "-0", "-1"))
