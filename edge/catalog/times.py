"""Pure: what a clock correction does to the times of chunks that were written before it."""

from __future__ import annotations

from msgspec.structs import replace

from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import Chunk, Stream


def retimed(chunk: Chunk, stream: Stream | None) -> Chunk:
    """`chunk`, as its manifest has it, with the times that its stream's record now gives.

    A manifest written while the clock could not be trusted says so, and has its times without its stream's `shift`,
    which the record has; the record also knows whether they are still uncertain.
    """
    if stream is None or not chunk.uncertain:
        return chunk
    return replace(
        chunk,
        started_at=bounded(chunk.started_at + stream.shift),
        ended_at=bounded(chunk.ended_at + stream.shift),
        uncertain=stream.uncertain,
    )


def bounded(moment: int) -> Instant:
    """The nearest valid time: sums of numbers from outside may be out of range."""
    return Instant(min(max(moment, FIRST), LAST))


def corrected(old: Stream, new: Stream) -> bool:
    """Whether `new` has other times than `old`; a stream that has merely ended does not."""
    return (old.uncertain, old.shift, old.knots[:1]) != (new.uncertain, new.shift, new.knots[:1])
