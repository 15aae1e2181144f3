"""What a node's messages add up to. Pure: events in, a picture out, for `watch`, `status` and the screen of `up`."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from commands.cli.logs import escaped
from commands.show.formats import clock, count
from edge.core.instant import Instant
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


class Happening(NamedTuple):
    """One line for people: when, and what."""

    at: Instant
    text: str


class NodeView:
    """The newest of each fact, counts since the view began, and the last happenings."""

    def __init__(self) -> None:
        self.services: dict[str, ServiceStatus] = {}
        self.recorder: RecorderState | None = None
        self.archiver: ArchiverState | None = None
        self.level: LevelMeasured | None = None
        self.last_chunk: ChunkCompleted | None = None
        self.last_archive: ArchiveChanged | None = None
        self.chunks = 0
        self.archives = 0
        self.happenings: deque[Happening] = deque(maxlen=20)

    def apply(self, event: Event) -> str | None:
        """Takes `event` in; gives it in words if it tells something new."""
        repeated = self._is_repeated(event)
        match event:
            case ServiceStatus():
                self.services[_ROLES[type(event)]] = event
            case RecorderState():
                self.recorder = event
            case ArchiverState():
                self.archiver = event
            case LevelMeasured():
                self.level = event
            case ChunkCompleted():
                self.chunks += 1
                self.last_chunk = event
            case ArchiveChanged(event="uploaded"):
                self.archives += 1
                self.last_archive = event
        text = None if repeated else describe(event)
        if text is not None:
            self.happenings.append(Happening(event.at, text))
        return text

    def _is_repeated(self, event: Event) -> bool:
        """Whether a state was only sent again, as after each connection."""
        match event:
            case ServiceStatus():
                known = self.services.get(_ROLES[type(event)])
                return known is not None and known.state == event.state
            case RecorderState():
                known_state = self.recorder
                return known_state is not None and describe(known_state) == describe(event)
        return False

    def online(self, role: str) -> bool:
        status = self.services.get(role)
        return status is not None and status.state == "online"


def describe(event: Event) -> str | None:  # noqa: PLR0911 -- a table of one line each
    """The event in one line, without its time; None for what comes every second or says nothing new."""
    match event:
        case ServiceStatus():
            return f"{_ROLES[type(event)]} {event.state}"
        case RecorderState():
            why = event.reason or event.hint
            return escaped(" ".join(filter(None, (describe_recorder(event), why and f"({why})"))))
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
            return f"nothing recorded for {(event.ended_at - event.started_at) / 1e6:.2f} s: {event.cause}"
        case ClockCorrected():
            return f"times of {event.stream_id} corrected"
        case ArchiveChanged():
            return _describe_archive(event)
        case LimitsSet() | ArchiverState() | LevelMeasured() | _:
            return None


def describe_recorder(state: RecorderState) -> str:
    """`recording from USB Audio`, `paused until 22:10:00` and the like."""
    words = {"no_device": "no microphone", "disk_full": "disk full"}.get(state.state, state.state)
    if state.state == "recording" and state.device:
        return f"recording from {escaped(state.device)}"
    return f"{words} until {clock(state.until)}" if state.until else words


def is_synthetic(state: RecorderState) -> bool:
    """Whether what is recorded is made up, because there is no microphone or it was asked for."""
    return state.device is not None and "synthetic" in state.device.lower()


def size(count: float) -> str:
    """Bytes as people read them: `1.2 MB`."""
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
