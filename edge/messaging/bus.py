"""Publishes the node's events and delivers messages to their handlers; never blocks whoever publishes.

MQTT carries notice, never truth. Retained events are kept here and sent again on every connection; others wait in a
bounded queue while the broker is away, those with an expiry no longer than that.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable

from edge.configuration.settings import Mqtt
from edge.core.errors import DoorError
from edge.messaging import topics
from edge.messaging.connection import (
    QUEUED_MESSAGES,
    BrokerConnection,
    Callbacks,
    Connector,
    Login,
    Receipt,
    topic_matches,
)
from edge.messaging.diagnosis import Trouble
from edge.messaging.events import Event
from edge.messaging.login import Role, credentials
from edge.messaging.messages import MAX_PAYLOAD, InboundMessage, OutboundMessage, Outbox, message_of
from edge.messaging.subscriptions import E, EventHandler, MessageHandler, Subscription, Subscriptions, guarded

log = logging.getLogger(__name__)

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Bus:
    """One node's messages over one connection, which is kept up in the background.

    `role` is who we log in as, and the broker publishes `will` when we vanish. Handlers run in the connection's thread,
    so they only enqueue. Nothing connects before `start`.

    It is large because it is all that a service knows of MQTT: each method is one way to send, receive, wait or stop,
    and the attributes are what has to survive the loss of a connection.
    """

    def __init__(self, settings: Mqtt, node: str, role: Role, will: Event | None = None) -> None:
        login = Login(
            # whoever logs in with the ID of another client ends that one's connection: it must not be guessed
            f"imhearing-{node}-{role}-{secrets.token_hex(16)}",
            *credentials(settings, role),
            None if will is None else message_of(will),
        )
        self._node, self._where = node, settings.address
        is_local = settings.socket_path is not None or settings.host in _LOOPBACK
        self._in_clear = bool(login.password.reveal()) and settings.tls == "off" and not is_local
        self._outbox = Outbox(QUEUED_MESSAGES)
        self._subscriptions = Subscriptions(topic_matches)
        self._on_connected: list[Callable[[], object]] = []
        self._on_subscribed: list[Callable[[], object]] = []
        self._lock = threading.Lock()  # over the outbox, the subscriptions and the two below
        self._connection: BrokerConnection | None = None  # while it is open
        self._last_receipt: Receipt | None = None
        self._connected = threading.Event()
        callbacks = Callbacks(self._opened, self._listening, self._received)
        self._connector = Connector(
            f"mqtt-{node}-{role}", lambda: BrokerConnection(settings, login, callbacks), self._lost
        )

    def start(self) -> None:
        if self._in_clear:
            log.warning("the MQTT password crosses the network in clear text; set [mqtt] tls = on")
        self._connector.start()

    def stop(self, timeout: float = 1.0, farewell: Event | None = None) -> None:
        """Publishes `farewell`, waits up to `timeout` seconds for its acknowledgement, and disconnects."""
        self._connector.announce_stop()  # from here on nothing is delivered, not our own farewell either
        receipt = None
        with self._lock:
            if self._connection is not None and farewell is not None:
                receipt = self._hand_over(self._connection, message_of(farewell))
        if receipt is not None and not receipt.wait(timeout):
            log.debug("the broker did not acknowledge the farewell")
        self._disconnected()
        self._connector.stop(timeout)

    def flush(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds until the broker has acknowledged the last message."""
        with self._lock:
            receipt = self._last_receipt
        return receipt is not None and receipt.wait(timeout)

    @property
    def trouble(self) -> Trouble | None:
        """Why there is no connection; None while there is one, or before the first attempt has failed."""
        return self._connector.trouble

    def wait_connected(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds for the first or next connection."""
        return self._connected.wait(timeout)

    def require_connection(self, timeout: float) -> None:
        """Waits up to `timeout` seconds for a connection. Raises DoorError, which says why there is none."""
        if self.wait_connected(timeout):
            return
        trouble = self.trouble
        if trouble is not None and trouble.cause != "unreachable":
            raise DoorError(trouble.text)
        text = trouble.text if trouble else f"cannot connect to the MQTT broker at {self._where} within {timeout:g} s"
        raise DoorError(f"{text}; is `imhearing up` running?")

    def publish(self, event: Event) -> None:
        """Hands `event` to the connection; never blocks, never raises for a broker that is away."""
        self._post(message_of(event))

    def retain(self, topic: str, payload: bytes) -> None:
        """A retained message that is no event; an empty payload clears what was retained there."""
        self._post(OutboundMessage(topic, payload, retain=True))

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
        self._post(OutboundMessage(topic, payload, 1, False, deadline, correlation, response_topic))

    def subscribe(self, event_type: type[E], handler: EventHandler[E]) -> None:
        """Calls `handler(event, retained)` for each of the node's events of that type, decoded and validated."""
        self.subscribe_raw(event_type.topic_of(self._node), self._subscriptions.decoding(event_type, handler))

    def subscribe_all(self, handler: EventHandler[Event]) -> None:
        """The same for all of the node's events."""
        self.subscribe_raw(topics.event(self._node, "+/+"), self._subscriptions.decoding(Event, handler))

    def subscribe_raw(self, topic_filter: str, handler: MessageHandler, *, retain_as_published: bool = False) -> None:
        """Delivers messages that are no events, now and after every reconnection.

        `retain_as_published`: the message also counts as retained if it was published, retained, just now.
        """
        subscription = Subscription(topic_filter, handler, retain_as_published)
        with self._lock:
            self._subscriptions.add(subscription)
            if self._connection is not None:
                self._connection.subscribe(subscription)

    def on_connected(self, callback: Callable[[], object]) -> None:
        """Calls `callback` on each connection, before any message of it is delivered."""
        self._on_connected.append(callback)

    def on_subscribed(self, callback: Callable[[], object]) -> None:
        """Calls `callback` on each connection once the broker has confirmed every subscription made so far.

        Messages published before that are lost: whoever must not miss anything then rescans the truth.
        """
        self._on_subscribed.append(callback)

    def repeat_retained(self) -> None:
        """Sends everything that is retained again, because somebody else wrote over it."""
        with self._lock:
            if self._connection is not None:
                for message in self._outbox.retained():
                    self._hand_over(self._connection, message)

    def withdraw(self, seconds: float) -> None:
        """Leaves the broker, without a last will, and comes back after `seconds`."""
        self._disconnected()
        self._connector.withdraw(seconds)

    def _post(self, message: OutboundMessage) -> None:
        if len(message.payload) > MAX_PAYLOAD:
            # a broker would end the connection, to which it would be sent again on the next one
            log.warning("not published on %s: %d bytes are too many for MQTT", message.topic, len(message.payload))
            return
        with self._lock:
            if message.retain:
                self._outbox.retain(message)
            if self._connection is not None:
                self._hand_over(self._connection, message)
            elif not message.retain:
                self._outbox.hold(message)

    def _hand_over(self, connection: BrokerConnection, message: OutboundMessage) -> Receipt:
        self._last_receipt = receipt = connection.publish(message)
        if not receipt.is_dropped:
            self._outbox.sent(message, receipt)
        return receipt

    # called in the connection's thread

    def _opened(self, connection: BrokerConnection) -> None:
        with self._lock:
            for subscription in self._subscriptions:
                connection.subscribe(subscription)
            for message in [*self._outbox.retained(), *self._outbox.take(time.monotonic())]:
                self._hand_over(connection, message)
            self._connection = connection
        self._connector.opened()
        self._connected.set()
        for callback in self._on_connected:
            guarded(callback)

    def _listening(self) -> None:
        for callback in self._on_subscribed:
            guarded(callback)

    def _disconnected(self) -> None:
        with self._lock:
            self._connection = None
        self._connected.clear()

    def _lost(self) -> None:
        self._disconnected()
        with self._lock:
            self._outbox.connection_lost()

    def _received(self, message: InboundMessage) -> None:
        if not self._connector.is_stopping:
            self._subscriptions.dispatch(message)
