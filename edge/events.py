"""The facts that cross MQTT: one frozen struct each, with its topic, QoS and whether the broker retains it.

Topics stand below `imhearing/<node>/`. Every payload is one JSON object with `at` and `node`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from msgspec import Struct, field

from edge.instant import Instant
from edge.model import (
    AudioFormat,
    ClockStamp,
    Count,
    Encryption,
    EndReason,
    Hole,
    HoleCause,
    Levels,
    LevelUnit,
    Positive,
    Sha256,
    SoundSpan,
)
from edge.names import ArchiveId, ChunkId, NodeName, SoundId, StreamId

ROOT = "imhearing"
Metric = Literal["records_count", "storage_usage", "oldest_age", "sound_level", "disk_free"]


class Event(Struct, frozen=True, kw_only=True):
    """What every event carries, and how it travels."""

    TOPIC: ClassVar[str]  # below imhearing/<node>/
    QOS: ClassVar[int] = 1
    RETAINED: ClassVar[bool] = False
    EXPIRY: ClassVar[int | None] = None  # seconds after which nobody wants it any more

    at: Instant
    node: NodeName

    @property
    def topic(self) -> str:
        return f"{ROOT}/{self.node}/{self.TOPIC}"


class ServiceStatus(Event, frozen=True, kw_only=True):
    """A service came or went. The broker itself says `offline` for one that vanished (last will)."""

    RETAINED: ClassVar[bool] = True

    state: Literal["online", "offline"]
    instance: str  # random, kept on disk: tells two nodes of one name apart
    version: str


class RecorderStatus(ServiceStatus, frozen=True, kw_only=True):
    TOPIC: ClassVar[str] = "recorder/status"


class ArchiverStatus(ServiceStatus, frozen=True, kw_only=True):
    TOPIC: ClassVar[str] = "archiver/status"


class QueryStatus(ServiceStatus, frozen=True, kw_only=True):
    TOPIC: ClassVar[str] = "query/status"


class RecorderState(Event, frozen=True, kw_only=True):
    """What the recorder is doing since when; `until` when a pause has an end."""

    TOPIC: ClassVar[str] = "recorder/state"
    RETAINED: ClassVar[bool] = True

    state: Literal["recording", "paused", "no_device", "disk_full", "stopped"]
    since: Instant
    until: Instant | None = None
    device: str | None = None
    reason: str | None = None


class LevelMeasured(Event, frozen=True, kw_only=True):
    """The level of the last second."""

    TOPIC: ClassVar[str] = "recorder/level"
    QOS: ClassVar[int] = 0
    EXPIRY: ClassVar[int | None] = 10

    laeq: float
    lafmax: float
    lcpeak: float
    unit: LevelUnit
    calibrated: bool


class ChunkCompleted(Event, frozen=True, kw_only=True):
    """A chunk is finished on disk: its manifest without `per_second`. Its path follows from `chunk_id`."""

    TOPIC: ClassVar[str] = "recorder/chunk"

    chunk_id: ChunkId
    stream_id: StreamId
    seq: Count
    first_frame: Count
    frames: Positive
    rate: Positive
    channels: Positive
    format: AudioFormat
    bytes: Count
    sha256: Sha256
    crc32: Count
    started_at: Instant
    ended_at: Instant
    uncertain: bool
    clock: ClockStamp
    levels: Levels | None = None
    sounds: tuple[SoundSpan, ...] = ()
    before: tuple[Hole, ...] = ()
    encryption: Encryption | None = None
    recovered: bool = False
    end_reason: EndReason | None = None


class SoundHeard(Event, frozen=True, kw_only=True):
    """A sound started, goes on, or ended; one `sound_id` through all three."""

    TOPIC: ClassVar[str] = "recorder/sound"
    EXPIRY: ClassVar[int | None] = 60

    event: Literal["started", "updated", "ended"]
    sound_id: SoundId
    lafmax: float
    laeq: float
    unit: LevelUnit
    started_at: Instant
    ended_at: Instant | None = None


class ThresholdCrossed(Event, frozen=True, kw_only=True):
    """A limit was crossed: upwards (`exceeded`) or back (`cleared`); for `disk_free`, downwards and back."""

    TOPIC: ClassVar[str] = "recorder/threshold"

    event: Literal["exceeded", "cleared"]
    metric: Metric
    limit: float
    value: float
    unit: str


class LimitsSet(Event, frozen=True, kw_only=True):
    """The thresholds now in force; 0 means that it is ignored."""

    TOPIC: ClassVar[str] = "recorder/limits"
    RETAINED: ClassVar[bool] = True

    records_count: float
    storage_usage: float  # MB
    oldest_age: float  # seconds
    sound_level: float  # dB
    disk_free: float  # MB


class GapFound(Event, frozen=True, kw_only=True):
    """Sound is missing between two times, and why."""

    TOPIC: ClassVar[str] = "recorder/gap"

    started_at: Instant
    ended_at: Instant
    cause: HoleCause


class ClockCorrected(Event, frozen=True, kw_only=True):
    """A stream's times were corrected once the clock could be trusted."""

    TOPIC: ClassVar[str] = "recorder/clock"

    stream_id: StreamId
    knots: tuple[tuple[int, Instant], ...]


class Progress(Struct, frozen=True):
    """Of the upload that runs now."""

    archive_id: ArchiveId
    bytes_done: Count
    bytes_total: Count
    bytes_per_second: float


class ArchiverState(Event, frozen=True, kw_only=True):
    """What the archiver is doing, and what waits for it."""

    TOPIC: ClassVar[str] = "archiver/state"
    RETAINED: ClassVar[bool] = True

    state: Literal["idle", "uploading", "blocked"]
    backlog_chunks: Count
    backlog_bytes: Count
    reason: str | None = None
    disk_hours_left: float | None = None
    progress: Progress | None = None
    last_archive: ArchiveId | None = None


class ArchiveChanged(Event, frozen=True, kw_only=True):
    """An archive was planned, uploaded and verified, or an attempt failed."""

    TOPIC: ClassVar[str] = "archiver/archive"

    event: Literal["planned", "uploaded", "failed"]
    archive_id: ArchiveId
    bucket: str
    key: str
    bytes: Count
    sha256: str | None
    chunks: Count
    started_at: Instant
    ended_at: Instant
    sounds: tuple[SoundId, ...] = ()
    reason: str | None = None


class Request(Struct, frozen=True, kw_only=True):
    """What every command on `request/<verb>` carries. `id`: at least 64 random bits, made by the sender."""

    VERB: ClassVar[str]

    id: str


class ErrorBody(Struct, frozen=True):
    code: str
    message: str
    field: str | None = None


class Response(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The answer to a command, on `response/<verb>` or on the topic that the request named."""

    id: str
    ok: bool
    data: dict[str, Any] | None = None
    error: ErrorBody | None = field(default=None)


EVENTS: tuple[type[Event], ...] = (
    RecorderStatus,
    ArchiverStatus,
    QueryStatus,
    RecorderState,
    LevelMeasured,
    ChunkCompleted,
    SoundHeard,
    ThresholdCrossed,
    LimitsSet,
    GapFound,
    ClockCorrected,
    ArchiverState,
    ArchiveChanged,
)
