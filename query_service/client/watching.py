"""Watches a node through a door: its events where the door tells them, else what is new, asked for again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol, cast, runtime_checkable

from edge.core import wire
from edge.core.errors import DoorError
from edge.core.instant import Instant
from edge.messaging.events import Event, GapFound, RecorderState, SoundHeard
from query_service.client.paging import Door, ask, ask_page, coverage_pages
from query_service.queries.protocol import Request, new_id
from query_service.queries.sounds import Sound, SoundsAnswer
from query_service.queries.status import StatusAnswer
from query_service.queries.values import Gap

ASKED_EVERY = 2.0  # seconds


class Heard(NamedTuple):
    """One event as it goes over MQTT: the whole topic, and JSON."""

    topic: str
    payload: bytes


@runtime_checkable
class TellsEvents(Protocol):
    """A door through which a node can tell events by itself."""

    async def events(self, timeout: float) -> AsyncIterator[Heard] | None: ...


async def watch(door: Door, *, timeout: float = 10.0, pause: float = ASKED_EVERY) -> AsyncIterator[Heard]:
    """First the recorder's state, then what happens at the node, without end.

    Through Ably that is what the node tells, where `[ably] events = yes`: sounds, archives, states. Else it is asked
    every `pause` seconds: states at once, gaps and sounds once their chunk is finished. `timeout` in seconds, of each
    question. Raises DoorError, QueryRefused.
    """
    told = await door.events(timeout) if isinstance(door, TellsEvents) else None
    news = _News(await _status(door, timeout))
    for event in news.state_of(news.status):
        yield _heard(event)
    if told is not None:
        async for heard in told:
            yield heard
        return
    while True:
        await asyncio.sleep(pause)
        for event in await news.ask(door, timeout):
            yield _heard(event)


def _heard(event: Event) -> Heard:
    return Heard(event.topic, wire.encode(event))


async def _status(door: Door, timeout: float) -> StatusAnswer:
    answer = await ask_page(door, Request(id=new_id(), type="status"), timeout)
    if not isinstance(answer, StatusAnswer):
        raise DoorError(f"node {door.node} answered a question of type status with {answer.type}")
    return answer


class _News:
    """What was told already, and so what is new. `status`: the last one."""

    def __init__(self, status: StatusAnswer) -> None:
        self.status = status
        self._until = status.last_chunk.ended_at if status.last_chunk else status.at
        self._state: object = None
        self._lasting: dict[str, Instant] = {}  # sounds without an end yet, and when they began

    async def ask(self, door: Door, timeout: float) -> list[Event]:
        """The events since the last time, in order: sounds and gaps come with the chunk that ends after them."""
        self.status = status = await _status(door, timeout)
        start, end = self._until, status.last_chunk.ended_at if status.last_chunk else self._until
        events: list[Event] = []
        if end > start:
            events += await self._gaps(door, start, end, timeout)
            events += await self._sounds(door, min([start, *self._lasting.values()]), end, timeout)
            self._until = end
        return events + self.state_of(status)

    def state_of(self, status: StatusAnswer) -> list[Event]:
        """The recorder's state, where it is another than before."""
        recorder = status.recorder
        kind = recorder.state if recorder.alive and recorder.state != "unknown" else "stopped"
        told = (kind, recorder.since, recorder.until, recorder.device)
        if told == self._state:
            return []
        self._state = told
        since = recorder.since or status.at
        reason = None if recorder.alive or recorder.state == "stopped" else "it gives no sign of life"
        return [
            RecorderState(
                at=status.at, node=status.node, state=kind, since=since, until=recorder.until, device=recorder.device,
                reason=reason,
            )
        ]  # fmt: skip

    async def _gaps(self, door: Door, start: Instant, end: Instant, timeout: float) -> list[Event]:
        asked = Request(id=new_id(), from_=start, to=end, urls=False)
        return [
            GapFound(at=part.to, node=page.node, started_at=part.from_, ended_at=part.to, cause=part.cause)
            async for page in coverage_pages(door, asked, timeout)
            for part in page.intervals
            if isinstance(part, Gap)
        ]

    async def _sounds(self, door: Door, start: Instant, end: Instant, timeout: float) -> list[Event]:
        asked = Request(id=new_id(), type="sounds", from_=start, to=end, order="time", urls=False)
        answer = cast(SoundsAnswer, await ask(door, asked, timeout))
        return [self._sound(answer.node, sound) for sound in answer.sounds if self._is_news(sound)]

    def _is_news(self, sound: Sound) -> bool:
        """One that began before was told unless it still lasted; one that lasts on is no news."""
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
