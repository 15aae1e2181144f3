"""Which handler gets which message. Events are decoded and validated here, and nowhere else. No I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, TypeVar

from edge.core import wire
from edge.core.errors import WireError
from edge.messaging import topics
from edge.messaging.events import EVENT_BY_NAME, Event
from edge.messaging.messages import InboundMessage

log = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)
MessageHandler = Callable[[InboundMessage], object]
EventHandler = Callable[[E, bool], object]  # the event, and whether the broker had retained it


def decode_event(topic: str, payload: bytes) -> Event | None:
    """The event that a message carries; None where the topic is no event's. Raises WireError."""
    node, name = topics.split_event(topic) or ("", "")
    if name not in EVENT_BY_NAME:
        return None
    event = wire.decode(payload, EVENT_BY_NAME[name])
    if event.node != node:
        raise WireError(f"node: {event.node} published on the topic of {node}", "node")
    return event


class Subscription(NamedTuple):
    """One topic filter. `retain_as_published`: the broker keeps the retain flag of what it passes on."""

    topic_filter: str
    handler: MessageHandler
    retain_as_published: bool = False


class Subscriptions:
    """The handlers of one connection. `matches` says whether a filter, given first, covers a topic."""

    def __init__(self, matches: Callable[[str, str], bool]) -> None:
        self._matches = matches
        self._subscriptions: tuple[Subscription, ...] = ()  # replaced, never changed: read in another thread
        self._undecodable: set[str] = set()  # topics of which the log has complained

    def __iter__(self) -> Iterator[Subscription]:
        """One for each filter: the broker sends what it retains again for each that it is sent."""
        return iter({one.topic_filter: one for one in self._subscriptions}.values())

    def add(self, subscription: Subscription) -> None:
        self._subscriptions = (*self._subscriptions, subscription)

    def decoding(self, event_type: type[E], handler: EventHandler[E]) -> MessageHandler:
        """Hands events of one type to `handler`; what cannot be decoded is logged once per topic, and dropped."""

        def decode(message: InboundMessage) -> None:
            if not message.payload:
                return  # a retained event was cleared
            try:
                event = decode_event(message.topic, message.payload)
            except WireError as problem:
                if message.topic not in self._undecodable:
                    self._undecodable.add(message.topic)
                    log.warning("ignoring what does not fit on %s: %.300s", message.topic, problem)
                return
            if isinstance(event, event_type):
                handler(event, message.retained)

        return decode

    def dispatch(self, message: InboundMessage) -> None:
        """Calls every handler that wants `message`; one that fails does not keep it from the others."""
        for subscription in self._subscriptions:
            if self._matches(subscription.topic_filter, message.topic):
                guarded(partial(subscription.handler, message))


def guarded(call: Callable[[], object]) -> None:
    """Runs a handler; whatever it raises is logged: the connection's thread must survive it."""
    try:
        call()
    except Exception:  # the edge of a message
        log.exception("a message from the broker could not be handled")
