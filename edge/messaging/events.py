"""The facts that cross MQTT: one frozen struct each, with its topic, QoS and whether the broker retains it.

Topics stand below `imhearing/<node>/`. Every payload is one JSON object with `at` and `node`. What stands here about
each field, its unit and its example is also what `docs/asyncapi.yaml` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct, field

from edge.core.ids import ArchiveId, ChunkId, NodeName, SoundId, StreamId
from edge.core.instant import Instant
from edge.core.values import (
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
from edge.messaging import topics

Metric = Literal["records_count", "storage_usage", "oldest_age", "sound_level", "disk_free"]

_STREAM = "20261122T054408Z-k3f7"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def _about(description: str, example: Any, unit: str = "") -> Meta:
    return Meta(description=description, examples=[example], extra_json_schema={"x-unit": unit} if unit else None)


class Event(Struct, frozen=True, kw_only=True):
    """What every event carries, and how it travels."""

    TOPIC: ClassVar[str]  # below imhearing/<node>/
    QOS: ClassVar[int] = 1
    RETAINED: ClassVar[bool] = False
    EXPIRY: ClassVar[int | None] = None  # seconds after which nobody wants it any more

    at: Annotated[Instant, _about("When this was said", "2026-11-22T05:44:08.000000Z")]
    node: Annotated[NodeName, _about("The node's name", "porch")]

    @classmethod
    def topic_of(cls, node: str) -> str:
        """Where `node` publishes events of this type."""
        return topics.event(node, cls.TOPIC)

    @property
    def topic(self) -> str:
        return self.topic_of(self.node)


class ServiceStatus(Event, frozen=True, kw_only=True):
    """A service came or went. The broker itself says `offline` for one that vanished (last will)."""

    RETAINED: ClassVar[bool] = True

    state: Annotated[Literal["online", "offline"], _about("Whether it runs", "online")]
    instance: Annotated[
        str, _about("Random, kept on the node's disk: tells two nodes of one name apart", "5f0c2a9be1d34c77")
    ]
    version: Annotated[str, _about("Of Im Hearing", "0.1.0")]
    holds_name: Annotated[bool, _about("Said to another node of the same name: this one had it first", False)] = False


class RecorderStatus(ServiceStatus, frozen=True, kw_only=True):
    """The recorder came or went. The broker itself says `offline` for one that vanished (last will)."""

    TOPIC: ClassVar[str] = "recorder/status"


class ArchiverStatus(ServiceStatus, frozen=True, kw_only=True):
    """The archiver came or went. The broker itself says `offline` for one that vanished (last will)."""

    TOPIC: ClassVar[str] = "archiver/status"


class QueryStatus(ServiceStatus, frozen=True, kw_only=True):
    """The query service came or went. The broker itself says `offline` for one that vanished (last will)."""

    TOPIC: ClassVar[str] = "query/status"


class RecorderState(Event, frozen=True, kw_only=True):
    """What the recorder is doing since when; `until` when a pause has an end."""

    TOPIC: ClassVar[str] = "recorder/state"
    RETAINED: ClassVar[bool] = True

    state: Annotated[
        Literal["recording", "paused", "no_device", "disk_full", "stopped"], _about("What it is doing", "recording")
    ]
    since: Annotated[Instant, _about("Since when", "2026-11-22T05:44:08.000000Z")]
    until: Annotated[Instant | None, _about("When a pause ends by itself", None)] = None
    device: Annotated[str | None, _about("What it records from", "USB Audio")] = None
    reason: Annotated[str | None, _about("Why it does not record, in words for people", None)] = None
    input_fault: Annotated[
        Literal["silence", "clipping", "offset"] | None,
        _about("What is wrong with the sound that the microphone delivers; it is recorded as it is", None),
    ] = None
    hint: Annotated[str | None, _about("What to do about it, in words for people", None)] = None
    last_gap: Annotated[
        Hole | None,
        _about(
            "The last time at which sound is missing, pauses aside",
            {"cause": "restart", "from": "2026-11-22T05:43:58.120000Z", "to": "2026-11-22T05:44:08.000000Z"},
        ),
    ] = None


class LevelMeasured(Event, frozen=True, kw_only=True):
    """The level of the last second, after IEC 61672-1."""

    TOPIC: ClassVar[str] = "recorder/level"
    QOS: ClassVar[int] = 0
    EXPIRY: ClassVar[int | None] = 10

    laeq: Annotated[float, _about("A-weighted, energy mean of the second", -52.3, "dB")]
    lafmax: Annotated[float, _about("A-weighted, fast: the loudest of the second", -47.9, "dB")]
    lcpeak: Annotated[float, _about("C-weighted peak of the second", -36.0, "dB")]
    unit: Annotated[LevelUnit, _about("What the levels are relative to: full scale, or 20 µPa once calibrated", "dBFS")]
    calibrated: Annotated[bool, _about("Whether the levels are sound pressure", False)]
    lafmax_minute: Annotated[float | None, _about("The greatest `lafmax` of the last 60 s", -41.5, "dB")] = None
    clipped: Annotated[Count, _about("Samples of the second at full scale, of all channels", 0)] = 0


class ChunkCompleted(Event, frozen=True, kw_only=True):
    """A chunk is finished on disk: its manifest without `per_second`. Its path follows from `chunk_id`."""

    TOPIC: ClassVar[str] = "recorder/chunk"

    chunk_id: Annotated[ChunkId, _about("The chunk: its stream and its number in it", f"{_STREAM}-000001")]
    stream_id: Annotated[StreamId, _about("The uninterrupted run of samples that it belongs to", _STREAM)]
    seq: Annotated[Count, _about("Its number in the stream", 1)]
    first_frame: Annotated[Count, _about("Its first sample's place in the stream", 2_880_000, "frames")]
    frames: Annotated[Positive, _about("Its length, in samples per channel", 2_880_000, "frames")]
    rate: Annotated[Positive, _about("Nominal sample rate", 48_000, "Hz")]
    channels: Annotated[Positive, _about("Channels", 1)]
    format: Annotated[AudioFormat, _about("File format, lossless", "flac")]
    bytes: Annotated[Count, _about("Size of the file", 2_913_004, "B")]
    sha256: Annotated[Sha256, _about("Of the file, in hex", _SHA256)]
    crc32: Annotated[Count, _about("Of the file", 907_060_870)]
    started_at: Annotated[Instant, _about("Time of the first frame", "2026-11-22T05:45:08.000000Z")]
    ended_at: Annotated[Instant, _about("Time of the frame after the last", "2026-11-22T05:46:08.000000Z")]
    uncertain: Annotated[bool, _about("The clock could not be trusted; a correction may follow", False)]
    clock: Annotated[
        ClockStamp,
        _about(
            "Which boot's clock told the times, and the sample rate measured against it",
            {"boot_id": "8c2f7a52-7f3c-4f4e-9d0f-0a3f5a0d7c11", "measured_rate": 47_999.4},
        ),
    ]
    levels: Annotated[
        Levels | None,
        _about(
            "Levels of the whole chunk, in `unit`; `l10`, `l50`, `l90` are exceeded 10, 50, 90 % of the time",
            {
                "unit": "dBFS", "calibrated": False, "laeq": -51.8, "lafmax": -41.5, "lcpeak": -30.2,
                "l10": -48.9, "l50": -52.6, "l90": -55.0, "per_second": [],
            },
            "dB",
        ),
    ] = None  # fmt: skip
    sounds: Annotated[
        tuple[SoundSpan, ...],
        _about(
            "The loud sounds in it; `frames` is null for one that lasts on",
            [
                {
                    "sound_id": f"{_STREAM}-s3011200", "first_frame": 3_011_200, "frames": 129_600,
                    "lafmax": -31.2, "laeq": -35.4,
                }
            ],
        ),
    ] = ()  # fmt: skip
    before: Annotated[
        tuple[Hole, ...], _about("Of a stream's first chunk: every hole since the stream before", [])
    ] = ()
    encryption: Annotated[Encryption | None, _about("Who can read it, where it is encrypted", None)] = None
    recovered: Annotated[bool, _about("Repaired after a crash", False)] = False
    end_reason: Annotated[EndReason | None, _about("Why the stream ended here; null while it goes on", None)] = None


class SoundHeard(Event, frozen=True, kw_only=True):
    """A sound started, goes on, or ended; one `sound_id` through all three."""

    TOPIC: ClassVar[str] = "recorder/sound"
    EXPIRY: ClassVar[int | None] = 60

    event: Annotated[Literal["started", "updated", "ended"], _about("What became of it", "ended")]
    sound_id: Annotated[SoundId, _about("The sound: its stream and its first frame", f"{_STREAM}-s3011200")]
    lafmax: Annotated[float, _about("Its loudest so far: A-weighted, fast", -31.2, "dB")]
    laeq: Annotated[float, _about("Its energy mean so far: A-weighted", -35.4, "dB")]
    unit: Annotated[LevelUnit, _about("What the levels are relative to", "dBFS")]
    started_at: Annotated[Instant, _about("When it started", "2026-11-22T05:45:10.733333Z")]
    ended_at: Annotated[Instant | None, _about("When it ended; null while it lasts", "2026-11-22T05:45:13.433333Z")] = (
        None
    )


class SoundingChanged(Event, frozen=True, kw_only=True):
    """Whether it is loud now: from a sound's start until the hold time after it. The retained form of `sound`."""

    TOPIC: ClassVar[str] = "recorder/sounding"
    RETAINED: ClassVar[bool] = True

    sounding: Annotated[bool, _about("A sound lasts", True)]
    since: Annotated[Instant, _about("Since when", "2026-11-22T05:45:10.733333Z")]
    sound_id: Annotated[SoundId | None, _about("The sound that lasts, or the last one", f"{_STREAM}-s3011200")] = None


