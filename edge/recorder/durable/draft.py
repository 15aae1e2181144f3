"""A chunk's manifest before its file is closed: without what only the finished file can say. Pure."""

from __future__ import annotations

from edge.core.ids import chunk_id
from edge.core.instant import Instant
from edge.core.values import Chunk, ClockStamp, EndReason, Levels, SoundSpan, Stream
from edge.recorder.timing.correction import real_holes


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
    """Chunk `seq` of `stream`, begun and ended at `times`; `rate` as measured. `with_digest` makes it whole."""
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
