"""Reassembles what a recorder left in its spool."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import soundfile

from edge.core.values import Chunk, Hole, Stream
from edge.spool.spool import Spool

Sound = npt.NDArray[np.int16]


def streams_of(spool: Spool) -> list[Stream]:
    """All streams, in the order in which they were opened."""
    return sorted(
        (spool.streams.read(stream_id) for stream_id in spool.streams.ids()), key=lambda stream: stream.ordinal
    )


def chunks_of(spool: Spool, stream_id: str) -> list[Chunk]:
    """A stream's chunks, which must be contiguous."""
    chunks = [spool.chunks.manifest(name) for name in sorted(spool.chunks.finished()) if name.startswith(stream_id)]
    for before, after in pairwise(chunks):
        assert after.seq == before.seq + 1
        assert after.first_frame == before.end_frame
        assert after.started_at == before.ended_at
    return chunks


def sound_of(spool: Spool, stream_id: str) -> Sound:
    """All samples of a mono stream, shape (frames,); each file has as many as its manifest says."""
    pieces = []
    for chunk in chunks_of(spool, stream_id):
        samples, rate = soundfile.read(spool.layout.audio_path(chunk), dtype="int16")
        assert (len(samples), rate) == (chunk.frames, chunk.rate)
        pieces.append(samples)
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


def aligned(sound: Sound, played: Sound) -> tuple[Sound, Sound]:
    """What was recorded and what was played from the same sample on, equally long. A sink swallows the first moments
    of what is played into it: so they are matched by a later one."""
    needle = played[24_000:24_064].tobytes()
    place = sound.tobytes().find(needle)
    assert place >= 0, "what was played is nowhere in what was recorded"
    shift = place // 2 - 24_000
    begin = max(24_000, -shift)
    length = min(len(played) - begin, len(sound) - shift - begin)
    return sound[shift + begin : shift + begin + length], played[begin : begin + length]


def holes_of(spool: Spool) -> list[Hole]:
    """The holes before each stream, in order."""
    return [hole for stream in streams_of(spool) for hole in stream.before]
