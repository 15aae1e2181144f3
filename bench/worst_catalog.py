"""A catalog in which every way to make a question expensive is found somewhere; and what a complete answer has in it.

In order of time: `minutes`, most of the chunks, with the sounds, the first quarter of which are the quietest; `hours`,
with the level of each second; `seconds`, a day of chunks of a second; `crowd`, a minute that thousands of chunks claim;
`gaps`, without a chunk, in a pause of a year. All chunks are archived, ten to an archive.
"""

from __future__ import annotations

import contextlib
import io
import math
import random
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from msgspec.structs import replace

from edge.catalog import Catalog
from edge.catalog.values import _COMMON
from edge.core import wire
from edge.core.ids import chunk_id
from edge.core.instant import Instant
from edge.core.values import Levels
from edge.spool.spool import Spool
from tests.support.spool.chunks import make_chunk, make_stream, put_chunk

SECOND = 1_000_000
DAY = 86_400 * SECOND
START = Instant.parse("2007-01-01T00:00:00Z")
PER_STREAM = 1_000
PER_ARCHIVE = 10
CLIP_STREAM = 40_000
CLIP_SECONDS = 600
CLIP_RATE = 48_000
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"

Row = tuple[object, ...]


class Part(NamedTuple):
    """`chunks` of `seconds` each, from `start` on; all at once where they claim the same time."""

    start: Instant
    chunks: int
    seconds: int
    first_stream: int
    at_once: bool = False

    @property
    def end(self) -> Instant:
        return Instant(self.start + self.seconds * SECOND * (1 if self.at_once else self.chunks))


class Plan(NamedTuple):
    minutes: Part
    hours: Part
    seconds: Part
    crowd: Part
    gaps: int  # of a second, each second one, of alternating causes
    sounds: int
    has_nights: bool = (
        False  # else each chunk is as loud as any other, which is the worst for whoever looks for the loudest
    )

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.minutes, self.hours, self.seconds, self.crowd

    @property
    def gaps_start(self) -> Instant:
        return self.crowd.end

    @property
    def end(self) -> Instant:
        return Instant(self.gaps_start + self.gaps * SECOND)


def plan(chunks: int, sounds: int) -> Plan:
    hours, seconds, crowd = chunks // 200, min(86_400, chunks // 10), max(50, chunks // 500)
    minutes = Part(START, chunks - hours - seconds - crowd, 60, 0)
    hour_part = Part(minutes.end, hours, 3_600, 10_000)
    second_part = Part(hour_part.end, seconds, 1, 20_000)
    return Plan(
        minutes, hour_part, second_part, Part(second_part.end, crowd, 60, 30_000, at_once=True), chunks // 10, sounds
    )


def stream_name(number: int) -> str:
    return "20070101T000000Z-" + "".join(_LETTERS[number >> shift & 31] for shift in (15, 10, 5, 0))


