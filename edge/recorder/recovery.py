"""Makes a chunk of one `.part` that a crash or a failed disk left."""

from __future__ import annotations

import logging
from pathlib import Path

from edge.errors import SpoolError
from edge.instant import Instant
from edge.model import Chunk, SoundSpan, SpoolState, Stream
from edge.names import chunk_id as name_chunk
from edge.names import seq_of, stream_of
from edge.recorder.chunk_writer import ChunkWriter, digest, read_valid_prefix, sync_and_digest, with_digest
from edge.recorder.correction import believed_end
from edge.recorder.draft import draft
from edge.recorder.levels import LevelMeter
from edge.recorder.sealing import Seal, seal_of
from edge.recorder.sounds import ended_at
from edge.recorder.stream_recorder import meter_for
from edge.spool import PartFile, Spool

log = logging.getLogger(__name__)

_HEADER_BYTES = 65_536  # more than any header; a FLAC block comes on top


def recover(spool: Spool, part: PartFile, state: SpoolState) -> Chunk | None:
    """The chunk that `part` holds, finished under its own name; None when there is nothing in it, or it is not ours.

    OSError or SpoolError when the disk does not take it.
    """
    if part.chunk_id in spool.chunks():
        part.path.unlink()  # its repair was finished, and a crash came before this
        return None
    try:
        stream = spool.stream(stream_of(part.chunk_id))
        seal = None if part.is_in(spool) else seal_of(part.path)
    except SpoolError as problem:
        log.warning("%s; so %s is left as it is", problem, part.path.name)
        return None
    if stream.node != spool.node or stream.format != part.format:
        log.warning("%s: belongs to another node or stream; left as it is", part.path)
        return None
    if (chunk := _described(spool, part)) is None:
        return _rescue(spool, part, stream, state, seal)
    if seal is not None:
        return seal.finish(spool, part.path, chunk)  # another encryption, so another manifest
    spool.finish_described(part.path, chunk)
    return chunk


def readable_manifest(spool: Spool, chunk_id: str) -> Chunk | None:
    """The manifest of a chunk of ours; None and a warning when it is missing, damaged or another's."""
    try:
        return spool.manifest(chunk_id)
    except SpoolError as problem:
        log.warning("%s", problem)
        return None


def _described(spool: Spool, part: PartFile) -> Chunk | None:
    """The manifest that already stands for exactly these bytes: only the last rename was missing."""
    if not spool.manifest_path(part.chunk_id).exists():
        return None
    chunk = readable_manifest(spool, part.chunk_id)
    if chunk is None:
        return None
    told = chunk.encryption.plain_sha256 if chunk.encryption else chunk.sha256
    return chunk if digest(part.path).sha256 == told else None


def _rescue(spool: Spool, part: PartFile, stream: Stream, state: SpoolState, seal: Seal | None) -> Chunk | None:
    repaired = Path(f"{part.path}.repair")
    meter = meter_for(stream)
    frames = _rewrite(part, stream, repaired, meter)
    if not frames:
        _let_go(part, stream)
        return None
    seq = seq_of(part.chunk_id)
    first_frame = seq * stream.chunk_frames
    previous = readable_manifest(spool, name_chunk(stream.stream_id, seq - 1)) if seq else None
    start = _start_of(stream, first_frame, previous, state) - (stream.shift if stream.uncertain else 0)
    unsealed = draft(
        stream,
        seq,
        frames,
        (Instant(start), Instant(start + frames * 1_000_000 // stream.rate)),
        rate=float(stream.rate),
        levels=meter.take_chunk().levels,
        sounds=_sounds_cut_off(previous, first_frame + frames),
        end_reason=None if frames == stream.chunk_frames else "crash",
        recovered=True,
    )
    if seal is not None:
        chunk = seal.finish(spool, repaired, unsealed)
    else:
        chunk = with_digest(unsealed, sync_and_digest(repaired))
        spool.finish(repaired, chunk)
    part.path.unlink()
    log.info("recovered %s: %.1f s", chunk.chunk_id, frames / stream.rate)
    return chunk


def _rewrite(part: PartFile, stream: Stream, target: Path, meter: LevelMeter) -> int:
    """Encodes what can be read of `part` into `target`; gives its frames."""
    writer = ChunkWriter(target, stream.rate, stream.channels, stream.bits, stream.format)
    try:
        for samples in read_valid_prefix(part.path, stream.channels, stream.bits):
            piece = samples[: stream.chunk_frames - writer.frames]
            writer.write(piece)
            meter.add(piece)
    finally:
        writer.close()
    if not writer.frames:
        target.unlink()
    return writer.frames


def _let_go(part: PartFile, stream: Stream) -> None:
    """Nothing can be read: a file just begun goes; where more is lost, somebody may want to look at it."""
    if part.bytes <= _HEADER_BYTES + 4_096 * 4 * stream.channels:
        part.path.unlink()
        return
    aside = part.path.with_name(part.path.name + ".damaged")
    part.path.replace(aside)
    log.error("%s: no sound can be read from its %d bytes; set aside as %s", part.path, part.bytes, aside.name)


def _start_of(stream: Stream, first_frame: int, previous: Chunk | None, state: SpoolState) -> Instant:
    """When the chunk began, as now believed: from the nearest knot that is known."""
    frame, at = stream.knots[0]
    if previous is not None:
        frame, at = previous.end_frame, believed_end(previous, stream)
    elif state.stream_id == stream.stream_id and state.knot is not None:
        frame, at = state.knot
    return Instant(at + (first_frame - frame) * 1_000_000 // stream.rate)


def _sounds_cut_off(previous: Chunk | None, end_frame: int) -> tuple[SoundSpan, ...]:
    """The sound that lasted when the chunk before ended: with the stream it ended, at the latest."""
    spans = previous.sounds if previous is not None else ()
    return tuple(ended_at(span, end_frame) for span in spans if span.frames is None)
