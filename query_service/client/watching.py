"""Watches a node: its own events where the connection carries them, else what polling finds to be new."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol, cast, runtime_checkable

from edge.core import wire
from edge.core.errors import DoorError
from edge.core.instant import Instant
from edge.messaging.events import Event, GapFound, RecorderState, SoundHeard
from query_service.client.paging import NodeClient, coverage_pages, query_node, query_page
from query_service.queries.protocol import Request, new_id
from query_service.queries.sounds import Sound, SoundsAnswer
from query_service.queries.status import StatusAnswer
from query_service.queries.values import Gap

POLL_SECONDS = 2.0


class NodeEvent(NamedTuple):
    """One event as published over MQTT: its whole topic, and JSON."""

    topic: str
    payload: bytes


@runtime_checkable
class EventSource(Protocol):
    """A connection on which a node may publish its events."""

    async def events(self, timeout: float) -> AsyncIterator[NodeEvent] | None: ...


async def watch(client: NodeClient, *, timeout: float = 10.0, pause: float = POLL_SECONDS) -> AsyncIterator[NodeEvent]:
    """First the recorder's state, then what happens at the node, without end.

    Over Ably, where `[ably] events = yes`, those are the events that the node publishes: sounds, archives, states. Else
    it is polled every `pause` seconds: states at once, gaps and sounds once their chunk is finished. `timeout` in
    seconds, of each query. Raises DoorError, QueryRefused.
    """
    events = await client.events(timeout) if isinstance(client, EventSource) else None
    polled = _PolledEvents(await _status(client, timeout))
    for event in polled.state_of(polled.status):
        yield _as_published(event)
    if events is not None:
        async for published in events:
            yield published
        return
    while True:
        await asyncio.sleep(pause)
        for event in await polled.poll(client, timeout):
            yield _as_published(event)


def _as_published(event: Event) -> NodeEvent:
    return NodeEvent(event.topic, wire.encode(event))


async def _status(client: NodeClient, timeout: float) -> StatusAnswer:
    answer = await query_page(client, Request(id=new_id(), type="status"), timeout)
    if not isinstance(answer, StatusAnswer):
        raise DoorError(f"node {client.node} answered a question of type status with {answer.type}")
    return answer


class _PolledEvents:
    """What was reported already, and so what is new. `status`: the last one."""

    def __init__(self, status: StatusAnswer) -> None:
        self.status = status
        self._until = status.last_chunk.ended_at if status.last_chunk else status.at
        self._state: object = None
        self._lasting: dict[str, Instant] = {}  # sounds without an end yet, and when they began

    async def poll(self, client: NodeClient, timeout: float) -> list[Event]:
        """The events since the last time, in order: sounds and gaps come with the chunk that ends after them."""
        self.status = status = await _status(client, timeout)
        start, end = self._until, status.last_chunk.ended_at if status.last_chunk else self._until
        events: list[Event] = []
        if end > start:
            events += await self._gaps(client, start, end, timeout)
            events += await self._sounds(client, min([start, *self._lasting.values()]), end, timeout)
            self._until = end
        return events + self.state_of(status)

    def state_of(self, status: StatusAnswer) -> list[Event]:
        """The recorder's state, where it is another than before."""
        recorder = status.recorder
        kind = recorder.state if recorder.alive and recorder.state != "unknown" else "stopped"
        state = (kind, recorder.since, recorder.until, recorder.device)
        if state == self._state:
            return []
        self._state = state
        since = recorder.since or status.at
        reason = None if recorder.alive or recorder.state == "stopped" else "it gives no sign of life"
        return [
            RecorderState(
                at=status.at, node=status.node, state=kind, since=since, until=recorder.until, device=recorder.device,
                reason=reason,
            )
        ]  # fmt: skip

    async def _gaps(self, client: NodeClient, start: Instant, end: Instant, timeout: float) -> list[Event]:
        return [
            GapFound(at=part.to, node=page.node, started_at=part.from_, ended_at=part.to, cause=part.cause)
            async for page in coverage_pages(client, start, end, timeout)
            for part in page.intervals
            if isinstance(part, Gap)
        ]

    async def _sounds(self, client: NodeClient, start: Instant, end: Instant, timeout: float) -> list[Event]:
        request = Request(id=new_id(), type="sounds", from_=start, to=end, order="time", urls=False)
        answer = cast(SoundsAnswer, await query_node(client, request, timeout))
        return [self._sound(answer.node, sound) for sound in answer.sounds if self._is_news(sound)]

    def _is_news(self, sound: Sound) -> bool:
        """One that began earlier was reported unless it still lasted; one that still lasts waits."""
        if sound.sound_id in self._lasting:
            return sound.to is not None
        return sound.from_ >= self._until

    def _sound(self, node: str, sound: Sound) -> SoundHeard:
        if sound.to is None:
            self._lasting[sound.sound_id] = sound.from_
        else:
            self._lasting.pop(sound.sound_id, None)
        return SoundHeard(
            at=sound.to or sound.from_,
            node=node,
            event="started" if sound.to is None else "ended",
            sound_id=sound.sound_id,
            lafmax=sound.lafmax,
            laeq=sound.laeq,
            unit=sound.unit or "dBFS",
            started_at=sound.from_,
            ended_at=sound.to,
        )