class ThresholdCrossed(Event, frozen=True, kw_only=True):
    """A limit was crossed: upwards (`exceeded`) or back (`cleared`); for `disk_free`, downwards and back."""

    TOPIC: ClassVar[str] = "recorder/threshold"

    event: Annotated[Literal["exceeded", "cleared"], _about("Which way", "exceeded")]
    metric: Annotated[Metric, _about("Which limit", "storage_usage")]
    limit: Annotated[float, _about("The limit, in `unit`", 500.0)]
    value: Annotated[float, _about("What was measured, in `unit`", 502.7)]
    unit: Annotated[str, _about("Of `limit` and `value`", "MB")]


class LimitsSet(Event, frozen=True, kw_only=True):
    """The thresholds now in force; 0 means that it is ignored."""

    TOPIC: ClassVar[str] = "recorder/limits"
    RETAINED: ClassVar[bool] = True

    records_count: Annotated[float, _about("Finished chunks that wait", 10.0, "chunks")]
    storage_usage: Annotated[float, _about("Room that they take", 500.0, "MB")]
    oldest_age: Annotated[float, _about("Age of the oldest of them", 3_600.0, "s")]
    sound_level: Annotated[float, _about("A-weighted fast level that makes a sound", -35.0, "dB")]
    disk_free: Annotated[float, _about("Room left on the spool's disk, from below", 1_000.0, "MB")]


