"""Servers and a microphone for tests of several packages."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.store.s3 import S3Store
from tests.support.messaging.broker import BrokerAddress, running_broker
from tests.support.messaging.odd_brokers import make_certificate, make_plain_ca
from tests.support.recording.microphone import VirtualMicrophone, virtual_microphone
from tests.support.store.fault_proxy import FaultProxy, running_proxy
from tests.support.store.s3 import RunningStore, running_store

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


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerAddress]:
    """A real Mosquitto, the same for all tests of a file."""
    with running_broker() as address:
        yield address


@pytest.fixture(scope="module")
def room() -> Iterator[VirtualMicrophone]:
    with virtual_microphone() as microphone:
        yield microphone


@pytest.fixture
def through(store: RunningStore) -> Iterator[tuple[FaultProxy, S3Store]]:
    """A proxy that makes requests fail, and the store through it."""
    with running_proxy(store.settings) as (proxy, settings):
        yield proxy, S3Store(settings, read_timeout=5)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with a CA and a broker's certificate as plain `openssl` commands make them."""
    make_plain_ca(tmp_path)
    make_certificate(tmp_path, "localhost", "DNS:localhost")
    return tmp_path
