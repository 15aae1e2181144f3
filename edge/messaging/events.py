"""The events that a node publishes over MQTT: one frozen struct each, with its topic, QoS and retention.

Topics are below `imhearing/<node>/`. Every payload is one JSON object with `at` and `node`. The descriptions, units and
examples of the fields also appear in `docs/asyncapi.yaml`; a test fails for an event missing from docs/mqtt.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

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
    Metric,
    Positive,
    Sha256,
    SoundSpan,
)
from edge.messaging import topics

_STREAM = "20261122T054408Z-k3f7"
BUSY_SECONDS = 1.0  # until a request that was refused as `busy` may be repeated
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def _about(description: str, example: Any, unit: str = "") -> Meta:
    return Meta(description=description, examples=[example], extra_json_schema={"x-unit": unit} if unit else None)


class Event(Struct, frozen=True, kw_only=True):
    """The fields of every event, and how it is delivered."""

    TOPIC: ClassVar[str]  # below imhearing/<node>/
    QOS: ClassVar[int] = 1
    RETAINED: ClassVar[bool] = False
    EXPIRY: ClassVar[int | None] = None  # seconds after which an undelivered event expires

    at: Annotated[Instant, _about("Time of publication", "2026-11-22T05:44:08.000000Z")]
    node: Annotated[NodeName, _about("The node's name", "porch")]

    @classmethod
    def topic_of(cls, node: str) -> str:
        """Where `node` publishes events of this type."""
        return topics.event(node, cls.TOPIC)

    @property
    def topic(self) -> str:
        return self.topic_of(self.node)


class ServiceStatus(Event, frozen=True, kw_only=True):
    """Online/offline status of a service. The broker publishes `offline` if it vanishes (last will)."""

    RETAINED: ClassVar[bool] = True

    state: Annotated[Literal["online", "offline"], _about("Whether it is running", "online")]
    instance: Annotated[
        str,
        _about(
            "Distinguishes nodes with the same name: a random half, kept on disk, and one derived from the board",
            "5f0c2a9be1d34c77-9d3e01ab",
        ),
    ]
    version: Annotated[str, _about("Version of Im Hearing", "0.1.0")]
    holds_name: Annotated[
        bool, _about("Tells another node with the same name that this one claimed it first", False)
    ] = False


class RecorderStatus(ServiceStatus, frozen=True, kw_only=True):
    """Online/offline status of the recorder. The broker publishes `offline` if it vanishes (last will)."""

    TOPIC: ClassVar[str] = "recorder/status"


class ArchiverStatus(ServiceStatus, frozen=True, kw_only=True):
    """Online/offline status of the archiver. The broker publishes `offline` if it vanishes (last will)."""

    TOPIC: ClassVar[str] = "archiver/status"


class QueryStatus(ServiceStatus, frozen=True, kw_only=True):
    """Online/offline status of the query service. The broker publishes `offline` if it vanishes (last will)."""

    TOPIC: ClassVar[str] = "query/status"


class RecorderState(Event, frozen=True, kw_only=True):
    """What the recorder is doing and since when; `until` if a pause will end on its own."""

    TOPIC: ClassVar[str] = "recorder/state"
    RETAINED: ClassVar[bool] = True

    state: Annotated[
        Literal["recording", "paused", "no_device", "disk_full", "stopped"], _about("What it is doing", "recording")
    ]
    since: Annotated[Instant, _about("Since when", "2026-11-22T05:44:08.000000Z")]
    until: Annotated[Instant | None, _about("When the pause will end on its own", None)] = None
    device: Annotated[str | None, _about("What it records from", "USB Audio")] = None
    reason: Annotated[str | None, _about("Why it is not recording", None)] = None
    input_fault: Annotated[
        Literal["silence", "clipping", "offset"] | None,
        _about("Problem with the microphone signal, which is recorded unchanged", None),
    ] = None
    hint: Annotated[str | None, _about("How to fix it", None)] = None
    last_gap: Annotated[
        Hole | None,
        _about(
            "The most recent gap in the recording; pauses are not gaps",
            {"cause": "restart", "from": "2026-11-22T05:43:58.120000Z", "to": "2026-11-22T05:44:08.000000Z"},
        ),
    ] = None


class LevelMeasured(Event, frozen=True, kw_only=True):
    """Sound level of the last second (IEC 61672-1)."""

    TOPIC: ClassVar[str] = "recorder/level"
    QOS: ClassVar[int] = 0
    EXPIRY: ClassVar[int | None] = 10

    laeq: Annotated[float, _about("A-weighted equivalent level of the second (LAeq)", -52.3, "dB")]
    lafmax: Annotated[float, _about("A-weighted fast maximum of the second (LAFmax)", -47.9, "dB")]
    lcpeak: Annotated[float, _about("C-weighted peak of the second (LCpeak)", -36.0, "dB")]
    unit: Annotated[LevelUnit, _about("Reference of the levels: full scale, or 20 µPa once calibrated", "dBFS")]
    calibrated: Annotated[bool, _about("Whether the levels are sound pressure levels", False)]
    lafmax_minute: Annotated[float | None, _about("Maximum of `lafmax` over the last 60 s", -41.5, "dB")] = None
    clipped: Annotated[Count, _about("Samples at full scale in this second, in all channels", 0)] = 0


class ChunkCompleted(Event, frozen=True, kw_only=True):
    """A chunk is complete on disk: its manifest without `per_second`. `chunk_id` determines its path."""

    TOPIC: ClassVar[str] = "recorder/chunk"

    chunk_id: Annotated[ChunkId, _about("Chunk ID: its stream and its sequence number", f"{_STREAM}-000001")]
    stream_id: Annotated[StreamId, _about("Its stream, an uninterrupted run of samples", _STREAM)]
    seq: Annotated[Count, _about("Sequence number in the stream", 1)]
    first_frame: Annotated[Count, _about("Position of its first frame in the stream", 2_880_000, "frames")]
    frames: Annotated[Positive, _about("Length in samples per channel", 2_880_000, "frames")]
    rate: Annotated[Positive, _about("Nominal sample rate", 48_000, "Hz")]
    channels: Annotated[Positive, _about("Number of channels", 1)]
    format: Annotated[AudioFormat, _about("File format (both are lossless)", "flac")]
    bytes: Annotated[Count, _about("Size of the file", 2_913_004, "B")]
    sha256: Annotated[Sha256, _about("SHA-256 of the file, in hex", _SHA256)]
    crc32: Annotated[Count, _about("CRC-32 of the file", 907_060_870)]
    started_at: Annotated[Instant, _about("Time of the first frame", "2026-11-22T05:45:08.000000Z")]
    ended_at: Annotated[Instant, _about("Time of the first frame after it", "2026-11-22T05:46:08.000000Z")]
    uncertain: Annotated[bool, _about("The clock was not synchronised; a correction may follow", False)]
    clock: Annotated[
        ClockStamp,
        _about(
            "The boot whose clock timed it, and the sample rate measured against that clock",
            {"boot_id": "8c2f7a52-7f3c-4f4e-9d0f-0a3f5a0d7c11", "measured_rate": 47_999.4},
        ),
    ]
    levels: Annotated[
        Levels | None,
        _about(
            "Levels of the whole chunk, in `unit`; `l10`, `l50` and `l90` are exceeded 10, 50 and 90 % of the time",
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
            "Sounds above the threshold in it; `frames` is null for one that continues in the next chunk",
            [
                {
                    "sound_id": f"{_STREAM}-s3011200", "first_frame": 3_011_200, "frames": 129_600,
                    "lafmax": -31.2, "laeq": -35.4,
                }
            ],
        ),
    ] = ()  # fmt: skip
    before: Annotated[
        tuple[Hole, ...], _about("In a stream's first chunk: every gap and pause since the previous stream", [])
    ] = ()
    encryption: Annotated[Encryption | None, _about("Who can decrypt it; null if it is not encrypted", None)] = None
    recovered: Annotated[bool, _about("Repaired after a crash", False)] = False
    end_reason: Annotated[EndReason | None, _about("Why the stream ended here; null while it continues", None)] = None


class SoundHeard(Event, frozen=True, kw_only=True):
    """A sound started, is continuing, or ended; all three have the same `sound_id`."""

    TOPIC: ClassVar[str] = "recorder/sound"
    EXPIRY: ClassVar[int | None] = 60

    event: Annotated[Literal["started", "updated", "ended"], _about("What happened", "ended")]
    sound_id: Annotated[SoundId, _about("Sound ID: its stream and its first frame", f"{_STREAM}-s3011200")]
    lafmax: Annotated[float, _about("Its A-weighted fast maximum so far", -31.2, "dB")]
    laeq: Annotated[float, _about("Its A-weighted equivalent level so far", -35.4, "dB")]
    unit: Annotated[LevelUnit, _about("Reference of the levels", "dBFS")]
    started_at: Annotated[Instant, _about("When it started", "2026-11-22T05:45:10.733333Z")]
    ended_at: Annotated[Instant | None, _about("When it ended; null until then", "2026-11-22T05:45:13.433333Z")] = None


class SoundingChanged(Event, frozen=True, kw_only=True):
    """Whether a sound is in progress, hold time included. The retained form of `sound`."""

    TOPIC: ClassVar[str] = "recorder/sounding"
    RETAINED: ClassVar[bool] = True

    sounding: Annotated[bool, _about("A sound is in progress", True)]
    since: Annotated[Instant, _about("Since when", "2026-11-22T05:45:10.733333Z")]
    sound_id: Annotated[SoundId | None, _about("The sound in progress, or the last one", f"{_STREAM}-s3011200")] = None


class ThresholdCrossed(Event, frozen=True, kw_only=True):
    """A threshold was crossed: `exceeded` upwards (`disk_free`: downwards), `cleared` in the other direction."""

    TOPIC: ClassVar[str] = "recorder/threshold"

    event: Annotated[Literal["exceeded", "cleared"], _about("Which way it was crossed", "exceeded")]
    metric: Annotated[Metric, _about("Which threshold", "storage_usage")]
    limit: Annotated[float, _about("The threshold, in `unit`", 500.0)]
    value: Annotated[float, _about("The measured value, in `unit`", 502.7)]
    unit: Annotated[str, _about("Unit of `limit` and `value`", "MB")]


class LimitsSet(Event, frozen=True, kw_only=True):
    """The active thresholds; 0 turns one off."""

    TOPIC: ClassVar[str] = "recorder/limits"
    RETAINED: ClassVar[bool] = True

    records_count: Annotated[float, _about("Finished chunks waiting for upload", 10.0, "chunks")]
    storage_usage: Annotated[float, _about("Their total size", 500.0, "MB")]
    oldest_age: Annotated[float, _about("Age of the oldest of them", 3_600.0, "s")]
    sound_level: Annotated[float, _about("A-weighted fast level at which a sound starts", -35.0, "dB")]
    disk_free: Annotated[float, _about("Minimum free space on the spool's disk", 1_000.0, "MB")]


class GapFound(Event, frozen=True, kw_only=True):
    """A gap in the recording, and its cause."""

    TOPIC: ClassVar[str] = "recorder/gap"

    started_at: Annotated[Instant, _about("Start of the gap", "2026-11-22T05:43:58.120000Z")]
    ended_at: Annotated[Instant, _about("End of the gap", "2026-11-22T05:44:08.000000Z")]
    cause: Annotated[HoleCause, _about("Cause of the gap", "restart")]


class ClockCorrected(Event, frozen=True, kw_only=True):
    """A stream's times were corrected once the clock was synchronised."""

    TOPIC: ClassVar[str] = "recorder/clock"

    stream_id: Annotated[StreamId, _about("The stream", _STREAM)]
    knots: Annotated[
        tuple[tuple[int, Instant], ...],
        _about(
            "Pairs of a frame number and its true time, in ascending order",
            [[0, "2026-11-22T05:44:08.000000Z"], [2_880_000, "2026-11-22T05:45:08.000750Z"]],
        ),
    ]