def chunk_name(part: Part, number: int) -> str:
    return chunk_id(stream_name(part.first_stream + number // PER_STREAM), number % PER_STREAM)


def sound_times(wanted: Plan) -> Iterator[tuple[int, int, float]]:
    """Start, number of its chunk, and LAFmax of each sound."""
    chance = random.Random(11)
    start, length = wanted.minutes.start, wanted.minutes.end - wanted.minutes.start
    spacing = length // wanted.sounds
    for number in range(wanted.sounds):
        at = number * spacing
        quiet = at < length // 4
        yield start + at, at // (60 * SECOND), round(chance.uniform(-90, -70) if quiet else chance.uniform(-60, -20), 2)


def sound_name(number: int) -> str:
    return f"20070101T000000Z-aaaa-{number:012d}"


def make(path: Path, wanted: Plan) -> None:
    """Writes the catalog."""
    with contextlib.closing(Catalog(path)) as catalog:
        catalog.open()
    with contextlib.closing(sqlite3.connect(path)) as db:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -200000"):
            db.execute(f"PRAGMA {pragma}")
        indices = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql > ''").fetchall()
        for name, _ in indices:
            db.execute(f'DROP INDEX "{name}"')
        archive = 0
        for part in wanted.parts:
            places = ",".join("?" * 16)
            rows = _chunks(part, archive, wanted.has_nights)
            db.executemany(f"INSERT INTO chunks VALUES ({places})", rows)  # noqa: S608
            archive += -(-part.chunks // PER_ARCHIVE)
        db.executemany(
            "INSERT INTO archives (archive_id, node, bucket, key, length, sha256, chunks, started_at, ended_at,"
            " planned_at, uploaded_at) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (
                (
                    archive_name(number), "porch", "garden", f"imhearing/porch/{archive_name(number)}.zip", 5_002_000,
                    "0" * 64, PER_ARCHIVE, int(START), int(START), int(START), int(START),
                )
                for number in range(archive)
            ),
        )  # fmt: skip
        db.executemany(
            "INSERT INTO sounds VALUES (?,?,?,?,?,?,?)",
            (
                (
                    sound_name(number), "20070101T000000Z-aaaa", chunk_name(wanted.minutes, chunk), at, at + SECOND,
                    level, -50.0,
                )
                for number, (at, chunk, level) in enumerate(sound_times(wanted))
            ),
        )  # fmt: skip
        db.executemany(
            "INSERT INTO holes (stream_id, cause, started_at, ended_at, duration) VALUES (?,?,?,?,?)", _holes(wanted)
        )
        for _, sql in indices:
            db.execute(sql)
        db.commit()


def make_spool(path: Path, wanted: Plan) -> None:
    """Writes the longest sound that a clip may hold into a spool, after all that is in the catalog."""
    spool = Spool(path, "porch")
    spool.create()
    stream = stream_name(CLIP_STREAM)
    spool.streams.write(make_stream(stream, rate=CLIP_RATE, channels=2, bits=24, knots=((0, wanted.end),)))
    frames, noise = CLIP_RATE * 60, np.random.default_rng(3)
    for seq in range(CLIP_SECONDS // 60):
        file = io.BytesIO()
        samples = noise.integers(-(2**28), 2**28, (frames, 2), dtype=np.int32)
        soundfile.write(file, samples, CLIP_RATE, format="FLAC", subtype="PCM_24")
        data = file.getvalue()
        chunk = make_chunk(seq, data, stream_id=stream, start=wanted.end, seconds=60)
        put_chunk(spool, replace(chunk, rate=CLIP_RATE, channels=2, frames=frames, first_frame=seq * frames), data)


def archive_name(number: int) -> str:
    return f"20070101T000000Z-aaaa-000000-{number:08x}"


def _holes(wanted: Plan) -> Iterator[Row]:
    stream = stream_name(wanted.crowd.first_stream)
    yield stream, "paused", wanted.gaps_start - 365 * DAY, int(wanted.end), 365 * DAY + wanted.gaps * SECOND
    for number in range(wanted.gaps):
        at = wanted.gaps_start + number * SECOND
        yield stream, ("crash", "restart")[number % 2], at, at + SECOND, SECOND


def _levels(chance: random.Random, seconds: int, least: float, most: float) -> Levels:
    per_second = tuple(round(chance.uniform(least, most), 1) for _ in range(seconds))
    return Levels("dBFS", False, -40.5, -30.25, -20.0, -35.0, -41.0, -45.5, per_second)


def _of_a_garden(chance: random.Random, seconds: int) -> list[Levels]:
    """By the quarter-hours of a fortnight: quiet at night, and by day no two alike."""
    days = [40 - 15 * math.cos(2 * math.pi * quarter / 96) + chance.gauss(0, 4) for quarter in range(14 * 96)]
    return [_levels(chance, seconds, level - 80, level - 68) for level in days]


def _chunks(part: Part, first_archive: int, has_nights: bool) -> Iterator[Row]:
    chance = random.Random(5)
    model = make_chunk(0, b"", seconds=part.seconds)
    by_quarter = _of_a_garden(chance, part.seconds) if has_nights else [_levels(chance, part.seconds, -70, -20)]
    length, frames = part.seconds * SECOND, model.frames
    for number in range(part.chunks):
        stream, seq = stream_name(part.first_stream + number // PER_STREAM), number % PER_STREAM
        at = int(part.start) + (0 if part.at_once else number * length)
        chunk = replace(
            model, chunk_id=chunk_id(stream, seq), stream_id=stream, seq=seq, first_frame=seq * frames,
            bytes=500_000, started_at=Instant(at), ended_at=Instant(at + length),
            levels=by_quarter[at // (900 * SECOND) % len(by_quarter)],
        )  # fmt: skip
        packer = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, _COMMON)
        packed = b"\x01" + packer.compress(wire.encode(chunk)) + packer.flush()
        yield (
            chunk.chunk_id, stream, chunk.first_frame, frames, at, at + length, length, 0, 500_000, chunk.sha256,
            -30.25,
            packed, "stored", None, archive_name(first_archive + number // PER_ARCHIVE), number % PER_ARCHIVE * 500_100,
        )  # fmt: skip