class GapFound(Event, frozen=True, kw_only=True):
    """Sound is missing between two times, and why."""

    TOPIC: ClassVar[str] = "recorder/gap"

    started_at: Annotated[Instant, _about("First moment without sound", "2026-11-22T05:43:58.120000Z")]
    ended_at: Annotated[Instant, _about("First moment with sound again", "2026-11-22T05:44:08.000000Z")]
    cause: Annotated[HoleCause, _about("Why", "restart")]


class ClockCorrected(Event, frozen=True, kw_only=True):
    """A stream's times were corrected once the clock could be trusted."""

    TOPIC: ClassVar[str] = "recorder/clock"

    stream_id: Annotated[StreamId, _about("The stream", _STREAM)]
    knots: Annotated[
        tuple[tuple[int, Instant], ...],
        _about(
            "Pairs of frame and its true time, ascending",
            [[0, "2026-11-22T05:44:08.000000Z"], [2_880_000, "2026-11-22T05:45:08.000750Z"]],
        ),
    ]


class Progress(Struct, frozen=True):
    """Of the upload that runs now."""

    archive_id: Annotated[ArchiveId, _about("The archive", f"{_STREAM}-000000-1a2b3c4d")]
    bytes_done: Annotated[Count, _about("Sent and taken", 8_388_608, "B")]
    bytes_total: Annotated[Count, _about("Of the whole archive", 29_130_040, "B")]
    bytes_per_second: Annotated[float, _about("Speed", 1_204_811.0, "B/s")]


