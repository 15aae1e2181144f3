"""One connection to the MQTT broker, and the thread that keeps one up. The only file that imports paho."""

from __future__ import annotations

import contextlib
import logging
import math
import random
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.configuration.settings import Mqtt, Secret
from edge.core.backoff import Backoff
from edge.messaging import diagnosis
from edge.messaging.diagnosis import Ending, Trouble
from edge.messaging.login import TlsFileError, tls_context
from edge.messaging.messages import MAX_PAYLOAD, InboundMessage, OutboundMessage
from edge.messaging.subscriptions import Subscription

log = logging.getLogger(__name__)

QUEUED_MESSAGES = 1_000  # while the broker is away
_KEEPALIVE = 30  # seconds
_TICK = 1.0  # seconds between keepalive checks
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0  # seconds between two connections
_SLOW_DELAY = 15.0  # at least this after a refusal, which only a person can fix
_ACKNOWLEDGED_WITHIN = 60.0  # seconds; longer than the largest message takes on a slow line
_STEADY = 2.0  # seconds that a connection must have lasted for the next delay to be short again

topic_matches = paho.topic_matches_sub


class Login(NamedTuple):
    """Who we are for the broker; `will` is published for us when we vanish."""

    client_id: str
    user: str
    password: Secret
    will: OutboundMessage | None


class Callbacks(NamedTuple):
    """What a connection calls, in its own thread. `on_subscribed`: the broker has confirmed all subscriptions."""

    on_open: Callable[[BrokerConnection], None]
    on_subscribed: Callable[[], None]
    on_message: Callable[[InboundMessage], None]


class Receipt:
    """What became of one outbound message. One that can never be acknowledged counts as not."""

    def __init__(self, info: paho.MQTTMessageInfo) -> None:
        self._info = info

    @property
    def is_dropped(self) -> bool:
        """Whether paho's queue was full."""
        return self._info.rc == paho.MQTT_ERR_QUEUE_SIZE

    def is_published(self) -> bool:
        try:
            return self._info.is_published()
        except (RuntimeError, ValueError):
            return False

    def wait(self, timeout: float) -> bool:
        try:
            self._info.wait_for_publish(timeout)
        except (RuntimeError, ValueError):
            return False
        return self.is_published()


class _SubscriptionCount:
    """Each of the two is counted in one thread at a time."""

    def __init__(self) -> None:
        self.requested = self.confirmed = 0


class _AwaitedReceipts:
    """What the broker has not acknowledged yet, the oldest first. `add` is for any thread."""

    def __init__(self) -> None:
        self.is_dropping = False
        self._receipts: deque[Receipt] = deque()
        self._progress_at = time.monotonic()

    def add(self, receipt: Receipt) -> None:
        self._receipts.append(receipt)

    def stuck_for(self) -> float:
        """For how many seconds something has waited and the oldest was not acknowledged."""
        now = time.monotonic()
        is_moving = not self._receipts
        while self._receipts and self._receipts[0].is_published():
            self._receipts.popleft()
            is_moving = True
        if is_moving:
            self._progress_at = now
        return now - self._progress_at


