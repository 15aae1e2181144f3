"""One S3 server for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.store.s3 import RunningStore, running_store


@pytest.fixture(scope="module")
def store() -> Iterator[RunningStore]:
    """The same for all tests of a file, as the names of their objects differ."""
    with running_store() as running:
        yield running
