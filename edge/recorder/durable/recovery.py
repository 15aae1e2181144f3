"""Makes a chunk of one `.part` that a crash or a failed disk left."""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from edge.configuration.settings import Settings
from edge.core.errors import EncoderError, SpoolError
from edge.core.ids import chunk_id as name_chunk
from edge.core.ids import seq_of, stream_of
from edge.core.instant import Instant
from edge.core.values import Chunk, Levels, SoundSpan, SpoolState, Stream
from edge.recorder.capture.blocks import Samples, block_frames
from edge.recorder.durable.chunk_writer import ChunkWriter, digest, draft, finish_chunk, read_valid_prefix
from edge.recorder.durable.sealing import Seal, seal_of
from edge.recorder.signal.levels import meter_for
from edge.recorder.signal.sounds import SoundDetector
from edge.recorder.timing.correction import believed_end
from edge.spool import limits, thresholds
from edge.spool.chunks import PartFile
from edge.spool.spool import Spool

log = logging.getLogger(__name__)

T = TypeVar("T")

_HEADER_BYTES = 65_536  # more than any header; a FLAC block comes on top


def recover(spool: Spool, part: PartFile, state: SpoolState, settings: Settings) -> Chunk | None:
    """The chunk that `part` holds, finished under its own name; None when there is nothing in it, when it is not ours,
    or when it cannot be repaired and was set aside.

    Its levels and sounds are measured again, by the settings and the sound level that are active now. OSError or
    SpoolError when the disk does not take it.
    """
    try:
        return _recover(spool, part, state, settings)
    except EncoderError as problem:
        _set_aside(part, str(problem))
    except (OSError, SpoolError):
        raise
    except Exception as problem:  # the edge of one file: nothing in it may stop every start from now on
        log.exception("%s: its repair failed", part.path)
        _set_aside(part, f"its repair failed ({problem})")
    return None


def _recover(spool: Spool, part: PartFile, state: SpoolState, settings: Settings) -> Chunk | None:
    if part.chunk_id in spool.chunks.finished():
        part.path.unlink()  # its repair was finished, and a crash came before this
        return None
    try:
        stream = spool.streams.read(stream_of(part.chunk_id))
        seal = None if part.is_in(spool.path) else seal_of(part.path)
    except SpoolError as problem:
        log.warning("%s; so %s is left as it is", problem, part.path.name)
        return None
    if stream.format != part.format:
        log.warning("%s: belongs to another stream; left as it is", part.path)
        return None
    if (chunk := _described(spool, part)) is None:
        return _rescue(spool, part, stream, state, seal, settings)
    if seal is not None:
        return seal.finish(spool, part.path, chunk)  # another encryption, so another manifest
    spool.chunks.finish_described(part.path, chunk)
    return chunk


def readable(read: Callable[[str], T], name: str) -> T | None:
    """What `read` finds under `name`; None and a warning when that is missing, damaged or another's."""
    try:
        return read(name)
    except SpoolError as problem:
        log.warning("%s", problem)
        return None


def _described(spool: Spool, part: PartFile) -> Chunk | None:
    """The manifest that already stands for exactly these bytes: only the last rename was missing."""
    if not spool.layout.manifest_path(part.chunk_id).exists():
        return None
    chunk = readable(spool.chunks.manifest, part.chunk_id)
    if chunk is None:
        return None
    expected = chunk.encryption.plain_sha256 if chunk.encryption else chunk.sha256
    try:
        return chunk if digest(part.path).sha256 == expected else None
    except OSError as problem:
        log.warning("%s: cannot be read (%s)", part.path, problem.strerror)
        return None  # what can be read of it is found out next


class _Remeasuring:
    """Measures a part in blocks that begin where the recorder's did: so sounds keep the ids already reported."""

    def __init__(self, stream: Stream, first_frame: int, lasting: SoundSpan | None, level: float, by: Settings) -> None:
        self._meter = meter_for(stream)
        self._detector = SoundDetector(
            stream.stream_id, stream.rate, level, by.levels.hysteresis, by.levels.hold_seconds
        )  # fmt: skip
        if lasting is not None:
            self._detector.resume(lasting, first_frame)
        self._first_frame = self._frame = first_frame
        self._block = max(1, block_frames(by.recorder.block_ms, stream.rate))
        self._held: list[Samples] = []  # of the block that is not whole yet

    def add(self, samples: Samples) -> None:
        while len(samples):
            room = self._block - (self._frame % self._block)
            piece, samples = samples[:room], samples[room:]
            self._held.append(piece)
            self._frame += len(piece)
            if self._frame % self._block == 0:
                self._measure()

    def take(self, *, goes_on: bool) -> tuple[Levels, tuple[SoundSpan, ...]]:
        """The chunk's, once all was added. The sound that lasts is cut off there, unless its stream `goes_on`."""
        if self._held:
            self._measure()
        if not goes_on:
            self._detector.finish()
        return self._meter.take_chunk(), self._detector.take_chunk()

    def _measure(self) -> None:
        block: npt.NDArray[Any] = np.concatenate(self._held)
        self._held = []
        measured = self._meter.add(block)
        self._detector.add(replace(measured, first_frame=self._first_frame + measured.first_frame))


