"""The bus against a real Mosquitto that vanishes, forgets, refuses and encrypts."""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import MQTTErrorCode

from edge.configuration.settings import Mqtt, Secret
from edge.core import wire
from edge.core.instant import Instant
from edge.embedded import ports
from edge.messaging import connection
from edge.messaging.bus import Bus
from edge.messaging.events import LimitsSet, RecorderStatus, SoundHeard
from edge.messaging.messages import MAX_PAYLOAD, InboundMessage
from edge.messaging.name_guard import SETTLED_SECONDS, NameGuard
from tests.support.messaging.broker import BrokerAddress, RestartableBroker, running_broker
from tests.support.messaging.mqtt import ReceivedMessage, connected
from tests.support.messaging.odd_brokers import hesitant_broker
from tests.support.messaging.secure_broker import SecureBroker, secure_broker
from tests.support.wait import DEADLINE, wait_for_return, wait_until


@pytest.fixture
def broker() -> Iterator[BrokerAddress]:
    with running_broker() as address:
        yield address


@pytest.fixture(scope="module")
def secured() -> Iterator[SecureBroker]:
    with secure_broker() as broker:
        yield broker


@contextlib.contextmanager
def running(bus: Bus) -> Iterator[Bus]:
    bus.start()
    try:
        yield bus
    finally:
        bus.stop()


def mqtt(port: int, **more: Any) -> Mqtt:
    return Mqtt(host="127.0.0.1", port=port, **more)


def status(instance: str, state: Literal["online", "offline"] = "online") -> RecorderStatus:
    return RecorderStatus(at=Instant(0), node="porch", state=state, instance=instance, version="1")


def limits(count: float) -> LimitsSet:
    return LimitsSet(
        at=Instant(0), node="porch", records_count=count, storage_usage=0, oldest_age=0, sound_level=0, disk_free=0
    )


def sound() -> SoundHeard:
    return SoundHeard(
        at=Instant(0), node="porch", event="started", sound_id="20261122T054408Z-k3f7-s0", lafmax=-20, laeq=-21,
        unit="dBFS", started_at=Instant(0),
    )  # fmt: skip


@pytest.fixture
def restartable() -> Iterator[RestartableBroker]:
    with tempfile.TemporaryDirectory(prefix="imhearing-broker-") as folder:
        broker = RestartableBroker(Path(folder))
        yield broker
        broker.kill()


def test_retained_events_are_published_again_to_a_broker_that_lost_them(restartable: RestartableBroker) -> None:
    with running(Bus(mqtt(restartable.port), "porch", "recorder")) as bus:
        assert bus.wait_connected(DEADLINE)
        bus.publish(limits(1))
        restartable.kill()
        wait_until(lambda: not bus.wait_connected(0), "the loss is noticed")
        bus.publish(limits(2))
        restartable.start()
        assert bus.wait_connected(DEADLINE)
        with connected(restartable.port) as client:
            client.subscribe("#")
            heard = client.wait_for_message("imhearing/porch/recorder/limits")
            assert heard.retained
            assert wire.decode(heard.payload, LimitsSet).records_count == 2


def test_publishing_never_waits_for_an_unreachable_broker() -> None:
    with running(Bus(mqtt(ports.choose(None)), "porch", "recorder")) as bus:

        def publish() -> None:
            for _ in range(5_000):
                bus.publish(sound())

        wait_for_return(publish, "5,000 events are published")


