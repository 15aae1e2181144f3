"""The values that the catalog gives, and how manifests are packed into rows."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from msgspec import Struct

from edge.core import wire
from edge.core.errors import CatalogDamaged, WireError
from edge.core.instant import FIRST, Instant
from edge.core.values import Chunk, ClockStamp, GoneCause, Hole, Levels, LevelUnit, Where

T = TypeVar("T")


class CatalogChunk(Struct, frozen=True):
    """One chunk. `where` is set once its archive is uploaded and verified; `gone` says why it is no longer anywhere.

    `aside` is set for a chunk whose file was found missing or damaged before it could be archived, and says how.
    """

    chunk: Chunk
    where: Where | None = None
    gone: GoneCause | None = None
    aside: str | None = None


class _BriefLevels(Levels, frozen=True, rename={"per_second": "-"}):
    per_second: tuple[float, ...] = ()


# the row has the times, which are what takes long to decode
_NOT_IN_BRIEF = {"sounds": "-sounds", "started_at": "-started_at", "ended_at": "-ended_at"}


class BriefChunk(Chunk, frozen=True, kw_only=True, rename=_NOT_IN_BRIEF):
    """A chunk without its times, its sounds and the levels of each second: they are skipped when its manifest is
    decoded, and an hour has some 100 kB of them."""

    started_at: Instant = FIRST
    ended_at: Instant = FIRST
    levels: _BriefLevels | None = None


_LEAN = ("chunk_id", "stream_id", "seq", "frames", "rate", "format", "levels", "encryption")


class _LeanLevels(
    Levels,
    frozen=True,
    kw_only=True,
    rename=lambda name: name if name in ("unit", "lafmax", "per_second") else f"-{name}",
):
    unit: LevelUnit
    calibrated: bool = False
    laeq: float = 0.0
    lafmax: float
    lcpeak: float = 0.0
    l10: float = 0.0
    l50: float = 0.0
    l90: float = 0.0
    per_second: tuple[float, ...] = ()


class LeanChunk(Chunk, frozen=True, kw_only=True, rename=lambda name: name if name in _LEAN else f"-{name}"):
    """What decides whose time it is, and the levels that sums are made of; all else is empty."""

    node: str = ""
    first_frame: int = 0
    channels: int = 1
    bytes: int = 0
    sha256: str = ""
    crc32: int = 0
    started_at: Instant = FIRST
    ended_at: Instant = FIRST
    uncertain: bool = False
    clock: ClockStamp = ClockStamp("", 0.0)
    levels: _LeanLevels | None = None


class ChunkRun(NamedTuple):
    """Chunks in order of their start. They are all that there are in the range up to `until`; None: to its end."""

    chunks: Sequence[CatalogChunk]
    until: Instant | None = None


class ChunkClaim(NamedTuple):
    """What of a chunk decides whose time it is. `is_kept`: the store has it, or it has gone on purpose."""

    started_at: Instant
    chunk_id: str
    ended_at: Instant
    uncertain: bool
    ordinal: int
    is_kept: bool


class HoleRun(NamedTuple):
    """As `ChunkRun`, of gaps and pauses."""

    holes: Sequence[Hole]
    until: Instant | None = None


class CatalogSound(Struct, frozen=True):
    """One sound and the chunk in which it begins; `ended_at` is None while it lasts. Levels in that chunk's unit."""

    sound_id: str
    chunk_id: str
    started_at: Instant
    ended_at: Instant | None
    lafmax: float
    laeq: float


class SoundRange(NamedTuple):
    """Which sounds: those that began in [start, end), as loud as `min_level`, and in which order."""

    start: Instant
    end: Instant
    min_level: float | None = None
    loudest_first: bool = False


SoundKey = tuple[float, int, str]  # what sounds are sorted by, unique: see `sound_key`


def sound_key(sound: CatalogSound, *, loudest_first: bool) -> SoundKey:
    return (-sound.lafmax if loudest_first else 0.0, int(sound.started_at), sound.sound_id)


class SoundRun(NamedTuple):
    """Sounds in order of their keys. They are all that there are up to the key `until`; None: to the end."""

    sounds: Sequence[CatalogSound]
    until: SoundKey | None = None


class UploadBacklog(Struct, frozen=True):
    """The chunks that wait for an archive, or for their archive's upload; sizes in bytes, duration in µs."""

    chunks: int
    bytes: int
    duration: int
    oldest: Instant | None = None  # when the first of them ended
    loudest: float | None = None  # LAFmax of them all


class RemainingChunk(NamedTuple):
    """A chunk that is not erased, where that is left of it (waiting, planned, stored, aside, or gone: in the catalog
    alone), and its archive if it has one."""

    chunk_id: str
    state: str
    archive_id: str | None


class UploadedChunk(Struct, frozen=True):
    """What the store has of a chunk: enough to decide whether a local copy may go."""

    sha256: str
    uploaded_at: Instant


# What most manifests have in common. Rows are packed with it: it may never change (another one, another first byte).
_COMMON = (
    b'"laeq":-"lafmax":-"sound_id":"-s","first_frame":,"frames":null,"lafmax":"encryption":{"recipients":["age1'
    b'"],"plain_sha256":""before":[{"cause":"restart","from":"paused","crash","power","device_lost","overrun","to":"'
    b'"knots":[[0,"202T:.000000Z"],["anchors":[[0,"ordinal":,"boot_id":"","device":"default","opened_at":"'
    b'"channels":2,"format":"wav","bits":"recovered":true,"end_reason":"stopped""uncertain":true,'
    b"-59.-58.-57.-56.-55.-54.-53.-52.-51.-50.-49.-48.-47.-46.-45.-44.-43.-42.-41.-40.-39.-38.-37.-36.-35.-34.-33.-32."
    b'{"chunk_id":"202","node":"","stream_id":"202Z-","seq":,"first_frame":,"frames":2880000,"rate":48000,'
    b'"channels":1,"format":"flac","bytes":,"sha256":"","crc32":,"started_at":"202-","ended_at":"202-00Z",'
    b'"uncertain":false,"clock":{"boot_id":"--4","measured_rate":48000.},"levels":{"unit":"dBFS","calibrated":false,'
    b'"laeq":-,"lafmax":-,"lcpeak":-,"l10":-,"l50":-,"l90":-,"per_second":[-,-]},"sounds":[],"before":[],'
    b'"encryption":null,"recovered":false,"end_reason":null}'
)


def pack(value: Struct) -> bytes:
    """A manifest or stream record as a third to a quarter of its JSON."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, _COMMON)
    return b"\x01" + packer.compress(wire.encode(value)) + packer.flush()


def unpack(data: bytes, wanted: type[T]) -> T:
    """What `pack` was given. Raises CatalogDamaged."""
    return unpack_sized(data, wanted)[0]


def unpack_sized(data: bytes, wanted: type[T]) -> tuple[T, int]:
    """As `unpack`, and how many bytes were decoded for it."""
    unpacker = zlib.decompressobj(-15, _COMMON)
    try:
        text = unpacker.decompress(data[1:]) + unpacker.flush()
        return wire.decode(text, wanted), len(text)
    except (zlib.error, WireError) as problem:
        raise CatalogDamaged(f"the catalog is damaged: a row cannot be read ({problem})") from None
