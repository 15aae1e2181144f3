"""Corrects recorded times by a revised belief about the clock: whole streams and holes move. Pure, except for
`correct_streams`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from edge.core.errors import SpoolError
from edge.core.instant import LAST, MICROSECONDS, Instant
from edge.core.values import Chunk, Hole, OpenHole, SpoolState, Stream
from edge.recorder.timing.clock import Belief
from edge.spool.spool import Spool

log = logging.getLogger(__name__)

_AHEAD = 3_600 * MICROSECONDS  # a recorded time may be ahead of the clock by so much


def corrected_stream(stream: Stream, belief: Belief) -> Stream:
    """An uncertain stream of this boot with its times corrected by `belief`. Correcting twice changes nothing more."""
    shift = belief.offset - stream.utc_offset
    return replace(
        stream,
        uncertain=not belief.trusted,
        utc_offset=belief.offset,
        shift=stream.shift + shift,
        knots=tuple((frame, Instant(at + shift)) for frame, at in stream.knots),
        before=moved_holes(stream.before, stream.earlier, shift),
    )


def corrected_state(state: SpoolState, belief: Belief) -> SpoolState:
    """The state of this boot with its times corrected by `belief`."""
    shift = 0 if state.utc_offset is None or state.trusted else belief.offset - state.utc_offset
    hole = state.open_hole
    if hole is not None and state.earlier <= len(state.holes):
        hole = OpenHole(hole.cause, Instant(hole.from_ + shift))
    return replace(
        state,
        since=Instant(state.since + shift),
        knot=state.knot and (state.knot[0], Instant(state.knot[1] + shift)),
        holes=moved_holes(state.holes, state.earlier, shift),
        open_hole=hole,
        until=state.until if state.until is None else Instant(state.until + shift),
        utc_offset=belief.offset,
        trusted=belief.trusted,
    )


def moved_holes(holes: Sequence[Hole], earlier: int, shift: int) -> tuple[Hole, ...]:
    """Adjacent holes, moved, except for the first `earlier` starts: each hole ends where the next one starts."""
    return tuple(
        Hole(
            hole.cause,
            hole.from_ if number < earlier else Instant(hole.from_ + shift),
            hole.to if number + 1 < earlier else Instant(hole.to + shift),
        )
        for number, hole in enumerate(holes)
    )


def real_holes(holes: Sequence[Hole]) -> tuple[Hole, ...]:
    """Those that have a length."""
    return tuple(hole for hole in holes if hole.from_ < hole.to)


def believed(at: Instant, uncertain: bool, stream: Stream | None) -> Instant:
    """A time from a manifest, corrected by its stream's record, if there is one; `uncertain` is the manifest's."""
    return Instant(at + stream.shift) if uncertain and stream is not None else at


def believed_end(chunk: Chunk, stream: Stream | None) -> Instant:
    return believed(chunk.ended_at, chunk.uncertain, stream)


def correct_streams(
    spool: Spool, boot_id: str, belief: Belief, running: str | None = None, now: Instant = LAST
) -> Iterator[Stream]:
    """Corrects the uncertain streams of a boot on disk, except for the one being recorded; yields those that moved.

    One that would move into the future of `now` stays as it is, uncertain: its boot's clocks were set back since.
    Correct the state first: then the next repair completes what a crash cut off. OSError on a bad disk.
    """
    for stream_id in spool.streams.ids():
        if stream_id == running:
            continue
        try:
            stream = spool.streams.read(stream_id)
        except SpoolError:
            continue  # damaged, or just removed: the repair reports it
        if stream.boot_id != boot_id or not stream.uncertain:
            continue
        if belief.trusted or stream.utc_offset != belief.offset:
            corrected = corrected_stream(stream, belief)
            if corrected.knots[-1][1] > now + _AHEAD:
                log.warning("%s: not corrected, as it would move to %s", stream_id, corrected.knots[-1][1])
                continue
            spool.streams.write(corrected)
            yield corrected