def _rescue(
    spool: Spool, part: PartFile, stream: Stream, state: SpoolState, seal: Seal | None, settings: Settings
) -> Chunk | None:
    repaired = Path(f"{part.path}.repair")
    seq = seq_of(part.chunk_id)
    first_frame = seq * stream.chunk_frames
    previous = readable(spool.chunks.manifest, name_chunk(stream.stream_id, seq - 1)) if seq else None
    level = limits.active(spool.path, thresholds.configured(settings.thresholds)).sound_level
    remeasuring = _Remeasuring(stream, first_frame, _lasting(previous), level, settings)
    frames = _rewrite(part, stream, repaired, remeasuring)
    if not frames:
        _let_go(part, stream)
        return None
    is_whole = frames == stream.chunk_frames
    levels, sounds = remeasuring.take(goes_on=is_whole and _is_begun(spool, name_chunk(stream.stream_id, seq + 1)))
    start = _start_of(stream, first_frame, previous, state) - (stream.shift if stream.uncertain else 0)
    unsealed = draft(
        stream,
        seq,
        frames,
        (Instant(start), Instant(start + frames * 1_000_000 // stream.rate)),
        rate=float(stream.rate),
        levels=levels,
        sounds=sounds,
        end_reason=None if is_whole else "crash",
        recovered=True,
    )
    finish = seal.finish if seal is not None else finish_chunk
    chunk = finish(spool, repaired, unsealed)
    part.path.unlink()
    log.info("recovered %s: %.1f s", chunk.chunk_id, frames / stream.rate)
    return chunk


def _rewrite(part: PartFile, stream: Stream, target: Path, remeasuring: _Remeasuring) -> int:
    """Encodes what can be read of `part` into `target`, which is not made where that is nothing; gives its frames."""
    writer: ChunkWriter | None = None
    frames, mode = 0, stat.S_IMODE(part.path.stat().st_mode)
    try:
        for samples in read_valid_prefix(part.path, stream.channels, stream.bits):
            piece = samples[: stream.chunk_frames - frames]
            writer = writer or ChunkWriter(target, stream.rate, stream.channels, stream.bits, stream.format, mode)
            writer.write(piece)
            frames = writer.frames
            remeasuring.add(piece)
    finally:
        if writer is not None:
            writer.close()
    return frames


def _let_go(part: PartFile, stream: Stream) -> None:
    """Nothing can be read: an empty beginning is deleted; a larger file is kept for inspection."""
    if part.bytes <= _HEADER_BYTES + 4_096 * 4 * stream.channels:
        part.path.unlink()
    else:
        _set_aside(part, f"no sound can be read from its {part.bytes} bytes")


def _set_aside(part: PartFile, reason: str) -> None:
    """Kept, and never in the way of a start again. Raises OSError."""
    Path(f"{part.path}.repair").unlink(missing_ok=True)
    aside = part.path.with_name(part.path.name + ".damaged")
    part.path.replace(aside)
    log.error("%s: %s; set aside as %s", part.path, reason, aside.name)


def _start_of(stream: Stream, first_frame: int, previous: Chunk | None, state: SpoolState) -> Instant:
    """When the chunk began, as now believed: from the nearest knot that is known."""
    frame, at = stream.knots[0]
    if previous is not None:
        frame, at = previous.end_frame, believed_end(previous, stream)
    elif state.stream_id == stream.stream_id and state.knot is not None:
        frame, at = state.knot
    return Instant(at + (first_frame - frame) * 1_000_000 // stream.rate)


def _lasting(previous: Chunk | None) -> SoundSpan | None:
    """The sound that lasted when the chunk before ended."""
    spans = previous.sounds if previous is not None else ()
    return next((span for span in spans if span.frames is None), None)


def _is_begun(spool: Spool, chunk_id: str) -> bool:
    return chunk_id in spool.chunks.finished() or any(part.chunk_id == chunk_id for part in spool.chunks.parts())
