"""Every topic on a broker with the QoS and the retain flag that its publisher chose."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.support.wait import DEADLINE

Seen = set[tuple[str, int, bool]]


@contextlib.contextmanager
def overheard(port: int, *topics: str) -> Iterator[Seen]:
    """Until the end; a set that grows as messages come."""
    seen: Seen = set()
    subscribed = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, reconnect_on_failure=False)

    def note(_client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        seen.add((message.topic, message.qos, bool(message.retain)))

    client.on_message = note
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        client.subscribe([(topic, SubscribeOptions(qos=2, retainAsPublished=True)) for topic in topics])
        assert subscribed.wait(DEADLINE), "the broker does not take a subscription"
        yield seen
    finally:
        client.disconnect()
        client.loop_stop()
