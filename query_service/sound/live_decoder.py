"""The process that decodes what is being recorded: `python -m query_service.sound.live_decoder`.

Begins within the last second, goes on over the ends of chunks and over gaps, and ends with its input, with a pause, or
with the format of the sound. Its standard error then says why.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edge.core import wire
from edge.core.errors import FetchError
from edge.spool.spool import Spool
from query_service.sound.audio import pcm_of
from query_service.sound.live_file import GrowingFile
from query_service.sound.live_follower import POLL, LivePart, SpoolFollower
from query_service.sound.live_messages import LiveFormat, LiveOrder

_FIRST = 0.5  # seconds of sound that is there already, where listening begins
_LATE = 2.0  # where it goes on: nothing is left out unless this process is later than that
_PIECE = 16_384  # bytes of a WAV file at once


def main() -> int:
    order = wire.decode(sys.stdin.buffer.readline(), LiveOrder)
    node, *former_names = order.names
    follower = SpoolFollower(Spool(Path(order.spool), node, former_names), _wait)
    try:
        _send(follower, sys.stdout.buffer)
    except FetchError as problem:
        sys.stderr.write(f"{problem}\n")
    except BrokenPipeError:  # nobody listens any more
        pass
    return 0


def _wait() -> bool:
    """Until the next look at the spool; False once our input has ended."""
    return not select.select([sys.stdin.buffer], [], [], POLL)[0]


def _send(follower: SpoolFollower, sink: BinaryIO) -> None:
    """Ends with FetchError."""
    part, backlog = follower.first(), _FIRST
    form = _format(part)
    sink.write(wire.encode(form) + b"\n")
    sink.flush()
    while _format(part) == form:
        for piece in _samples(part, follower, round(backlog * form.rate)):
            sink.write(piece)
            sink.flush()
            follower.has_grown()
        last, part = part, follower.after(part)
        backlog = _LATE if part.follows(last) else _FIRST
    raise FetchError(f"the format changes to {part.stream.rate} Hz, {part.stream.channels} channel(s)")


def _format(part: LivePart) -> LiveFormat:
    return LiveFormat(part.stream.rate, part.stream.channels, part.stream.bits)


def _samples(part: LivePart, follower: SpoolFollower, backlog: int) -> Iterator[bytes]:
    """At most so many frames, and a block, from the end of the file, and what is added to it."""
    try:
        file = GrowingFile(part.path, lambda: follower.has_more(part, file.inode))
    except OSError:  # it was finished a moment ago
        return
    with file:
        if part.stream.format == "flac":
            if file.skip_to_frame(backlog):
                yield from pcm_of(file)
        elif file.skip_to_sample(_format(part).frame_bytes, backlog):
            yield from _whole_frames(file, _format(part).frame_bytes)


def _whole_frames(file: GrowingFile, frame_bytes: int) -> Iterator[bytes]:
    left = b""
    while piece := file.read(_PIECE):
        data = left + piece
        whole = len(data) // frame_bytes * frame_bytes
        left = data[whole:]
        if whole:
            yield data[:whole]


if __name__ == "__main__":
    sys.exit(main())
