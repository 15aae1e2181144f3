"""An MQTT client for tests, which publishes and receives anything on a real broker."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.core import wire
from edge.messaging.events import Response
from query_service.queries.protocol import Answer, read_answer
from query_service.queries.values import ErrorAnswer
from tests.support.wait import DEADLINE, wait_until


def opened(payload: bytes) -> Answer:
    """The answer to a query, out of the envelope that all responses have."""
    response = wire.decode(payload, Response)
    if response.error is not None:
        return ErrorAnswer(id=response.id, error=response.error)
    return read_answer(wire.encode(response.data))


class ReceivedMessage(NamedTuple):
    topic: str
    payload: bytes
    retained: bool
    correlation: bytes | None
    expiry: int | None


class Client:
    """Connected while in `connected`. Publishing returns the broker's reason code: 0 or 16 accepted, 135 forbidden."""

    def __init__(self, client: paho.Client) -> None:
        self._client = client
        self.received: list[ReceivedMessage] = []
        self._acknowledged: dict[int, int] = {}
        client.on_message = self._on_message
        client.on_publish = self._on_acknowledged

    def subscribe(self, *topics: str) -> None:
        done = threading.Event()
        self._client.on_subscribe = lambda *_: done.set()
        self._client.subscribe([(topic, 1) for topic in topics])
        assert done.wait(DEADLINE)

    def publish(
        self,
        topic: str,
        payload: bytes | str = b"",
        *,
        retain: bool = False,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> int:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if response_topic is not None:
            properties.ResponseTopic = response_topic
        if correlation is not None:
            properties.CorrelationData = correlation
        mid = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties).mid
        wait_until(lambda: mid in self._acknowledged, f"the broker took {topic}")
        return self._acknowledged.pop(mid)

    def messages_on(self, topic: str) -> list[ReceivedMessage]:
        return [each for each in self.received if each.topic == topic]

    def wait_for_message(
        self, topic: str, condition: Callable[[ReceivedMessage], Any] = lambda _: True, timeout: float = DEADLINE
    ) -> ReceivedMessage:
        """The first message on `topic` that meets the condition."""
        found = wait_until(
            lambda: [each for each in list(self.received) if each.topic == topic and condition(each)],
            f"a message on {topic} meets the condition; received on: {[each.topic for each in self.received][-20:]}",
            timeout,
        )
        return found[0]

    def _on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        properties = message.properties
        self.received.append(
            ReceivedMessage(
                message.topic,
                bytes(message.payload),
                bool(message.retain),
                getattr(properties, "CorrelationData", None),
                getattr(properties, "MessageExpiryInterval", None),
            )
        )

    def _on_acknowledged(self, _client: Any, _userdata: Any, mid: int, reason: Any, _properties: Any) -> None:
        self._acknowledged[mid] = reason.value


@contextlib.contextmanager
def connected(
    where: int | Path,
    user: str | None = None,
    password: str | None = None,
    ca_file: str | None = None,
    client_id: str = "",
) -> Iterator[Client]:
    """A client on a port of 127.0.0.1 or a socket; with `ca_file` over TLS. AssertionError if the broker rejects it."""
    raw = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=paho.MQTTv5,
        reconnect_on_failure=False,
        transport="tcp" if isinstance(where, int) else "unix",
    )
    if user is not None:
        raw.username_pw_set(user, password)
    if ca_file is not None:
        raw.tls_set_context(ssl.create_default_context(cafile=ca_file))
    reasons: list[Any] = []
    raw.on_connect = lambda _client, _userdata, _flags, reason, _properties: reasons.append(reason)
    if isinstance(where, int):
        raw.connect("127.0.0.1", where)
    else:
        raw.connect(str(where))
    raw.loop_start()
    try:
        wait_until(lambda: reasons, "the broker accepts or refuses the connection")
        assert not reasons[0].is_failure, str(reasons[0])
        yield Client(raw)
    finally:
        raw.disconnect()
        raw.loop_stop()
