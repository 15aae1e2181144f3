"""The frozen values that pass between packages. Times are `Instant`s (µs, UTC), positions are frames (per channel).

Those that lie in files or cross the network carry exactly these names.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from edge.core.ids import ArchiveId, ChunkId, NodeName, SoundId, StreamId
from edge.core.instant import FIRST, LAST, Instant

# Whoever writes a message or a file may lie: every number has bounds, far from what a node records, so that sums and
# products of them stay within SQLite's 64 bits, and floating-point numbers finite.
_MOST = 2**50  # frames: 185 years at 192 kHz; bytes: a petabyte
_MOST_MICROSECONDS = LAST - FIRST
Count = Annotated[int, Meta(ge=0, le=_MOST)]
Positive = Annotated[int, Meta(ge=1, le=_MOST)]
Microseconds = Annotated[int, Meta(ge=-_MOST_MICROSECONDS, le=_MOST_MICROSECONDS)]
SampleRate = Annotated[int, Meta(ge=1, le=10_000_000)]  # frames per second
Channels = Annotated[int, Meta(ge=1, le=64)]
Decibels = Annotated[float, Meta(ge=-1_000, le=1_000)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
AudioFormat = Literal["flac", "wav"]
HoleCause = Literal[
    "overrun",  # the sound card or its driver dropped samples
    "device_lost",  # unplugged, or its sound server ended
    "disk_full",
    "disk_missing",  # the spool's disk was not mounted, or another one was
    "restart",  # the recorder was stopped and started again
    "crash",  # the recorder died while the machine ran on
    "power",  # the machine itself went down
    "no_audio",  # the device was there and delivered nothing
    "paused",  # intended: not a gap
    "unknown",
]
RecorderMode = Literal["recording", "paused", "no_device", "disk_full", "stopped"]
EndReason = Literal["device_lost", "overrun", "paused", "stopped", "rotated", "disk_full", "finished", "crash"]
LevelUnit = Literal["dBFS", "dBA"]
Metric = Literal["records_count", "storage_usage", "oldest_age", "sound_level", "disk_free"]  # what a limit is set on
GoneCause = Literal["quiet", "dropped", "lifecycle", "erased"]  # why a chunk is no longer anywhere
ArchiveGone = Literal[
    "replaced",  # rewritten, under another name
    "lifecycle",  # its retention period is over
    "unwanted",  # planned, and perhaps in the store, when the plan was taken back
]


class Hole(Struct, frozen=True):
    """A time without recorded sound, and why. `from` is inclusive, `to` exclusive."""

    cause: HoleCause
    from_: Instant = field(name="from")
    to: Instant


class OpenHole(Struct, frozen=True):
    """A hole that has not ended yet."""

    cause: HoleCause
    from_: Instant = field(name="from")


class ClockStamp(Struct, frozen=True):
    """Which boot's clock timed a chunk, and the sample rate measured against it, in frames per second."""

    boot_id: str
    measured_rate: Annotated[float, Meta(ge=-1e12, le=1e12)]


class Levels(Struct, frozen=True):
    """Sound levels of one chunk, after IEC 61672-1: dBA when calibrated, else dB re full scale (`dBFS`)."""

    unit: LevelUnit
    calibrated: bool
    laeq: Decibels
    lafmax: Decibels
    lcpeak: Decibels
    l10: Decibels
    l50: Decibels
    l90: Decibels
    per_second: tuple[Decibels, ...] = ()  # LAeq of each full second, in order


class SoundSpan(Struct, frozen=True):
    """The part of a sound that one stream holds. `frames` is null while it lasts."""

    sound_id: SoundId
    first_frame: Count
    frames: Count | None
    lafmax: Decibels
    laeq: Decibels


class EndedSound(Struct, frozen=True, kw_only=True):
    """`sounds.json`: a sound that ended in a chunk still being written, as `recorder/sound` announced it.

    `chunk_id`: where it begins. Once the chunk is finished, its manifest has the sound.
    """

    sound_id: SoundId
    chunk_id: ChunkId
    started_at: Instant
    ended_at: Instant
    lafmax: Decibels
    laeq: Decibels
    unit: LevelUnit


class Encryption(Struct, frozen=True):
    recipients: tuple[str, ...]  # age public keys
    plain_sha256: Sha256


