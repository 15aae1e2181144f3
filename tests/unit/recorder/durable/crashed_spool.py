"""A spool as left by a recorder that died while recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge.core.instant import Instant
from edge.core.values import AudioFormat, SpoolState
from edge.recorder.durable.chunk_writer import ChunkWriter
from edge.spool.spool import Spool
from tests.support.kernel_clock import ManualClock
from tests.support.spool.chunks import RATE, START, STREAM

KERNEL = ManualClock()


def leave_recording_state(spool: Spool, knot: tuple[int, Instant], boot_id: str = KERNEL.boot_id) -> None:
    """The state of a recorder that died while it recorded."""
    spool.state.write(
        SpoolState(state="recording", since=START, boot_id=boot_id, ordinal=1, stream_id=STREAM, knot=knot)
    )


def noise(frames: int) -> np.ndarray:
    return np.random.default_rng(1).integers(-9_000, 9_000, (frames, 1), dtype=np.int16)


def part_bytes(folder: Path, frames: int, audio_format: AudioFormat = "flac") -> bytes:
    """A part as it lies there while it is written."""
    path = folder / "writing"
    writer = ChunkWriter(path, RATE, 1, 16, audio_format)
    writer.write(noise(frames))
    data = path.read_bytes()
    writer.close()
    path.unlink()
    return data
