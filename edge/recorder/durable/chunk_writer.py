"""One chunk: its audio file, FLAC or WAV, its manifest, and what a crash left of one. Fsync is the disk thread's."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from msgspec.structs import replace

from edge.core.errors import EncoderError
from edge.core.ids import chunk_id
from edge.core.instant import Instant
from edge.core.values import AudioFormat, Chunk, ClockStamp, EndReason, Levels, SoundSpan, Stream
from edge.recorder.capture.blocks import Samples
from edge.recorder.timing.correction import real_holes
from edge.spool.spool import Spool

_READ_BYTES = 1 << 16
_FLAC_BLOCK = 4_096  # libFLAC's; reading in other sizes would lose a block more at a broken end


class ChunkWriter:
    """The `.part` file of one chunk. Raises OSError when the disk does not take it, EncoderError when the encoder
    does not."""

    def __init__(
        self, path: Path, rate: int, channels: int, bits: int, audio_format: AudioFormat, mode: int = 0o640
    ) -> None:
        self.path = path
        self.frames = 0
        # What libsndfile opens itself is fsynced whenever soundfile flushes or closes it, here and now
        self._sink = Sink(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "r+b")
        try:
            self._file = soundfile.SoundFile(
                self._sink, "w", rate, channels, f"PCM_{bits}", format=audio_format.upper()
            )  # fmt: skip
        except soundfile.LibsndfileError as problem:
            self._sink.close()
            path.unlink(missing_ok=True)  # nothing is in it, and nothing ever will be
            raise self._why(problem, "begun") from None

    def write(self, samples: Samples) -> None:
        """Encodes samples, shape (frames, channels), int16 or int32: whole FLAC blocks are with the kernel then."""
        try:
            self._file.write(samples)
            self.frames += len(samples)
        except (soundfile.LibsndfileError, AssertionError) as problem:  # soundfile asserts that all was written
            raise self._why(problem, "written") from None

    def duplicate_descriptor(self) -> int:
        """The same open file under a descriptor of the caller's own, to fsync while we write."""
        return os.dup(self._sink.fileno())

    def close(self) -> None:
        """Ends the file, without an fsync: the kernel has all sound, and the header its length."""
        try:
            self._file.close()
        except soundfile.LibsndfileError as problem:
            raise self._why(problem, "ended") from None
        finally:
            self._sink.close()
        if self._sink.failure is not None:
            raise self._sink.failure

    def _why(self, problem: Exception, what: str) -> OSError | EncoderError:
        return self._sink.failure or EncoderError(f"{self.path}: cannot be {what} ({problem})")


class Sink(io.FileIO):
    """A file for a library that ignores or hides write errors: `failure` keeps the first one."""

    failure: OSError | None = None

    def write(self, data: bytes) -> int:  # type: ignore[override]  # soundfile hands bytes
        """All of `data`; 0 when the disk does not take it, now or ever before."""
        if self.failure is not None:
            return 0
        view, done = memoryview(data), 0
        try:
            while done < len(view):
                done += os.write(self.fileno(), view[done:])
        except OSError as problem:
            self.failure = problem
            return 0
        return done


class Digest(NamedTuple):
    """What a manifest says of the file's bytes."""

    bytes: int
    sha256: str
    crc32: int


def digest(path: Path) -> Digest:
    """Of the file as it is."""
    sha256, crc32, size = hashlib.sha256(), 0, 0
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            sha256.update(data)
            crc32 = zlib.crc32(data, crc32)
            size += len(data)
    return Digest(size, sha256.hexdigest(), crc32)


def draft(
    stream: Stream,
    seq: int,
    frames: int,
    times: tuple[Instant, Instant],
    *,
    rate: float,
    levels: Levels | None,
    sounds: tuple[SoundSpan, ...],
    end_reason: EndReason | None,
    recovered: bool = False,
) -> Chunk:
    """Chunk `seq` of `stream`, begun and ended at `times`; `rate` as measured.

    Lacks what only the finished file can say: `finish_chunk` adds it.
    """
    return Chunk(
        chunk_id=chunk_id(stream.stream_id, seq),
        node=stream.node,
        stream_id=stream.stream_id,
        seq=seq,
        first_frame=seq * stream.chunk_frames,
        frames=frames,
        rate=stream.rate,
        channels=stream.channels,
        format=stream.format,
        bytes=0,
        sha256="0" * 64,
        crc32=0,
        started_at=times[0],
        ended_at=times[1],
        uncertain=stream.uncertain,
        clock=ClockStamp(stream.boot_id, rate),
        levels=levels,
        sounds=sounds,
        before=real_holes(stream.before) if seq == 0 else (),
        recovered=recovered,
        end_reason=end_reason,
    )


def finish_chunk(spool: Spool, audio: Path, manifest: Chunk) -> Chunk:
    """Makes `audio`, which nobody writes any more, durable as the finished chunk. OSError: never try again on it."""
    with audio.open("rb") as file:
        os.fsync(file.fileno())
    found = digest(audio)
    chunk = replace(manifest, bytes=found.bytes, sha256=found.sha256, crc32=found.crc32)
    spool.chunks.finish(audio, chunk)
    return chunk


def read_valid_prefix(path: Path, channels: int, bits: int) -> Iterator[Samples]:
    """Blocks of samples from the start of a file that a crash cut short, up to where it no longer decodes.

    soundfile reports a broken end, but not how much it decoded before: so the file is read twice, into buffers
    filled with different values. What was decoded is the same in both.
    """
    try:
        with soundfile.SoundFile(path) as one, soundfile.SoundFile(path) as other:
            if one.channels != channels:
                return
            while True:
                first, first_whole = _read_into(one, bits, 0x55AA)
                second, _ = _read_into(other, bits, 0x2BCD)
                frames = min(len(first), len(second))
                same = (first[:frames] == second[:frames]).all(axis=1)
                valid = frames if same.all() else int(np.argmin(same))
                if valid:
                    yield first[:valid]
                if valid < frames or not first_whole or not valid:
                    return
    except (soundfile.LibsndfileError, OSError):
        return  # not even a header


def _read_into(file: soundfile.SoundFile, bits: int, fill: int) -> tuple[Samples, bool]:
    """One FLAC block's worth of frames, and whether they came without an error."""
    shape = (_FLAC_BLOCK, file.channels)
    buffer: Samples = np.full(shape, fill, np.int16) if bits == 16 else np.full(shape, fill, np.int32)
    try:
        return file.read(_FLAC_BLOCK, dtype=buffer.dtype.name, always_2d=True, out=buffer), True
    except soundfile.LibsndfileError:
        return buffer, False