class BrokerConnection:
    """One connection, from its first packet to its last. `publish`, `subscribe` and `close` are for any thread."""

    def __init__(self, settings: Mqtt, login: Login, callbacks: Callbacks) -> None:
        self._settings, self._callbacks = settings, callbacks
        self._closing = False
        self._is_open = False
        self._refusal: Trouble | None = None
        self._failure: str | None = None  # the broker's reason, or ours
        self._unacknowledged = _AwaitedReceipts()
        self._subscriptions = _SubscriptionCount()
        self._wake_up = _WakeUp()
        self._client = self._make_client(login)

    def run(self) -> Trouble | None:
        """Connects, calls the handlers in this thread, and returns when the connection has ended, with the reason."""
        try:
            if (context := tls_context(self._settings)) is not None:  # read again: the files may have been replaced
                self._client.tls_set_context(context)
            host = self._settings.socket_path or self._settings.host
            self._client.connect(host, self._settings.port, _KEEPALIVE, properties=_connect_properties())
            if self._closing:
                self._client.disconnect()
            self._exchange()
        except TlsFileError as problem:
            return diagnosis.of_file(problem)
        except (OSError, ValueError) as problem:  # a failed WebSocket or TLS handshake is an OSError too
            if not self._is_open:
                return None if self._closing else diagnosis.of_failure(problem, self._settings)
            self._failure = str(problem)
        except Exception as problem:  # a fault of paho's costs this connection, not the thread
            log.exception("the MQTT library failed")
            self._failure = repr(problem)
        finally:
            if (broker := self._client.socket()) is not None:
                broker.close()
            self._wake_up.close()
        return self._trouble()

    def _trouble(self) -> Trouble | None:
        if self._refusal is not None or self._closing:
            return self._refusal
        reason = self._failure or ""
        if not self._is_open:
            return diagnosis.of_silence(reason, self._settings)
        return diagnosis.of_loss(reason)

    def _exchange(self) -> None:
        """Reads and writes packets until the socket is closed, with the calls that paho documents for other loops.

        paho's own loop wakes for what another thread publishes only if `loop_start` made the thread that it runs in.
        """
        while (broker := self._client.socket()) is not None:
            has_read_ahead = hasattr(broker, "pending") and broker.pending() > 0  # TLS and WebSocket
            reading: list[Any] = [broker, self._wake_up]
            writing = [broker] if self._client.want_write() else []
            ready, writable, _ = select.select(reading, writing, [], 0 if has_read_ahead else _TICK)
            if self._wake_up in ready:
                self._wake_up.clear()
            if broker in ready or has_read_ahead:
                self._client.loop_read()
            if writable:
                self._client.loop_write()
            self._client.loop_misc()  # keepalive
            if self._unacknowledged.stuck_for() > _ACKNOWLEDGED_WITHIN:
                # a flooded Mosquitto drops acknowledgements too: then nothing of QoS 1 passes on this connection
                self._failure = f"it has acknowledged nothing for {_ACKNOWLEDGED_WITHIN:g} s"
                return

    def close(self) -> None:
        """Leaves the broker in good order: no last will is published."""
        self._closing = True
        self._client.disconnect()

    def publish(self, message: OutboundMessage) -> Receipt:
        properties = _publish_properties(message)
        receipt = Receipt(
            self._client.publish(message.topic, message.payload, message.qos, message.retain, properties=properties)
        )
        if not receipt.is_dropped:
            if message.qos:
                self._unacknowledged.add(receipt)
        elif not self._unacknowledged.is_dropping:
            self._unacknowledged.is_dropping = True
            log.warning("the MQTT broker accepts messages too slowly; dropping some")
        return receipt

    def subscribe(self, subscription: Subscription) -> None:
        options = SubscribeOptions(qos=1, retainAsPublished=subscription.retain_as_published)
        self._subscriptions.requested += 1
        self._client.subscribe(subscription.topic_filter, options=options)

    def _make_client(self, login: Login) -> paho.Client:
        settings = self._settings
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=login.client_id,
            protocol=paho.MQTTv5,
            transport=settings.transport if settings.socket_path is None else "unix",
            reconnect_on_failure=False,
        )
        client.max_queued_messages_set(2 * QUEUED_MESSAGES)
        if settings.transport == "websockets":
            client.ws_set_options(path=settings.websocket_path)
        if login.user:
            client.username_pw_set(login.user, login.password.reveal() or None)
        if login.will is not None:
            client.will_set(login.will.topic, login.will.payload, login.will.qos, login.will.retain)
        client.on_socket_open = _send_at_once
        # called in the thread that publishes, which must not write itself: it would wait for the broker
        client.on_socket_register_write = lambda _client, _userdata, _socket: self._wake_up.set()
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._confirm
        client.on_message = self._received
        return client

    def _connected(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refusal = diagnosis.of_refusal(reason.value, str(reason), self._settings)
        else:
            self._is_open = True
            self._callbacks.on_open(self)

    def _disconnected(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if self._failure is None:
            self._failure = str(reason)

    def _confirm(self, _client: Any, _userdata: Any, _mid: int, _reasons: Any, _properties: Any) -> None:
        self._subscriptions.confirmed += 1
        if self._subscriptions.confirmed == self._subscriptions.requested:
            self._callbacks.on_subscribed()

    def _received(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return  # no topic of ours
        if len(message.payload) > MAX_PAYLOAD:
            log.warning("dropped a message of %d bytes on %.200r", len(message.payload), topic)
            return
        properties = message.properties
        self._callbacks.on_message(
            InboundMessage(
                topic,
                bytes(message.payload),
                bool(message.retain),
                getattr(properties, "ResponseTopic", None),
                getattr(properties, "CorrelationData", None),
            )
        )


class _WakeUp:
    """Ends a `select` that waits for it, from any thread."""

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)

    def fileno(self) -> int:
        return self._receiver.fileno()

    def set(self) -> None:
        with contextlib.suppress(OSError):  # full: it is set already; closed: nobody waits any more
            self._sender.send(b"\0")

    def clear(self) -> None:
        self._receiver.recv(4_096)

    def close(self) -> None:
        self._receiver.close()
        self._sender.close()


class ReconnectDelays:
    """How long to wait before the next connection: doubled up to 30 s, with jitter.

    A connection that did not last counts as a failure.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._backoff = Backoff(_FIRST_DELAY, _LONGEST_DELAY, jitter=(0.5, 1.0), steady=_STEADY, chance=chance)

    def after(self, ending: Ending, lasted: float) -> float:
        at_least = _SLOW_DELAY if ending == "refused" else 0.0
        return self._backoff.next_delay(lasted if ending == "lost" else 0.0, at_least=at_least)


class Connector:
    """Keeps a connection up, in a thread of its own, until it is stopped: waits longer after each that failed.

    `make` gives a new connection for each attempt, so that nothing stale is sent again; `on_end` hears of its end.
    """

    def __init__(self, name: str, make: Callable[[], BrokerConnection], on_end: Callable[[], None]) -> None:
        self._make, self._on_end = make, on_end
        self._attempt: BrokerConnection | None = None
        self._stopping = threading.Event()
        self._away_until = 0.0
        self.trouble: Trouble | None = None  # why there is no connection, once an attempt has ended
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    def start(self) -> None:
        self._thread.start()

    def announce_stop(self) -> None:
        """No further connection is made; the one that there is stays open."""
        self._stopping.set()

    def stop(self, timeout: float) -> None:
        """Closes the connection and waits up to `timeout` seconds for the thread to end."""
        self._stopping.set()
        self._close()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def withdraw(self, seconds: float) -> None:
        """Closes the connection; the next one is made after `seconds`."""
        self._away_until = time.monotonic() + seconds
        self._close()

    def opened(self) -> None:
        """The attempt succeeded: its next trouble is news."""
        self.trouble = None

    def _close(self) -> None:
        if self._attempt is not None:
            self._attempt.close()

    def _run(self) -> None:
        delays = ReconnectDelays()
        while not self._stopping.is_set():
            began = time.monotonic()
            self._attempt = connection = self._make()
            if self._stopping.is_set():  # it may not have seen this attempt
                return
            trouble = connection.run()
            self._on_end()
            self._note(trouble)
            wait = delays.after(trouble.ending if trouble else "lost", time.monotonic() - began)
            self._stopping.wait(max(wait, self._away_until - time.monotonic()))

    def _note(self, trouble: Trouble | None) -> None:
        """Logs a trouble once, however often it comes again."""
        if trouble is not None and trouble != self.trouble and not self._stopping.is_set():
            log.warning("%s; retrying", trouble.text)
        self.trouble = trouble or self.trouble


def _send_at_once(_client: Any, _userdata: Any, opened: Any) -> None:
    """Else what follows an acknowledgement of ours waits 40 ms for the broker to acknowledge that (RFC 896, 1122)."""
    # of a WebSocket we are given paho's own wrapper
    if isinstance(opened, socket.socket) and opened.family != socket.AF_UNIX:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _connect_properties() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = 2 * MAX_PAYLOAD
    return properties


def _publish_properties(message: OutboundMessage) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if message.deadline is not None:
        properties.MessageExpiryInterval = max(1, math.ceil(message.deadline - time.monotonic()))
    if message.correlation is not None:
        properties.CorrelationData = message.correlation
    if message.response_topic is not None:
        properties.ResponseTopic = message.response_topic
    return properties
