"""A broker, a store, settings and an archiver for most tests of the archiver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.configuration.settings import Archive, Mqtt, Node, Recorder, Settings, Thresholds
from edge.configuration.settings import Catalog as CatalogSettings
from tests.support.archiver.listener import EventListener
from tests.support.archiver.stepped import SteppedArchiver
from tests.support.messaging.broker import BrokerAddress
from tests.support.spool.chunks import fill_spool
from tests.support.spool.small_disk import SpoolOnSmallDisk
from tests.support.store.s3 import RunningStore, running_store
from tests.support.wait import DEADLINE


@pytest.fixture
def store() -> Iterator[RunningStore]:
    with running_store() as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, broker: BrokerAddress, store: RunningStore) -> Settings:
    node = "node-" + "".join(c for c in tmp_path.name.lower() if c.isalnum())[-40:]
    return Settings(
        node=Node(name=node),
        recorder=Recorder(record_path=tmp_path / "spool"),
        thresholds=Thresholds(records_count=3),
        mqtt=Mqtt(host=broker.host, port=broker.port),
        s3=store.settings,
        catalog=CatalogSettings(db_path=tmp_path / "catalog.db"),
    )


@pytest.fixture
def listener(settings: Settings) -> Iterator[EventListener]:
    listener = EventListener(settings)
    listener.bus.start()
    assert listener.bus.wait_connected(DEADLINE)
    yield listener
    listener.bus.stop()


@pytest.fixture
def spool(tmp_path: Path) -> SpoolOnSmallDisk:
    fill_spool(tmp_path / "spool", 3)
    return SpoolOnSmallDisk(tmp_path / "spool", "porch")


@pytest.fixture
def node(tmp_path: Path, spool: SpoolOnSmallDisk) -> Iterator[SteppedArchiver]:
    node = SteppedArchiver(tmp_path, spool, Archive())
    yield node
    node.catalog.close()
