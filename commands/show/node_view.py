"""The state of a node as derived from its messages, for `watch`, `status` and the screen of `up`. Pure."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from commands.cli.logs import escaped
from commands.show.formats import count, when
from edge.core.instant import Instant
from edge.messaging.commands import NotRecording
from edge.messaging.events import (
    ArchiveChanged,
    ArchiverState,
    ArchiverStatus,
    ChunkCompleted,
    ClockCorrected,
    Event,
    GapFound,
    LevelMeasured,
    LimitsSet,
    QueryStatus,
    RecorderState,
    RecorderStatus,
    ServiceStatus,
    SoundHeard,
    ThresholdCrossed,
)

_ROLES: dict[type[Event], str] = {
    RecorderStatus: "recorder",
    ArchiverStatus: "archiver",
    QueryStatus: "query-service",
}


class EventLine(NamedTuple):
    """An event as one line of text."""

    at: Instant
    text: str


class NodeView:
    """The latest state and level, and the most recent events."""

    def __init__(self) -> None:
        self.services: dict[str, ServiceStatus] = {}
        self.recorder: RecorderState | None = None
        self.archiver: ArchiverState | None = None
        self.level: LevelMeasured | None = None
        self.recent_events: deque[EventLine] = deque(maxlen=20)

    def apply(self, event: Event) -> str | None:
        """Updates the view; returns a line of text if the event is news."""
        known: Event | None = None
        match event:
            case ServiceStatus():
                role = _ROLES[type(event)]
                known, self.services[role] = self.services.get(role), event
            case RecorderState():
                known, self.recorder = self.recorder, event
            case ArchiverState():
                self.archiver = event
            case LevelMeasured():
                self.level = event
        text = describe(event)
        if text is None or (known is not None and describe(known) == text):  # repeated, as after each connection
            return None
        self.recent_events.append(EventLine(event.at, text))
        return text

    def online(self, role: str) -> bool:
        status = self.services.get(role)
        return status is not None and status.state == "online"


def describe(event: Event, utc: bool = False) -> str | None:  # noqa: PLR0911 -- a table of one line each
    """The event in one line, without its time; None for frequent events and those of no interest."""
    match event:
        case ServiceStatus():
            return f"{_ROLES[type(event)]} {event.state}"
        case RecorderState():
            note = event.reason or event.hint
            return escaped(" ".join(filter(None, (describe_recorder(event, event.at, utc), note and f"({note})"))))
        case ChunkCompleted():
            laeq = f", {event.levels.laeq:.1f} {event.levels.unit}" if event.levels else ""
            recovered = ", recovered after a crash" if event.recovered else ""
            length = event.frames / event.rate
            return f"chunk finished: {length:.1f} s, {size(event.bytes)}{laeq}{recovered}  {event.chunk_id}"
        case SoundHeard(event="ended"):
            seconds = f", {(event.ended_at - event.started_at) / 1e6:.1f} s" if event.ended_at else ""
            return f"sound ended: up to {event.lafmax:.1f} {event.unit}{seconds}"
        case SoundHeard(event="started"):
            return f"sound started: {event.lafmax:.1f} {event.unit}"
        case ThresholdCrossed():
            unit = "chunk" if event.unit == "chunks" and event.value == 1 else event.unit
            return escaped(f"{event.metric} {event.event}: {_short(event.value)} {unit} (limit {_short(event.limit)})")
        case GapFound():
            return f"gap of {(event.ended_at - event.started_at) / 1e6:.2f} s: {event.cause}"
        case ClockCorrected():
            return f"timestamps of {event.stream_id} corrected"
        case ArchiveChanged():
            return _describe_archive(event)
        case LimitsSet() | ArchiverState() | LevelMeasured() | _:
            return None


def describe_recorder(state: RecorderState | NotRecording, now: Instant, utc: bool = False) -> str:
    """`recording from USB Audio`, `paused until 22:10:00` and the like; with the date if that is not today."""
    text = {"no_device": "no microphone", "disk_full": "disk full"}.get(state.state, state.state)
    if state.state == "recording" and isinstance(state, RecorderState) and state.device:
        return f"recording from {escaped(state.device)}"
    return f"{text} until {when(state.until, now, utc)}" if state.until else text


def is_synthetic(state: RecorderState) -> bool:
    """Whether the source is synthetic, because there is no microphone or by configuration."""
    return state.device is not None and "synthetic" in state.device.lower()


def size(count: float) -> str:
    """Bytes in readable form: `1.2 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _short(value: float) -> str:
    """`-34`, `502.7`."""
    return f"{value:.1f}".removesuffix(".0")


def _describe_archive(event: ArchiveChanged) -> str:
    verb = "uploaded and verified" if event.event == "uploaded" else event.event
    what = event.reason or f"{count(event.chunks, 'chunk')}, {size(event.bytes)}"
    return escaped(f"archive {verb}: {what}  {event.archive_id}")
