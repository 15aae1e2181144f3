"""A recorder that hears a sound every few seconds, and a query service, both in threads; a client that hears them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from edge.catalog import Catalog
from edge.configuration import loader
from edge.configuration.settings import S3, Settings
from edge.recorder import service
from tests.support.messaging.broker import BrokerAddress
from tests.support.messaging.mqtt import Client, connected
from tests.support.nodes.query_node import running_service

SOUNDING = ("recorder.source=synthetic", "thresholds.sound_level=-40", "node.name=porch")


def sounding_settings(folder: Path, *sets: str) -> Settings:
    """The settings of a node with an empty catalog, as its archiver makes it."""
    settings = loader.load(folder, None, [*SOUNDING, *sets])
    folder.mkdir(exist_ok=True)
    with contextlib.closing(Catalog(settings.catalog.db_path)) as catalog:
        catalog.open()
    return settings


@contextlib.contextmanager
def sounding_node(broker: BrokerAddress, folder: Path, record_period: int, s3: S3 | None = None) -> Iterator[Client]:
    """Records until the end. The client has heard everything."""
    sets = (f"mqtt.host={broker.host}", f"mqtt.port={broker.port}", f"recorder.record_period={record_period}")
    settings, stop = replace(sounding_settings(folder, *sets), s3=s3 or S3()), threading.Event()
    with connected(broker.port) as client:
        client.subscribe("imhearing/#")
        recorder = threading.Thread(target=service.run, args=(settings, stop))
        recorder.start()
        try:
            client.wait_for_message("imhearing/porch/recorder/state")
            with running_service(settings):
                client.wait_for_message("imhearing/porch/query/status")
                yield client
        finally:
            stop.set()
            recorder.join()
