"""S3Store class, encryption and tags reach the store with every object, however it is uploaded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from edge.configuration.settings import S3, Secret
from edge.store.s3 import S3Store

_STARTED = (
    b'<?xml version="1.0"?><InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key>'
    b"<UploadId>u</UploadId></InitiateMultipartUploadResult>"
)
MD5 = "900150983cd24fb0d6963f7d28e17f72"  # of abc


class Recording(NamedTuple):
    settings: S3
    seen: list[dict[str, str]]


@pytest.fixture
def recording() -> Iterator[Recording]:
    """A server that takes everything and keeps the headers."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(_STARTED)

        def _answer(self, body: bytes) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("ETag", f'"{MD5}"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    settings = S3(
        s3_bucket_name="bucket",
        endpoint_url=f"http://127.0.0.1:{server.server_port}",
        access_key_id=Secret("id"),
        secret_access_key=Secret("secret"),
    )
    yield Recording(settings, seen)
    server.shutdown()
    server.server_close()
    thread.join()


def _headers(recording: Recording, settings: S3) -> list[dict[str, str]]:
    """Of a whole object's upload, and of one in parts."""
    storage = S3Store(settings)
    storage.put("whole.zip", b"abc", MD5)
    storage.start_parts("parts.zip")
    assert len(recording.seen) == 2
    return recording.seen


def test_configured_put_options_are_sent_with_every_object(recording: Recording) -> None:
    wishes = replace(
        recording.settings,
        storage_class="STANDARD_IA",
        encryption="aws:kms",
        kms_key="alias/imhearing",
        tags="project=garden & pond&kind=sound".replace(" & ", " and "),
    )
    for headers in _headers(recording, wishes):
        assert headers["x-amz-storage-class"] == "STANDARD_IA"
        assert headers["x-amz-server-side-encryption"] == "aws:kms"
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/imhearing"
        assert headers["x-amz-tagging"] == "project=garden+and+pond&kind=sound"


def test_the_kms_key_is_sent_only_with_kms_encryption(recording: Recording) -> None:
    for headers in _headers(recording, replace(recording.settings, encryption="AES256", kms_key="alias/other")):
        assert headers["x-amz-server-side-encryption"] == "AES256"
        assert "x-amz-server-side-encryption-aws-kms-key-id" not in headers


def test_without_put_options_no_such_headers_are_sent(recording: Recording) -> None:
    for headers in _headers(recording, recording.settings):
        assert not [name for name in headers if name.startswith(("x-amz-storage", "x-amz-server", "x-amz-tag"))]
