"""Servers and a microphone for tests of several packages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge.store.s3 import S3Store
from tests.support.messaging.broker import BrokerAddress, running_broker
from tests.support.recording.microphone import VirtualMicrophone, virtual_microphone
from tests.support.store.fault_proxy import FaultProxy, running_proxy
from tests.support.store.s3 import RunningStore, running_store


@pytest.fixture(scope="module")
def store() -> Iterator[RunningStore]:
    """A real S3 server, the same for all tests of a file."""
    with running_store() as running:
        yield running


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
