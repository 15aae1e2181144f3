"""What many of these tests talk to."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.s3 import RunningStore, running_store

_find = socket.getaddrinfo


@pytest.fixture(scope="module")
def store() -> Iterator[RunningStore]:
    """A real S3 server, the same for all tests of a file."""
    with running_store() as running:
        yield running


@pytest.fixture
def local_hosts(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Host names that the test adds are this machine's."""
    names: set[str] = set()

    def find(host: Any, *arguments: Any, **named: Any) -> Any:
        return _find("127.0.0.1" if host in names else host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", find)
    return names