class Chunk(Struct, frozen=True, kw_only=True):
    """The manifest of one finished chunk: `frames` frames of stream `stream_id` from `first_frame` on."""

    chunk_id: ChunkId
    node: NodeName
    stream_id: StreamId
    seq: Count
    first_frame: Count
    frames: Positive
    rate: SampleRate  # nominal
    channels: Channels
    format: AudioFormat
    bytes: Count  # of the file as it lies in the spool
    sha256: Sha256  # of that file
    crc32: Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]  # of that file
    started_at: Instant
    ended_at: Instant  # the start of the frame after the last
    uncertain: bool
    clock: ClockStamp
    levels: Levels | None = None
    sounds: tuple[SoundSpan, ...] = ()
    before: tuple[Hole, ...] = ()  # first chunk of a stream only: every hole since the stream before
    encryption: Encryption | None = None
    recovered: bool = False  # repaired after a crash
    end_reason: EndReason | None = None  # why the stream ended here; null while it goes on

    @property
    def end_frame(self) -> int:
        return self.first_frame + self.frames

    @property
    def member(self) -> str:
        """The file's name in spool and archive."""
        return f"{self.chunk_id}.{self.format}" + (".age" if self.encryption else "")


class Stream(Struct, frozen=True, kw_only=True):
    """One uninterrupted run of samples: its format and its mapping to time.

    `knots` are (frame, UTC) pairs, ascending: the opening, and, once the stream has ended, its end. Those between stand
    in the manifests: each chunk begins and ends on one. `shift` is what corrections of the clock have added to all of
    them since the stream was opened. Manifests that say `uncertain` tell their times without it; others need none.

    A hole whose `to` is not after its `from` counts as none: a clock without a battery restarted before the last end.
    """

    stream_id: StreamId
    node: NodeName
    ordinal: Count  # rises with each stream opened, independent of the clock
    boot_id: str
    device: str
    rate: SampleRate
    channels: Channels
    bits: Annotated[int, Meta(ge=1, le=64)]
    format: AudioFormat
    chunk_frames: Positive  # of each chunk but the last
    uncertain: bool
    utc_offset: Microseconds  # UTC minus the boot's monotonic clock, as now believed
    knots: tuple[tuple[Count, Instant], ...]
    shift: Microseconds = 0
    before: tuple[Hole, ...] = ()
    earlier: Count = 0  # how many of `before` begin by the clock of an earlier boot: no correction moves them
    calibration_db: Decibels | None = None  # what turns its dBFS into dBA; null: uncalibrated


class SpoolState(Struct, frozen=True, kw_only=True):
    """`state.json`: what the recorder must find again after a crash.

    `utc_offset` turns the boot's monotonic clock into the time used for all streams of this boot;
    `trusted` once the kernel has said that it is synchronised.
    """

    state: RecorderMode
    since: Instant
    boot_id: str
    ordinal: Count  # of the newest stream
    stream_id: StreamId | None = None  # the stream being recorded
    knot: tuple[Count, Instant] | None = None  # (frame, UTC): where its newest chunk begins
    holes: tuple[Hole, ...] = ()  # closed, and waiting for the next stream
    open_hole: OpenHole | None = None  # null while recording
    until: Instant | None = None  # when a pause ends by itself: what is missing later is not paused
    earlier: Count = 0  # how many of `holes`, and then `open_hole`, begin by the clock of an earlier boot
    utc_offset: Microseconds | None = None
    trusted: bool = False


class PauseOrder(Struct, frozen=True):
    """`pause.json`: while it is there and `until` has not passed, nothing is recorded.

    What stands beside `until` need not be there; it tells what clock it was ordered by.
    """

    until: Instant | None = None
    boot_id: str | None = None
    utc_offset: Microseconds | None = None  # UTC minus that boot's monotonic clock, when it was ordered
    uncertain: bool = False  # nothing kept that clock: `until` is worth no more than the time left to it


class PlannedMember(Struct, frozen=True):
    """One chunk's place in an archive. `offset` is of the member's data, from the archive's first byte."""

    chunk: Chunk
    member: str
    offset: Count
    length: Count


class DiscardedChunk(Struct, frozen=True):
    """A chunk whose sound is no longer kept; its manifest stays, and why it went."""

    chunk: Chunk
    cause: GoneCause


class Archive(Struct, frozen=True, kw_only=True):
    """One archive in the object store, planned or uploaded."""

    archive_id: ArchiveId
    node: NodeName
    bucket: str
    key: str
    bytes: Count
    sha256: str | None  # of the whole zip; known when it was uploaded
    chunks: Count
    started_at: Instant
    ended_at: Instant
    planned_at: Instant
    uploaded_at: Instant | None = None
    replaces: ArchiveId | None = None  # the archive that this one was rewritten from, without what was erased
    gone: ArchiveGone | None = None
    deleted_at: Instant | None = None  # once `gone`: when the store no longer had it


class Where(Struct, frozen=True):
    """The bytes of one chunk inside an archive."""

    archive: ArchiveId
    member: str
    offset: Count
    length: Count
    sha256: Sha256