def test_a_hanging_broker_blocks_neither_publishing_nor_stopping() -> None:
    """It accepts and then says nothing: neither publishing nor stopping waits for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bus = Bus(mqtt(silent.getsockname()[1]), "porch", "recorder")
        bus.start()
        with silent.accept()[0]:
            wait_for_return(lambda: bus.publish(sound()), "an event is published")
            wait_for_return(lambda: bus.stop(timeout=0.5), "the bus has stopped", 20)  # paho waits 30 s


def test_a_malformed_packet_ends_the_connection_and_the_bus_reconnects(caplog: pytest.LogCaptureFixture) -> None:
    connack, broken_publish = b"\x20\x03\x00\x00\x00", b"\x30\x06\x00\x01a\x02\xff\x00"  # no property is numbered 255
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE)
        with running(Bus(mqtt(server.getsockname()[1]), "porch", "recorder")) as bus:
            first = server.accept()[0]
            with first:
                first.recv(1_000)
                first.sendall(connack)
                assert bus.wait_connected(DEADLINE)
                first.sendall(broken_publish)
                wait_until(lambda: not bus.wait_connected(0), "it counts as lost")
                second = server.accept()[0]
            with second:
                second.recv(1_000)
                second.sendall(connack)
                assert bus.wait_connected(DEADLINE)
    assert "Protocol error" in caplog.text


def test_a_broker_that_acknowledges_nothing_is_connected_to_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mosquitto drops acknowledgements too when it has too much for us: nothing of QoS 1 would pass any more."""
    monkeypatch.setattr(connection, "_ACKNOWLEDGED_WITHIN", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        with running(Bus(mqtt(server.getsockname()[1]), "porch", "recorder")) as bus:
            for _ in range(2):
                with server.accept()[0] as peer:
                    peer.settimeout(DEADLINE)
                    peer.recv(1_000)
                    peer.sendall(b"\x20\x03\x00\x00\x00")
                    assert bus.wait_connected(DEADLINE)
                    bus.send("imhearing/porch/response/pause", b"the answer")
                    received = b""
                    while b"the answer" not in received:
                        received += peer.recv(1_000)
                    wait_until(lambda: not bus.wait_connected(0), "it counts as lost")


def test_what_must_not_be_missed_is_looked_for_once_the_broker_has_confirmed_every_subscription() -> None:
    connected_calls: list[str] = []
    with hesitant_broker() as broker:
        bus = Bus(mqtt(broker.port), "porch", "archiver")
        bus.subscribe_raw("a", lambda _: None)
        bus.subscribe_raw("b", lambda _: None)
        bus.on_subscribed(lambda: connected_calls.append("subscribed"))
        with running(bus):
            assert bus.wait_connected(DEADLINE)
            wait_until(broker.has_subscriber, "it subscribes")
            assert connected_calls == []
            broker.confirm()
            wait_until(lambda: connected_calls, "it is called")
    assert connected_calls == ["subscribed"]


def test_an_exception_in_paho_costs_one_connection_and_not_the_thread(
    broker: BrokerAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, calls = paho.Client.loop_read, itertools.count()

    def fail_once(client: paho.Client) -> MQTTErrorCode:
        if next(calls) == 0:
            raise IndexError("a fault of paho's")
        return read(client)

    monkeypatch.setattr(paho.Client, "loop_read", fail_once)
    with running(Bus(mqtt(broker.port), "porch", "recorder")) as bus:
        assert bus.wait_connected(DEADLINE)


def test_after_an_outage_expired_messages_are_dropped_and_others_are_sent(restartable: RestartableBroker) -> None:
    bus = Bus(mqtt(restartable.port), "porch", "recorder")
    restartable.kill()
    bus.send("imhearing/porch/response/x", b"stale", expiry=1)
    bus.send("imhearing/porch/response/x", b"fresh", expiry=60)
    time.sleep(1.1)  # the expiry itself is what is tried
    restartable.start()
    with connected(restartable.port) as client:
        client.subscribe("#")
        with running(bus):
            heard = client.wait_for_message("imhearing/porch/response/x")
        assert heard.payload == b"fresh"
        assert heard.expiry is not None
        assert 50 < heard.expiry < 60


def test_an_idle_connection_publishes_at_once(broker: BrokerAddress) -> None:
    with connected(broker.port) as client, running(Bus(mqtt(broker.port), "porch", "recorder")) as bus:
        client.subscribe("imhearing/porch/recorder/sound")
        assert bus.wait_connected(DEADLINE)

        def publish_one_by_one() -> None:
            for _ in range(150):  # one that waits for the loop's next tick takes up to a second
                client.received.clear()
                bus.publish(sound())
                client.wait_for_message("imhearing/porch/recorder/sound")

        wait_for_return(publish_one_by_one, "150 events have arrived one by one")


def test_events_carry_their_expiry(broker: BrokerAddress) -> None:
    with connected(broker.port) as client, running(Bus(mqtt(broker.port), "porch", "recorder")) as bus:
        client.subscribe("#")
        assert bus.wait_connected(DEADLINE)
        bus.publish(sound())
        assert client.wait_for_message("imhearing/porch/recorder/sound").expiry == SoundHeard.EXPIRY


def test_messages_that_are_too_large_are_dropped_and_others_arrive(broker: BrokerAddress) -> None:
    got: list[InboundMessage] = []
    bus = Bus(mqtt(broker.port), "porch", "recorder")
    bus.subscribe_raw("imhearing/porch/request/+", got.append)
    with connected(broker.port) as client, running(bus):
        assert bus.wait_connected(DEADLINE)
        for size in (MAX_PAYLOAD + 1, 2 * MAX_PAYLOAD, 200_000, MAX_PAYLOAD, 1):
            client.publish("imhearing/porch/request/pause", b"x" * size)
        wait_until(lambda: len(got) == 2, "the two small enough arrive")
        assert [len(message.payload) for message in got] == [MAX_PAYLOAD, 1]


def test_a_handler_that_raises_does_not_stop_the_bus(broker: BrokerAddress, caplog: pytest.LogCaptureFixture) -> None:
    got: list[bytes] = []

    def handler(message: InboundMessage) -> None:
        got.append(message.payload)
        if message.payload == b"bad":
            raise ZeroDivisionError

    bus = Bus(mqtt(broker.port), "porch", "recorder")
    bus.subscribe_raw("imhearing/porch/request/+", handler)
    with connected(broker.port) as client, running(bus):
        assert bus.wait_connected(DEADLINE)
        wait_until(lambda: client.publish("imhearing/porch/request/x", b"there?") or got, "it has subscribed")
        client.publish("imhearing/porch/request/x", b"bad")
        client.publish("imhearing/porch/request/x", b"good")
        wait_until(lambda: [each for each in got if each != b"there?"] == [b"bad", b"good"], "both arrive")
    assert "ZeroDivisionError" in caplog.text


# login and encryption


def test_a_refused_login_is_logged_once_and_retried_slowly(
    secured: SecureBroker, caplog: pytest.LogCaptureFixture
) -> None:
    with running(
        Bus(mqtt(secured.port, username="porch-{role}", password=Secret("wrong")), "porch", "recorder")
    ) as bus:
        wait_until(lambda: "refused the login" in caplog.text, "the refusal is logged")
        bus.publish(limits(1))
        assert not bus.wait_connected(1.5)
    told = [record for record in caplog.records if "refused the login" in record.message]
    assert len(told) == 1
    assert "[mqtt] username and password" in told[0].message
    assert "wrong" not in caplog.text


@pytest.mark.parametrize("transport", ["tcp", "websockets"])
def test_a_foreign_broker_with_tls_needs_only_configuration(
    secured: SecureBroker, transport: Literal["tcp", "websockets"]
) -> None:
    port = secured.tls_port if transport == "tcp" else secured.websocket_port
    settings = Mqtt(
        host="localhost", port=port, tls="on", ca_file=secured.ca_file, username="porch-{role}", transport=transport,
        recorder_password=Secret(secured.passwords["porch-recorder"]),
    )  # fmt: skip
    viewer = ("porch-viewer", secured.passwords["porch-viewer"])
    with running(Bus(settings, "porch", "recorder")) as bus, connected(secured.port, *viewer) as client:
        assert bus.wait_connected(DEADLINE)
        client.subscribe("imhearing/porch/recorder/limits")
        bus.publish(limits(7))
        client.wait_for_message("imhearing/porch/recorder/limits")


def test_a_reader_cannot_take_the_recorder_off_the_broker_with_what_is_published(secured: SecureBroker) -> None:
    """A broker ends the connection of the client whose ID another one logs in with, whatever account that has."""
    settings = mqtt(
        secured.port, username="porch-{role}", recorder_password=Secret(secured.passwords["porch-recorder"])
    )
    viewer = ("porch-viewer", secured.passwords["porch-viewer"])
    instance = "1" * 16
    opened: list[None] = []
    bus = Bus(settings, "porch", "recorder", will=status(instance, "offline"))
    bus.on_connected(lambda: opened.append(None))
    bus.publish(status(instance))
    with running(bus), connected(secured.port, *viewer) as client:
        client.subscribe("imhearing/porch/recorder/+")
        topic = "imhearing/porch/recorder/status"
        seen = client.wait_for_message(topic).payload
        guess = f"imhearing-porch-recorder-{wire.decode(seen, RecorderStatus).instance}"
        with connected(secured.port, *viewer, client_id=guess):
            bus.publish(limits(7))
            client.wait_for_message("imhearing/porch/recorder/limits")
        assert len(opened) == 1
        assert [
            wire.decode(m.payload, RecorderStatus).state for m in client.messages_on("imhearing/porch/recorder/status")
        ] == ["online"]


def test_no_password_is_sent_to_a_broker_with_an_unverified_certificate(
    secured: SecureBroker, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Mqtt(host="localhost", port=secured.tls_port, tls="on", username="a", password=Secret("secret"))
    with running(Bus(settings, "porch", "recorder")) as bus:
        wait_until(lambda: "is not signed by a known CA" in caplog.text, "the reason is logged")
        assert not bus.wait_connected(0)


def test_a_password_sent_in_clear_text_over_the_network_causes_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus(Mqtt(host="192.0.2.1", username="a", password=Secret("secret")), "porch", "recorder")
    bus.start()
    assert "in clear text" in caplog.text
    bus.stop(0.1)


# two nodes of one name


class HandSetClock:
    """Seconds, as the test sets them; `reads` counts how often they were read."""

    def __init__(self) -> None:
        self.seconds, self.reads = 0.0, 0

    def __call__(self) -> float:
        seconds = self.seconds
        self.reads += 1
        return seconds


def guarded(port: int, instance: str, clock: Callable[[], float] = time.monotonic) -> Bus:
    bus = Bus(mqtt(port), "porch", "recorder", will=status(instance, "offline"))
    NameGuard(bus, status(instance), clock)
    bus.publish(status(instance))
    bus.publish(limits(int(instance[0], 16)))
    return bus


@pytest.mark.parametrize(("first", "second"), [("1" * 16, "f" * 16), ("f" * 16, "1" * 16)])
def test_of_two_nodes_with_one_name_the_second_stays_off_and_logs_why(
    broker: BrokerAddress, first: str, second: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    clock = HandSetClock()
    with connected(broker.port) as client, running(guarded(broker.port, first, clock)) as holder:
        wait_until(lambda: clock.reads, "the first is connected")
        clock.seconds += SETTLED_SECONDS  # without an objection, the name is its own
        newcomer = guarded(broker.port, second)
        with running(newcomer):
            wait_until(lambda: f"instance {first}" in caplog.text, "the second names the first")
            wait_until(lambda: f"instance {second}" in caplog.text, "the first names the second")
            wait_until(lambda: not newcomer.wait_connected(0), "the second is off")
            assert "another node is already named porch" in caplog.text
            client.subscribe("imhearing/porch/recorder/+")

            def is_of_first(message: ReceivedMessage) -> bool:
                kept = wire.decode(message.payload, RecorderStatus)
                return (kept.instance, kept.state) == (first, "online")

            client.wait_for_message("imhearing/porch/recorder/status", is_of_first)
            own = limits(int(first[0], 16))
            client.wait_for_message(
                "imhearing/porch/recorder/limits", lambda m: wire.decode(m.payload, LimitsSet) == own
            )
        assert holder.wait_connected(0)


def test_a_retained_status_of_a_vanished_node_does_not_block_its_name(broker: BrokerAddress) -> None:
    with connected(broker.port) as client:
        client.publish("imhearing/porch/recorder/status", wire.encode(status("1" * 16)), retain=True)
        with running(guarded(broker.port, "f" * 16)) as bus:
            assert bus.wait_connected(DEADLINE)
            client.subscribe("imhearing/porch/recorder/status")
            client.wait_for_message("imhearing/porch/recorder/status", lambda heard: b"ffff" in heard.payload)
            assert bus.wait_connected(0)