class Progress(Struct, frozen=True):
    """Progress of the current upload."""

    archive_id: Annotated[ArchiveId, _about("The archive", f"{_STREAM}-000000-1a2b3c4d")]
    bytes_done: Annotated[Count, _about("Bytes sent and acknowledged", 8_388_608, "B")]
    bytes_total: Annotated[Count, _about("Size of the archive", 29_130_040, "B")]
    bytes_per_second: Annotated[float, _about("Throughput", 1_204_811.0, "B/s")]


class ArchiverState(Event, frozen=True, kw_only=True):
    """What the archiver is doing, and its backlog."""

    TOPIC: ClassVar[str] = "archiver/state"
    RETAINED: ClassVar[bool] = True

    state: Annotated[
        Literal["idle", "uploading", "blocked"],
        _about("What it is doing; `blocked`: someone has to fix something", "idle"),
    ]
    backlog_chunks: Annotated[Count, _about("Finished chunks not yet in the store", 4, "chunks")]
    backlog_bytes: Annotated[Count, _about("Their total size", 11_652_016, "B")]
    reason: Annotated[str | None, _about("Why nothing can be uploaded now", None)] = None
    disk_hours_left: Annotated[
        float | None, _about("Time until the disk is full if nothing more is uploaded", 312.5, "h")
    ] = None
    progress: Annotated[Progress | None, _about("Progress of the current upload", None)] = None
    last_archive: Annotated[
        ArchiveId | None, _about("The most recently uploaded archive", f"{_STREAM}-000000-1a2b3c4d")
    ] = None
    last_archive_at: Annotated[Instant | None, _about("When it was verified", "2026-11-22T05:55:09.410000Z")] = None
    month_cost: Annotated[
        float | None,
        _about("Cost of this calendar month's storage if nothing is deleted, in the currency of `price_per_gb`", 0.31),
    ] = None
    expiry: Annotated[str | None, _about("Why archives older than `keep_remote` are still kept", None)] = None


