"""Chunks as the recorder writes them: real FLAC in a real spool, matching manifests, seeded noise."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from pathlib import Path

import numpy as np
import soundfile

from edge.core.ids import chunk_id
from edge.core.instant import Instant
from edge.core.values import Chunk, ClockStamp, Hole, Levels, SoundSpan, SpoolState, Stream
from edge.spool.spool import Spool

BOOT = "6e1c2a9e-3c6f-4a54-9a52-0d6c3f1f8f11"
STREAM = "20260303T220000Z-abcd"
START = Instant.parse("2026-03-03T22:00:00Z")
RATE = 8_000
SECOND = 1_000_000  # in microseconds


def at(seconds: float) -> Instant:
    """So many seconds after START."""
    return Instant(START + round(seconds * SECOND))


def audio_bytes(seed: int, frames: int = RATE, audio_format: str = "flac") -> bytes:
    """A file of `frames` frames of noise, 16 bit, mono, 8 kHz."""
    samples = np.random.default_rng(seed).integers(-8000, 8000, frames, dtype=np.int16)
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=audio_format.upper(), subtype="PCM_16")
    return file.getvalue()


def make_chunk(
    seq: int,
    data: bytes | None = None,
    *,
    stream_id: str = STREAM,
    start: Instant = START,
    seconds: int = 1,
    uncertain: bool = False,
    before: tuple[Hole, ...] = (),
    sounds: tuple[SoundSpan, ...] = (),
    node: str = "porch",
) -> Chunk:
    """The manifest of chunk `seq` of a stream that started at `start`; `data` is its file's content."""
    data = audio_bytes(seq) if data is None else data
    frames = RATE * seconds
    at = Instant(start + seq * seconds * 1_000_000)
    return Chunk(
        chunk_id=chunk_id(stream_id, seq),
        node=node,
        stream_id=stream_id,
        seq=seq,
        first_frame=seq * frames,
        frames=frames,
        rate=RATE,
        channels=1,
        format="flac",
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        crc32=zlib.crc32(data),
        started_at=at,
        ended_at=Instant(at + seconds * 1_000_000),
        uncertain=uncertain,
        clock=ClockStamp(BOOT, 8000.25),
        levels=Levels("dBFS", False, -40.5, -30.25, -20.0, -35.0, -41.0, -45.5, (-40.5,) * seconds),
        sounds=sounds,
        before=before,
    )


def make_stream(stream_id: str = STREAM, **changes: object) -> Stream:
    values: dict[str, object] = {
        "stream_id": stream_id,
        "node": "porch",
        "ordinal": 1,
        "boot_id": BOOT,
        "device": "noise",
        "rate": RATE,
        "channels": 1,
        "bits": 16,
        "format": "flac",
        "chunk_frames": RATE,
        "uncertain": False,
        "utc_offset": 0,
        "knots": ((0, START),),
    }
    return Stream(**{**values, **changes})  # type: ignore[arg-type]


def put_chunk(spool: Spool, chunk: Chunk, data: bytes) -> None:
    """Adds `chunk` to the spool as the recorder does, at the time its sound ended."""
    part = spool.layout.part_path(chunk.chunk_id, chunk.format)
    part.write_bytes(data)
    set_mtime(part, chunk.ended_at)
    spool.chunks.finish(part, chunk)


def fill_spool(path: Path, count: int, *, first: int = 0, node: str = "porch", frames: int = RATE) -> dict[str, bytes]:
    """A spool with `count` chunks of a stream, as left by its recorder at START; returns their files by chunk id."""
    spool = Spool(path, node)
    spool.create()
    spool.streams.write(make_stream(node=node))
    spool.state.write(SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM))
    set_mtime(path / "state.json", START)
    files = {}
    for seq in range(first, first + count):
        data = audio_bytes(seq, frames)
        chunk = make_chunk(seq, data, node=node)
        put_chunk(spool, chunk, data)
        files[chunk.chunk_id] = data
    return files


def set_mtime(path: Path, at: Instant) -> None:
    """Sets the time at which `path` was last written."""
    os.utime(path, ns=(at * 1000, at * 1000))
