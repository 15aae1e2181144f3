"""What a node publishes, collected."""

from __future__ import annotations

from typing import Any

from edge.configuration.settings import Settings
from edge.messaging import topics
from edge.messaging.bus import Bus
from edge.messaging.events import ArchiveChanged, Event
from edge.messaging.messages import InboundMessage


class EventListener:
    """Collects all events and responses of a node."""

    def __init__(self, settings: Settings) -> None:
        self.node = settings.node.name
        self.bus = Bus(settings.mqtt, self.node, "control")
        self.events: list[Event] = []
        self.responses: list[InboundMessage] = []
        self.bus.subscribe_raw(topics.response(self.node, "+"), self.responses.append)
        self.bus.subscribe_all(lambda event, _: self.events.append(event))

    def events_of(self, event: type[Event]) -> list[Any]:
        return [each for each in list(self.events) if isinstance(each, event)]

    def archive_events(self, kind: str) -> list[ArchiveChanged]:
        return [event for event in self.events_of(ArchiveChanged) if event.event == kind]