class ArchiveChanged(Event, frozen=True, kw_only=True):
    """An archive was planned, uploaded and verified, or an attempt failed."""

    TOPIC: ClassVar[str] = "archiver/archive"

    event: Annotated[Literal["planned", "uploaded", "failed"], _about("What happened", "uploaded")]
    archive_id: Annotated[ArchiveId, _about("The archive", f"{_STREAM}-000000-1a2b3c4d")]
    bucket: Annotated[str, _about("Its bucket", "my-garden-sounds")]
    key: Annotated[str, _about("Its key in the bucket", f"imhearing/porch/2026/11/22/{_STREAM}-000000-1a2b3c4d.zip")]
    bytes: Annotated[Count, _about("Size of the zip", 29_130_040, "B")]
    sha256: Annotated[str | None, _about("SHA-256 of the zip, in hex; null until it is uploaded", _SHA256)]
    chunks: Annotated[Count, _about("Number of chunks in it", 10)]
    started_at: Annotated[Instant, _about("Time of its first frame", "2026-11-22T05:44:08.000000Z")]
    ended_at: Annotated[Instant, _about("Time of the first frame after it", "2026-11-22T05:54:08.000000Z")]
    sounds: Annotated[tuple[SoundId, ...], _about("Sounds above the threshold in it", [f"{_STREAM}-s3011200"])] = ()
    reason: Annotated[str | None, _about("Why the attempt failed", None)] = None


