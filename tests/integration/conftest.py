"""What many of these tests talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.store.s3 import RunningStore, running_store


@pytest.fixture(scope="module")
def store() -> Iterator[RunningStore]:
    """A real S3 server, the same for all tests of a file."""
    with running_store() as running:
        yield running
