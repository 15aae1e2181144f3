"""A store that answers without end, or with more than S3 ever does: refused, in bounded memory and time."""

from __future__ import annotations

import contextlib
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from edge.configuration.settings import S3, Secret
from edge.core.errors import StoreError
from edge.core.instant import Instant
from edge.store import s3
from edge.store.bucket import check_bucket, read_lifecycle_rules
from edge.store.s3 import S3Store

MD5 = "0" * 32
MEMORY = 16_000_000  # bytes

CALLS: dict[str, Callable[[S3Store], object]] = {
    "check": lambda store: check_bucket(store.connection),
    "rules": lambda store: read_lifecycle_rules(store.connection),
    "put": lambda store: store.put("a", b"sound", MD5, overwrite=True),
    "keys": lambda store: list(store.keys("")),
    "sizes": lambda store: list(store.sizes_since("", Instant(0))),
    "start": lambda store: store.start_parts("b"),
    "part": lambda store: store.put_part("b", "upload", 1, b"sound", MD5),
    "parts": lambda store: store.parts("b", "upload"),
    "complete": lambda store: store.complete("b", "upload", ["x"], overwrite=True),
    "open": lambda store: store.open_uploads(""),
    "abort": lambda store: store.abort("b", "upload"),
    "delete": lambda store: store.delete("c"),
}


@contextlib.contextmanager
def store_that_sends(status: int, pieces: Callable[[str], Iterator[bytes]]) -> Iterator[S3Store]:
    """`pieces`: the body of the answer to a request for a path with its query."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with contextlib.suppress(OSError):  # the client has had enough
                for piece in pieces(self.path):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")

        do_GET = do_PUT = do_POST = do_DELETE = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        yield S3Store(S3("porch", endpoint_url=url, access_key_id=Secret("key"), secret_access_key=Secret("secret")))
    finally:
        server.shutdown()
        server.server_close()


def endless(_path: str) -> Iterator[bytes]:
    yield b'<?xml version="1.0"?><Result><Name>'
    for _ in range(1_000):
        yield b"x" * 64_000


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("call", CALLS)
def test_an_endless_answer_is_refused_before_it_fills_the_memory(call: str, status: int) -> None:
    with store_that_sends(status, endless) as store:
        tracemalloc.start()
        try:
            with pytest.raises(StoreError, match=r"longer than 2,000,000 bytes"):
                CALLS[call](store)
            assert tracemalloc.get_traced_memory()[1] < MEMORY
        finally:
            tracemalloc.stop()


def test_an_endless_refusal_to_read_an_object_is_bounded_too() -> None:
    with store_that_sends(404, endless) as store, pytest.raises(StoreError, match="longer than"):
        list(store.read("a", 0, 5))


def pages_of(name: str, item: str) -> Callable[[str], Iterator[bytes]]:
    """One page after another, each with a thousand of `item`, which gets their number."""
    numbers = iter(range(1, 10**9))

    def page(_path: str) -> Iterator[bytes]:
        number = next(numbers)
        marks = f"<NextContinuationToken>{number}</NextContinuationToken><NextPartNumberMarker>{number}"
        marks += f"</NextPartNumberMarker><NextKeyMarker>{number}</NextKeyMarker><NextUploadIdMarker>{number}"
        body = f"<{name}><IsTruncated>true</IsTruncated>{marks}</NextUploadIdMarker>"
        body += "".join(item.format(number * 1_000 + n) for n in range(1_000))
        yield f"{body}</{name}>".encode()

    return page


def test_an_endless_list_of_parts_ends_with_the_most_that_an_upload_can_have() -> None:
    part = "<Part><PartNumber>{}</PartNumber><Size>5</Size><ETag>x</ETag></Part>"
    with store_that_sends(200, pages_of("ListPartsResult", part)) as store:
        assert len(store.parts("a", "upload")) == 10_000


def test_an_endless_list_of_open_uploads_ends() -> None:
    upload = "<Upload><Key>a/{0}</Key><UploadId>{0}</UploadId></Upload>"
    with store_that_sends(200, pages_of("ListMultipartUploadsResult", upload)) as store:
        assert len(store.open_uploads("a/")) == 10_000


def test_an_endless_list_of_objects_is_an_error_and_never_taken_for_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_MAX_PAGES", 5)
    item = "<Contents><Key>a/{}</Key><Size>5</Size></Contents>"
    with store_that_sends(200, pages_of("ListBucketResult", item)) as store:
        listing = store.keys("a/")
        assert len([next(listing) for _ in range(5_000)]) == 5_000
        with pytest.raises(StoreError, match="lists more than 5 pages of a/"):
            next(listing)


@pytest.mark.parametrize("call", ["keys", "sizes", "parts", "open", "start"])
def test_an_answer_that_lacks_what_it_must_have_is_an_error_of_the_store(call: str) -> None:
    empty = b"<R><Contents/><Part/><Upload/></R>"
    with store_that_sends(200, lambda _: iter([empty])) as store, pytest.raises(StoreError, match="the answer has no"):
        CALLS[call](store)
