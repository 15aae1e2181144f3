"""The only file that imports paho: publishes events and delivers messages, and never blocks who publishes.

MQTT carries notice, never truth. Retained events are kept here and sent again whenever a connection is made; others
wait in a bounded queue while the broker is away, except those with an expiry, which nobody wants late.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge import wire
from edge.events import Event
from edge.settings import Mqtt

log = logging.getLogger(__name__)

MAX_PAYLOAD = 65_536  # bytes of one inbound message; larger ones are dropped
_QUEUED_MESSAGES = 1_000  # while the broker is away


class Message(NamedTuple):
    """One inbound message. `response_topic` and `correlation` are those of MQTT 5, where given."""

    topic: str
    payload: bytes
    retained: bool
    response_topic: str | None = None
    correlation: bytes | None = None


Handler = Callable[[Message], None]


class Bus:
    """One connection to the broker, kept up by a thread of paho's own.

    `name` is the role, as in `recorder`; `will` is what the broker says for us when we vanish. Handlers run in paho's
    thread: they only enqueue. Nothing connects before `start`.
    """

    def __init__(self, settings: Mqtt, name: str, instance: str, will: Event | None = None) -> None:
        self._settings = settings
        self._retained: dict[str, Event] = {}
        self._handlers: dict[str, Handler] = {}
        self._on_connected: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._connected = threading.Event()
        self._last_refusal = ""
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"imhearing-{name}-{instance}", protocol=paho.MQTTv5
        )
        self._client.on_connect = self._connect_done
        self._client.on_disconnect = self._disconnected
        self._client.on_message = self._dispatch
        self._client.max_queued_messages_set(_QUEUED_MESSAGES)
        # paho doubles the delay from the first to the second and has no jitter of its own
        self._client.reconnect_delay_set(min_delay=1, max_delay=random.randint(20, 40))  # noqa: S311
        if settings.username:
            self._client.username_pw_set(settings.username, settings.password.reveal() or None)
        if will is not None:
            self._client.will_set(will.topic, wire.encode(will), qos=will.QOS, retain=will.RETAINED)

    def start(self) -> None:
        """Connects in the background, for ever."""
        self._client.connect_async(self._settings.host, self._settings.port, keepalive=30)
        self._client.loop_start()

    def stop(self, timeout: float = 1.0, farewell: Event | None = None) -> None:
        """Says `farewell`, waits up to `timeout` seconds for it to leave, and disconnects."""
        if farewell is not None and self._connected.is_set():
            with_receipt = self._send(farewell)
            try:
                with_receipt.wait_for_publish(timeout)
            except (RuntimeError, ValueError) as problem:
                log.debug("the farewell did not leave: %s", problem)
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    def wait_connected(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds for the first or next connection."""
        return self._connected.wait(timeout)

    def publish(self, event: Event) -> None:
        """Hands `event` to the connection; never blocks, never raises for a broker that is away."""
        if event.RETAINED:
            with self._lock:
                self._retained[event.topic] = event
            if not self._connected.is_set():
                return
        elif event.EXPIRY is not None and not self._connected.is_set():
            return
        self._send(event)

    def send(self, topic: str, payload: bytes, correlation: bytes | None = None, expiry: int | None = None) -> None:
        """A message that is no event: a command or its answer, QoS 1."""
        self._client.publish(topic, payload, qos=1, properties=_properties(expiry, correlation))

    def subscribe(self, topic_filter: str, handler: Handler) -> None:
        """Delivers messages that match `topic_filter` to `handler`, now and after every reconnection."""
        with self._lock:
            self._handlers[topic_filter] = handler
        self._client.message_callback_add(topic_filter, self._guarded(handler))
        if self._connected.is_set():
            self._client.subscribe(topic_filter, qos=1)

    def on_connected(self, callback: Callable[[], None]) -> None:
        """Calls `callback` in paho's thread after each connection: the time to look at the truth again."""
        self._on_connected.append(callback)

    def _send(self, event: Event) -> paho.MQTTMessageInfo:
        return self._client.publish(
            event.topic,
            wire.encode(event),
            qos=event.QOS,
            retain=event.RETAINED,
            properties=_properties(event.EXPIRY, None),
        )

    def _connect_done(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        where = f"{self._settings.host}:{self._settings.port}"
        if reason.is_failure:
            if str(reason) != self._last_refusal:
                log.warning("the broker at %s refuses us: %s; check [mqtt] username and password", where, reason)
            self._last_refusal = str(reason)
            return
        self._last_refusal = ""
        with self._lock:
            filters, retained = list(self._handlers), list(self._retained.values())
        for topic_filter in filters:
            self._client.subscribe(topic_filter, qos=1)
        self._connected.set()
        for event in retained:
            self._send(event)
        log.info("connected to the broker at %s", where)
        for callback in self._on_connected:
            callback()

    def _disconnected(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if self._connected.is_set():
            log.warning("the broker is away (%s); going on without it, trying again", reason)
        self._connected.clear()

    def _dispatch(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        log.debug("a message that nobody asked for: %r", message.topic[:200])

    def _guarded(self, handler: Handler) -> Callable[[Any, Any, paho.MQTTMessage], None]:
        def deliver(_client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
            if len(message.payload) > MAX_PAYLOAD:
                log.warning("dropped a message of %d bytes on %.200r", len(message.payload), message.topic)
                return
            properties = message.properties
            try:
                handler(
                    Message(
                        message.topic,
                        bytes(message.payload),
                        bool(message.retain),
                        getattr(properties, "ResponseTopic", None),
                        getattr(properties, "CorrelationData", None),
                    )
                )
            except Exception:  # the edge of a message: one bad one must not end paho's thread
                log.exception("a message on %.200r could not be handled", message.topic)

        return deliver


def _properties(expiry: int | None, correlation: bytes | None) -> Properties | None:
    if expiry is None and correlation is None:
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if expiry is not None:
        properties.MessageExpiryInterval = expiry
    if correlation is not None:
        properties.CorrelationData = correlation
    return properties
