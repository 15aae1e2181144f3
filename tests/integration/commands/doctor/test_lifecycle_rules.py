"""Reading a bucket's lifecycle rules, from stores that have them and from stores that do not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from msgspec.structs import replace

from commands.doctor.node_under_test import NodeUnderTest
from commands.doctor.store import check_lifecycle_rules
from edge.configuration.settings import S3, Archive, Node, Secret, Settings
from edge.core.errors import StoreError
from edge.core.kernel_clock import KernelClock
from edge.store.bucket import read_lifecycle_rules
from edge.store.interface import LifecycleRule
from edge.store.s3 import S3Store
from tests.support.store.s3 import running_store

# as the S3 API reference shows them: GetBucketLifecycleConfiguration, and its errors
RULES = """<?xml version="1.0" encoding="UTF-8"?>
<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
  <Rule><ID>a</ID><Filter><Prefix>imhearing/porch/2</Prefix></Filter><Status>Enabled</Status>
    <Expiration><Days>365</Days></Expiration></Rule>
  <Rule><ID>b</ID><Prefix>imhearing/</Prefix><Status>Enabled</Status>
    <AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>
  <Rule><ID>c</ID><Filter/><Status>Disabled</Status><Expiration><Days>1</Days></Expiration></Rule>
  <Rule><ID>d</ID><Filter><And><Prefix>imhearing/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>
    <Status>Enabled</Status><Expiration><Days>2</Days></Expiration></Rule>
  <Rule><ID>e</ID><Filter><ObjectSizeGreaterThan>500</ObjectSizeGreaterThan></Filter><Status>Enabled</Status>
    <Expiration><Days>3</Days></Expiration></Rule>
  <Rule><ID>f</ID><Filter></Filter><Status>Enabled</Status>
    <NoncurrentVersionExpiration><NoncurrentDays>30</NoncurrentDays></NoncurrentVersionExpiration></Rule>
</LifecycleConfiguration>"""
ERROR = "<Error><Code>{}</Code><Message>no</Message></Error>"


class FakeStore(ThreadingHTTPServer):
    """A store that gives one answer to every `?lifecycle` request."""

    answer: tuple[int, str] = (200, RULES)


class _Handler(BaseHTTPRequestHandler):
    server: FakeStore

    def do_GET(self) -> None:
        assert self.path.endswith("?lifecycle")
        status, text = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def fake_store() -> Iterator[FakeStore]:
    with FakeStore(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def storage(fake_store: FakeStore) -> S3Store:
    return S3Store(
        S3(
            s3_bucket_name="garden",
            endpoint_url=f"http://127.0.0.1:{fake_store.server_address[1]}",
            access_key_id=Secret("id"),
            secret_access_key=Secret("secret"),
        )
    )


def node(s3: S3) -> NodeUnderTest:
    settings = replace(Settings(), node=Node(name="porch"), s3=s3, archive=Archive(keep_remote=365))
    return NodeUnderTest(settings, Path("/node"), None, False, KernelClock())


def test_only_enabled_rules_for_all_objects_are_returned(fake_store: FakeStore) -> None:
    assert read_lifecycle_rules(storage(fake_store).connection) == [
        LifecycleRule("imhearing/porch/2", expire_days=365),
        LifecycleRule("imhearing/", abort_days=7),
        LifecycleRule(""),
    ]


def test_a_bucket_without_rules_returns_none(fake_store: FakeStore) -> None:
    fake_store.answer = (404, ERROR.format("NoSuchLifecycleConfiguration"))
    assert read_lifecycle_rules(storage(fake_store).connection) == []


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "AccessDenied"), (501, "NotImplemented"), (405, "MethodNotAllowed"), (404, "NoSuchBucket")],
)
def test_a_store_that_does_not_reveal_its_rules_is_no_fault(fake_store: FakeStore, status: int, code: str) -> None:
    fake_store.answer = (status, ERROR.format(code))
    with pytest.raises(StoreError):
        read_lifecycle_rules(storage(fake_store).connection)
    [found] = check_lifecycle_rules(node(S3()), storage(fake_store), may_delete=False)
    assert (found.check, found.state) == ("store.lifecycle", "ok")
    assert "cannot be read" in found.message


def test_a_store_without_lifecycle_rules_is_no_fault() -> None:
    """rclone answers the question with a list of the bucket's objects."""
    with running_store() as store:
        [found] = check_lifecycle_rules(node(store.settings), S3Store(store.settings), may_delete=True)
    assert found.state == "ok"
    assert "cannot be read" in found.message


def test_rules_are_compared_with_keep_remote(fake_store: FakeStore) -> None:
    found = list(check_lifecycle_rules(node(S3(prefix="imhearing/")), storage(fake_store), may_delete=False))
    assert [(one.check, one.state) for one in found] == [("store.lifecycle", "ok"), ("store.unfinished", "ok")]
    fake_store.answer = (200, RULES.replace("365", "30"))
    found = list(check_lifecycle_rules(node(S3(prefix="imhearing/")), storage(fake_store), may_delete=False))
    assert found[0].state == "fault"