class ArchiverState(Event, frozen=True, kw_only=True):
    """What the archiver is doing, and what waits for it."""

    TOPIC: ClassVar[str] = "archiver/state"
    RETAINED: ClassVar[bool] = True

    state: Annotated[
        Literal["idle", "uploading", "blocked"],
        _about("What it is doing; `blocked`: only a person can mend what stops it", "idle"),
    ]
    backlog_chunks: Annotated[Count, _about("Finished chunks that are not in the store yet", 4, "chunks")]
    backlog_bytes: Annotated[Count, _about("Room that they take", 11_652_016, "B")]
    reason: Annotated[str | None, _about("Why it is blocked, in words for people", None)] = None
    disk_hours_left: Annotated[
        float | None, _about("Until the spool's disk is full if nothing more were uploaded", 312.5, "h")
    ] = None
    progress: Annotated[Progress | None, _about("Of the upload that runs now", None)] = None
    last_archive: Annotated[
        ArchiveId | None, _about("The archive that was uploaded last", f"{_STREAM}-000000-1a2b3c4d")
    ] = None
    last_archive_at: Annotated[
        Instant | None, _about("When it was verified in the store", "2026-11-22T05:55:09.410000Z")
    ] = None
    month_cost: Annotated[
        float | None,
        _about("Storage of this calendar month if all of it stays, in the currency of `price_per_gb`", 0.31),
    ] = None


class ArchiveChanged(Event, frozen=True, kw_only=True):
    """An archive was planned, uploaded and verified, or an attempt failed."""

    TOPIC: ClassVar[str] = "archiver/archive"

    event: Annotated[Literal["planned", "uploaded", "failed"], _about("What became of it", "uploaded")]
    archive_id: Annotated[ArchiveId, _about("The archive", f"{_STREAM}-000000-1a2b3c4d")]
    bucket: Annotated[str, _about("Where it is: the bucket", "my-garden-sounds")]
    key: Annotated[
        str, _about("and the key in it", f"imhearing/porch/2026/11/22/{_STREAM}-000000-1a2b3c4d.zip")
    ]  # fmt: skip
    bytes: Annotated[Count, _about("Size of the zip", 29_130_040, "B")]
    sha256: Annotated[str | None, _about("Of the zip, in hex; known when it was uploaded", _SHA256)]
    chunks: Annotated[Count, _about("Chunks in it", 10)]
    started_at: Annotated[Instant, _about("Time of its first frame", "2026-11-22T05:44:08.000000Z")]
    ended_at: Annotated[Instant, _about("Time of the frame after its last", "2026-11-22T05:54:08.000000Z")]
    sounds: Annotated[tuple[SoundId, ...], _about("The loud sounds in it", [f"{_STREAM}-s3011200"])] = ()
    reason: Annotated[str | None, _about("Why an attempt failed, in words for people", None)] = None