class LoudMinute(Struct, frozen=True):
    """One of a day's loudest minutes."""

    at: Annotated[Instant, _about("When it began", "2026-11-22T05:45:00.000000Z")]
    laeq: Annotated[float, _about("A-weighted equivalent level of the minute", -35.4, "dB")]
    unit: Annotated[LevelUnit, _about("Reference of the level", "dBFS")]


class DailyReport(Event, frozen=True, kw_only=True):
    """Report on one local day of the node; published after midnight, and again when the service starts."""

    TOPIC: ClassVar[str] = "query/report"
    RETAINED: ClassVar[bool] = True

    started_at: Annotated[Instant, _about("Start of the day", "2026-11-21T23:00:00.000000Z")]
    ended_at: Annotated[Instant, _about("End of the day", "2026-11-22T23:00:00.000000Z")]
    recorded_hours: Annotated[float, _about("Sound recorded", 23.912, "h")]
    uploaded_hours: Annotated[float, _about("Recorded sound in the store", 23.745, "h")]
    uploaded_bytes: Annotated[Count, _about("Its size in the store", 3_912_004_112, "B")]
    paused_hours: Annotated[float, _about("Time paused, by command or schedule", 0.0, "h")]
    gap_hours: Annotated[
        dict[HoleCause, float], _about("Missing sound, by cause", {"restart": 0.003, "device_lost": 0.085}, "h")
    ]
    gaps: Annotated[Count, _about("Number of gaps", 2)]
    longest_gap: Annotated[
        Hole | None,
        _about(
            "The longest gap",
            {"cause": "device_lost", "from": "2026-11-22T05:40:00.120000Z", "to": "2026-11-22T05:45:06.000000Z"},
        ),
    ] = None
    expired_hours: Annotated[float, _about("Recorded sound that has expired since", 0.0, "h")] = 0.0
    uncertain_hours: Annotated[float, _about("Sound recorded while the clock was not synchronised", 0.0, "h")] = 0.0
    loudest: Annotated[
        tuple[LoudMinute, ...],
        _about(
            "The loudest minutes, loudest first",
            [{"at": "2026-11-22T05:45:00.000000Z", "laeq": -35.4, "unit": "dBFS"}],
        ),
    ] = ()
    month_cost: Annotated[
        float | None, _about("Cost of this calendar month's storage so far, in the currency of `price_per_gb`", 0.31)
    ] = None


class ErrorBody(Struct, frozen=True):
    """Why a request failed."""

    code: Annotated[str, _about("Error code for programs", "bad_request")]
    message: Annotated[str, _about("What is wrong and how to fix it", "seconds: Expected `float` >= 1")]
    field: Annotated[str | None, _about("The field at fault, if any", "seconds")] = None
    retry_after: Annotated[float, _about("With `busy`: when to repeat the request", 1.0, "s")] | UnsetType = UNSET


class Response(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The answer to a command or query, on `response/<verb>` or on the request's response topic."""

    id: Annotated[str, _about("The request's `id`; empty if it could not be read", "4f2d9c1e7a3b5d60")]
    ok: Annotated[bool, _about("Whether the request succeeded", True)]
    data: Annotated[dict[str, Any] | None, _about("The result", {"until": "2026-11-22T06:14:08.000000Z"})] = None
    error: Annotated[ErrorBody | None, _about("Why it failed", None)] = field(default=None)


def _published(base: type[Event]) -> Iterator[type[Event]]:
    for event in base.__subclasses__():
        yield from (event,) if hasattr(event, "TOPIC") else _published(event)


EVENTS = tuple(_published(Event))  # every struct above that has a topic, in order
EVENT_BY_NAME = {event.TOPIC: event for event in EVENTS}
