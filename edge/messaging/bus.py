"""The only file that imports paho: publishes events and delivers messages, and never blocks who publishes.

MQTT carries notice, never truth. Retained events are kept here and sent again whenever a connection is made; others
wait in a bounded queue while the broker is away, those with an expiry no longer than that.
"""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.configuration.settings import Mqtt
from edge.core import wire
from edge.messaging.events import Event
from edge.messaging.login import credentials, role_of, tls_context
from edge.messaging.outbox import Delays, Ending, Letter, Outbox

log = logging.getLogger(__name__)

MAX_PAYLOAD = 65_536  # bytes of one inbound message; larger ones are dropped
_QUEUED_MESSAGES = 1_000  # while the broker is away
_KEEPALIVE = 30  # seconds
_LOOK_SECONDS = 5.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Message(NamedTuple):
    """One inbound message. `response_topic` and `correlation` are those of MQTT 5, where given."""

    topic: str
    payload: bytes
    retained: bool
    response_topic: str | None = None
    correlation: bytes | None = None


class _Subscription(NamedTuple):
    topic_filter: str
    handler: Callable[[Message], None]
    options: SubscribeOptions


Handler = Callable[[Message], None]


class Bus:
    """One connection to the broker, kept up by threads of its own.

    `name` is the node and the role, as in `porch-recorder`; `will` is what the broker says for us when we vanish.
    Handlers run in paho's thread: they only enqueue. Nothing connects before `start`. Raises ConfigError.
    """

    def __init__(self, settings: Mqtt, name: str, instance: str, will: Event | None = None) -> None:
        self._settings = settings
        self._client_id = f"imhearing-{name}-{instance}"
        self._user, self._password = credentials(settings, role_of(name))
        self._tls = tls_context(settings)
        self._will = will
        self._retained: dict[str, Letter] = {}
        self._subscriptions: dict[str, _Subscription] = {}
        self._on_connected: list[Callable[[], None]] = []
        self._outbox = Outbox(_QUEUED_MESSAGES)
        self._lock = threading.Lock()  # over the four above, _client and _last_receipt
        self._client: paho.Client | None = None  # while connected
        self._attempt: paho.Client | None = None  # also while connecting
        self._last_receipt: paho.MQTTMessageInfo | None = None
        self._connected = threading.Event()
        self._stopping = threading.Event()
        self._away_until = 0.0
        self._last_trouble = ""
        self._thread = threading.Thread(target=self._keep_connected, name=f"mqtt-{name}", daemon=True)

    def start(self) -> None:
        """Connects in the background, for ever."""
        if self._password.reveal() and self._tls is None and self._settings.host not in _LOOPBACK:
            log.warning("the broker's password crosses the network in clear; set [mqtt] tls = on")
        self._thread.start()

    def stop(self, timeout: float = 1.0, farewell: Event | None = None) -> None:
        """Says `farewell`, waits up to `timeout` seconds for it to leave, and disconnects."""
        self._stopping.set()  # from here on we hear nothing more: not our own farewell either
        with self._lock:
            client = self._client
        if client is not None and farewell is not None:
            with self._lock:
                receipt = self._hand_over(client, _letter(farewell))
            try:
                receipt.wait_for_publish(timeout)
            except (RuntimeError, ValueError) as problem:
                log.debug("the farewell did not leave: %s", problem)
        with self._lock:
            attempt, self._client = self._attempt, None
        self._connected.clear()  # what follows is no loss
        if attempt is not None:
            attempt.disconnect()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def flush(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds until the broker has taken what was handed over last."""
        with self._lock:
            receipt = self._last_receipt
        if receipt is None:
            return False
        try:
            receipt.wait_for_publish(timeout)
            return receipt.is_published()
        except (RuntimeError, ValueError):
            return False

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    def wait_connected(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds for the first or next connection."""
        return self._connected.wait(timeout)

    def publish(self, event: Event) -> None:
        """Hands `event` to the connection; never blocks, never raises for a broker that is away."""
        self._post(_letter(event))

    def retain(self, topic: str, payload: bytes) -> None:
        """A retained message that is no event; an empty payload takes back what was retained there."""
        self._post(Letter(topic, payload, retain=True))

    def send(
        self,
        topic: str,
        payload: bytes,
        correlation: bytes | None = None,
        expiry: int | None = None,
        response_topic: str | None = None,
    ) -> None:
        """A message that is no event: a command or its answer, QoS 1. `expiry` in seconds."""
        deadline = None if expiry is None else time.monotonic() + expiry
        self._post(Letter(topic, payload, 1, False, deadline, correlation, response_topic))

    def subscribe(self, topic_filter: str, handler: Handler, *, tell_retained: bool = False) -> None:
        """Delivers messages that match `topic_filter` to `handler`, now and after every reconnection.

        `tell_retained`: `Message.retained` then also says so of one that is published, retained, just now.
        """
        options = SubscribeOptions(qos=1, retainAsPublished=tell_retained)
        subscription = _Subscription(topic_filter, handler, options)
        with self._lock:
            self._subscriptions[topic_filter] = subscription
            if self._client is not None:
                self._client.subscribe(topic_filter, options=options)

    def on_connected(self, callback: Callable[[], None]) -> None:
        """Calls `callback` in paho's thread after each connection: the time to look at the truth again."""
        self._on_connected.append(callback)

    def repeat_retained(self) -> None:
        """Sends everything that is retained again: somebody else wrote over it."""
        with self._lock:
            if self._client is not None:
                for letter in self._retained.values():
                    self._hand_over(self._client, letter)

    def withdraw(self, seconds: float) -> None:
        """Leaves the broker without a word (no last will either) and comes back after `seconds`."""
        with self._lock:
            self._away_until = time.monotonic() + seconds
            attempt, self._client = self._attempt, None
        self._connected.clear()
        if attempt is not None:
            attempt.disconnect()

    # outbound

    def _post(self, letter: Letter) -> None:
        with self._lock:
            if letter.retain:
                self._retained[letter.topic] = letter
            if self._client is not None:
                self._hand_over(self._client, letter)
            elif not letter.retain:
                self._outbox.hold(letter)

    def _hand_over(self, client: paho.Client, letter: Letter) -> paho.MQTTMessageInfo:
        receipt = client.publish(
            letter.topic, letter.payload, qos=letter.qos, retain=letter.retain, properties=_properties(letter)
        )
        self._last_receipt = receipt
        if receipt.rc == paho.MQTT_ERR_QUEUE_SIZE:
            self._trouble("the broker takes our messages too slowly; some are dropped")
        else:
            self._outbox.sent(letter, _Receipt(receipt))
        return receipt

    # the connection

    def _keep_connected(self) -> None:
        delays = Delays()
        while not self._stopping.is_set():
            began = time.monotonic()
            ending = self._one_connection()
            wait = delays.after(ending, time.monotonic() - began)
            self._stopping.wait(max(wait, self._away_until - time.monotonic()))

    def _one_connection(self) -> Ending:
        """Connects, and returns when that has ended. A client for each, so that nothing stale is sent again."""
        closed = threading.Event()
        refused = threading.Event()
        client = self._make_client(closed, refused)
        with self._lock:
            self._attempt = client
        try:
            client.connect(self._settings.host, self._settings.port, keepalive=_KEEPALIVE, properties=_limits())
        except (OSError, ValueError) as problem:  # a failed WebSocket or TLS handshake is an OSError too
            self._trouble(f"no broker at {self._where}: {problem}; going on without it, trying again")
            return "unreachable"
        client.loop_start()
        if self._stopping.is_set():
            client.disconnect()
        while not closed.wait(_LOOK_SECONDS):
            if client._thread is None:  # a packet that paho cannot read ends its thread without a word
                break
        client.loop_stop()
        with self._lock:
            self._client = None
            self._outbox.connection_lost()
        return "refused" if refused.is_set() else "lost"

    def _make_client(self, closed: threading.Event, refused: threading.Event) -> paho.Client:
        settings = self._settings
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=paho.MQTTv5,
            transport=settings.transport,
            reconnect_on_failure=False,
        )
        client.max_queued_messages_set(2 * _QUEUED_MESSAGES)
        if settings.transport == "websockets":
            client.ws_set_options(path=settings.websocket_path)
        if self._user:
            client.username_pw_set(self._user, self._password.reveal() or None)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        if self._will is not None:
            will = _letter(self._will)
            client.will_set(will.topic, will.payload, qos=will.qos, retain=will.retain)

        def connect_done(_client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            if reason.is_failure:
                refused.set()
                closed.set()
                self._trouble(f"the broker at {self._where} refuses us: {reason}; check [mqtt] username and password")
            else:
                self._welcome(client)

        def disconnected(_client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            if self._connected.is_set() and not self._stopping.is_set():
                self._trouble(f"the broker is away ({reason}); going on without it, trying again")
            self._connected.clear()
            closed.set()

        client.on_socket_open = _send_at_once
        client.on_connect = connect_done
        client.on_disconnect = disconnected
        client.on_message = self._deliver
        return client

    def _welcome(self, client: paho.Client) -> None:
        with self._lock:
            for subscription in self._subscriptions.values():
                client.subscribe(subscription.topic_filter, options=subscription.options)
            for letter in [*self._retained.values(), *self._outbox.take(time.monotonic())]:
                self._hand_over(client, letter)
            self._client = client
        self._connected.set()
        self._last_trouble = ""
        log.info("connected to the broker at %s", self._where)
        for callback in self._on_connected:
            _guarded(callback)

    def _trouble(self, text: str) -> None:
        if text != self._last_trouble:
            log.warning("%s", text)
        self._last_trouble = text

    @property
    def _where(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    # inbound

    def _deliver(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        if self._stopping.is_set():
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return  # no topic of ours
        if len(message.payload) > MAX_PAYLOAD:
            log.warning("dropped a message of %d bytes on %.200r", len(message.payload), topic)
            return
        properties = message.properties
        received = Message(
            topic,
            bytes(message.payload),
            bool(message.retain),
            getattr(properties, "ResponseTopic", None),
            getattr(properties, "CorrelationData", None),
        )
        with self._lock:
            subscriptions = list(self._subscriptions.values())
        for subscription in subscriptions:
            if paho.topic_matches_sub(subscription.topic_filter, topic):
                _guarded(partial(subscription.handler, received))


class _Receipt:
    """Whether the broker has acknowledged; one that never can counts as not."""

    def __init__(self, info: paho.MQTTMessageInfo) -> None:
        self._info = info

    def is_published(self) -> bool:
        try:
            return self._info.is_published()
        except (RuntimeError, ValueError):
            return False


def _send_at_once(_client: Any, _userdata: Any, opened: Any) -> None:
    """Else what follows an acknowledgement of ours waits 40 ms for the broker to acknowledge that (RFC 896, 1122)."""
    if isinstance(opened, socket.socket):  # of a WebSocket we are given paho's own wrapper
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _guarded(call: Callable[[], None]) -> None:
    try:
        call()
    except Exception:  # the edge of a message: one bad one must not end paho's thread
        log.exception("something from the broker could not be handled")


def _letter(event: Event) -> Letter:
    deadline = None if event.EXPIRY is None else time.monotonic() + event.EXPIRY
    return Letter(event.topic, wire.encode(event), event.QOS, event.RETAINED, deadline)


def _limits() -> Properties:
    """What the broker need not even send us."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = 2 * MAX_PAYLOAD
    return properties


def _properties(letter: Letter) -> Properties | None:
    if letter.deadline is None and letter.correlation is None and letter.response_topic is None:
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if letter.deadline is not None:
        properties.MessageExpiryInterval = max(1, math.ceil(letter.deadline - time.monotonic()))
    if letter.correlation is not None:
        properties.CorrelationData = letter.correlation
    if letter.response_topic is not None:
        properties.ResponseTopic = letter.response_topic
    return properties