class LoudMinute(Struct, frozen=True):
    """One of a day's loudest minutes."""

    at: Annotated[Instant, _about("When it began", "2026-11-22T05:45:00.000000Z")]
    laeq: Annotated[float, _about("A-weighted, energy mean of the minute", -35.4, "dB")]
    unit: Annotated[LevelUnit, _about("What the level is relative to", "dBFS")]


class DailyReport(Event, frozen=True, kw_only=True):
    """One local day, midnight to midnight, of the node; said once it is over, and again when the service starts."""

    TOPIC: ClassVar[str] = "query/report"
    RETAINED: ClassVar[bool] = True

    started_at: Annotated[Instant, _about("The day's first moment", "2026-11-21T23:00:00.000000Z")]
    ended_at: Annotated[Instant, _about("The next day's first moment", "2026-11-22T23:00:00.000000Z")]
    recorded_hours: Annotated[float, _about("Sound that was recorded", 23.912, "h")]
    uploaded_hours: Annotated[float, _about("Of it, what is in the store by now", 23.745, "h")]
    uploaded_bytes: Annotated[Count, _about("Room that it takes there", 3_912_004_112, "B")]
    paused_hours: Annotated[float, _about("Asked for, or by the schedule", 0.0, "h")]
    gap_hours: Annotated[
        dict[HoleCause, float], _about("Sound that is missing, by cause", {"restart": 0.003, "device_lost": 0.085}, "h")
    ]
    gaps: Annotated[Count, _about("How many of them", 2)]
    longest_gap: Annotated[
        Hole | None,
        _about(
            "The longest of them",
            {"cause": "device_lost", "from": "2026-11-22T05:40:00.120000Z", "to": "2026-11-22T05:45:06.000000Z"},
        ),
    ] = None
    expired_hours: Annotated[float, _about("Recorded, and let go since", 0.0, "h")] = 0.0
    uncertain_hours: Annotated[float, _about("Recorded while the clock could not be trusted", 0.0, "h")] = 0.0
    loudest: Annotated[
        tuple[LoudMinute, ...],
        _about(
            "The loudest minutes, the loudest first",
            [{"at": "2026-11-22T05:45:00.000000Z", "laeq": -35.4, "unit": "dBFS"}],
        ),
    ] = ()
    month_cost: Annotated[
        float | None, _about("Storage of this calendar month so far, in the currency of `price_per_gb`", 0.31)
    ] = None


class Request(Struct, frozen=True, kw_only=True):
    """What every command on `request/<verb>` carries. `id`: at least 64 random bits, made by the sender."""

    VERB: ClassVar[str]

    id: str


class ErrorBody(Struct, frozen=True):
    """Why a command was not carried out."""

    code: Annotated[str, _about("One word for machines", "bad_request")]
    message: Annotated[str, _about("What is wrong and what to do, for people", "seconds: Expected `float` >= 1")]
    field: Annotated[str | None, _about("Which field is wrong, where one is", "seconds")] = None


class Response(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The answer to a command, on `response/<verb>` or on the topic that the request named."""

    id: Annotated[str, _about("The request's; empty where it could not be read", "4f2d9c1e7a3b5d60")]
    ok: Annotated[bool, _about("Whether it was done", True)]
    data: Annotated[dict[str, Any] | None, _about("What came of it", {"until": "2026-11-22T06:14:08.000000Z"})] = None
    error: Annotated[ErrorBody | None, _about("Why it was not done", None)] = field(default=None)


def _published(base: type[Event]) -> Iterator[type[Event]]:
    for event in base.__subclasses__():
        yield from (event,) if hasattr(event, "TOPIC") else _published(event)


EVENTS = tuple(_published(Event))  # every struct above that has a topic, in order
EVENT_BY_NAME = {event.TOPIC: event for event in EVENTS}
