"""A copy of a node's card, in another board beside the original: both say so, and a new board locks nobody out."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.configuration.settings import Mqtt
from edge.core import wire
from edge.core.instance import load_instance_id
from edge.core.kernel_clock import KernelClock
from edge.messaging.bus import Bus
from edge.messaging.events import RecorderStatus
from edge.messaging.name_guard import SETTLED_SECONDS, NameGuard
from tests.support.messaging.broker import BrokerAddress, running_broker
from tests.support.messaging.mqtt import connected
from tests.support.wait import DEADLINE, wait_until


@pytest.fixture
def broker() -> Iterator[BrokerAddress]:
    with running_broker() as address:
        yield address


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A data folder that has run in board `old`."""
    for name in ("old", "new"):
        serial = tmp_path / name / "firmware/devicetree/base/serial-number"
        serial.parent.mkdir(parents=True)
        serial.write_text(f"10000000{name}\0")
    load_instance_id(tmp_path / "card", tmp_path / "old")
    return tmp_path / "card"


def status(instance: str) -> RecorderStatus:
    return RecorderStatus(at=KernelClock().now(), node="porch", state="online", instance=instance, version="1")


@contextlib.contextmanager
def recorder(
    broker: BrokerAddress, card: Path, board: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[Bus]:
    """The bus of a recorder with this card in this board."""
    instance = load_instance_id(card, card.parent / board)
    bus = Bus(Mqtt(host=broker.host, port=broker.port), "porch", "recorder")
    online = status(instance)
    NameGuard(bus, online, clock)
    bus.publish(online)
    bus.start()
    try:
        yield bus
    finally:
        bus.stop()


@pytest.mark.parametrize(
    ("board", "named"),
    [("new", "a copy of this node's card, on another board,"), ("old", "a copy of this node's data folder")],
)
def test_of_a_node_and_its_copy_both_say_that_it_is_a_copy_and_one_stays_connected(
    broker: BrokerAddress, card: Path, board: str, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The same board: copies of a virtual machine, or of a folder on one machine."""
    caplog.set_level(logging.WARNING)
    shutil.copytree(card, card.parent / "copy")
    reads: list[float] = []

    def clock() -> float:
        """Jumps so far after the connection that the name is the first one's own."""
        reads.append(0.0 if not reads else SETTLED_SECONDS)
        return reads[-1]

    with recorder(broker, card, "old", clock) as original:
        wait_until(lambda: reads, "the original is connected")
        with recorder(broker, card.parent / "copy", board) as copy:
            wait_until(lambda: "off MQTT" in caplog.text, "the copy has noticed")
            wait_until(lambda: "keeps the name" in caplog.text, "the original has noticed")
            wait_until(lambda: not copy.wait_connected(0), "the copy is off")
            assert original.wait_connected(0)
    said = [record.message for record in caplog.records]
    assert len(said) == 2, said  # and nothing of a lost connection
    assert all(named in text for text in said)


def test_a_new_board_takes_the_name_over_from_the_old_one(broker: BrokerAddress, card: Path) -> None:
    """Even if the old one could not say goodbye."""
    old = status(load_instance_id(card, card.parent / "old"))
    with connected(broker.port) as client:
        client.publish("imhearing/porch/recorder/status", wire.encode(old), retain=True)
        with recorder(broker, card, "new") as bus:
            assert bus.wait_connected(DEADLINE)
            client.subscribe("imhearing/porch/recorder/status")
            client.wait_for_message(
                "imhearing/porch/recorder/status",
                lambda heard: wire.decode(heard.payload, RecorderStatus).instance != old.instance,
            )
            assert bus.wait_connected(0)
