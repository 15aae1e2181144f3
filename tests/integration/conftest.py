"""A real S3 server, directly and through a proxy that makes requests fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge.store.s3 import S3Store
from tests.support.store.fault_proxy import FaultProxy, running_proxy
from tests.support.store.s3 import RunningStore, running_store


@pytest.fixture(scope="module")
def store() -> Iterator[RunningStore]:
    """A real S3 server, the same for all tests of a file."""
    with running_store() as running:
        yield running


@pytest.fixture
def through(store: RunningStore) -> Iterator[tuple[FaultProxy, S3Store]]:
    """A proxy that makes requests fail, and the store through it."""
    with running_proxy(store.settings) as (proxy, settings):
        yield proxy, S3Store(settings, read_timeout=5)
