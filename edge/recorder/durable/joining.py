"""Moves the sound of one spool into another: from the disk before, or from a mount point that lacked its disk."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from msgspec.structs import replace

from edge.configuration.settings import Settings
from edge.core.ids import stream_of
from edge.core.kernel_clock import KernelClock
from edge.core.values import Chunk, Hole, SpoolState, Stream
from edge.recorder.durable.chunk_writer import digest
from edge.recorder.durable.recovery import readable
from edge.recorder.durable.repair import repair
from edge.spool.spool import Spool

log = logging.getLogger(__name__)


def has_sound(spool: Spool) -> bool:
    """Whether anything in the folder could be joined. Raises SpoolError."""
    return spool.path.is_dir() and bool(spool.chunks.finished() or spool.chunks.parts_in(spool.path))


def join(source: Spool, target: Spool, state: SpoolState, kernel: KernelClock, settings: Settings) -> SpoolState:
    """Moves all chunks of `source`, which nobody records to, into `target`, which is repaired and in `state`.

    Returns the state in which recording to `target` continues; it is written. May be repeated after a crash. Raises
    OSError or SpoolError when a disk does not take it.
    """
    with source.recorder_lock.hold():
        found, _ = repair(source, kernel, settings=settings)
        streams = [stream for one in source.streams.ids() if (stream := readable(source.streams.read, one)) is not None]
        for stream in streams:
            target.streams.write(replace(stream, ordinal=state.ordinal + stream.ordinal))
        chunks = sorted(source.chunks.finished())
        moved = [chunk_id for chunk_id in chunks if _move(source, target, chunk_id)]
        state = joined_state(state, found, streams)
        target.state.write(state)
        left = {stream_of(chunk_id) for chunk_id in set(chunks).difference(moved)}
        for stream in streams:
            if stream.stream_id not in left:
                source.streams.remove(stream.stream_id)
        source.layout.state_path.unlink(missing_ok=True)
    log.warning("%s: joined %d chunks from %s", target.path, len(moved), source.path)
    return state


def joined_state(state: SpoolState, found: SpoolState, streams: list[Stream]) -> SpoolState:
    """`state` of the spool once it also has `streams`, after whose end recording was in the state `found`. Pure."""
    ordinal = max([state.ordinal, *(state.ordinal + stream.ordinal for stream in streams)])
    state, still_open = replace(state, ordinal=ordinal), state.open_hole
    if found.open_hole is None or (still_open is not None and still_open.from_ >= found.open_hole.from_):
        return state  # older than what is here: the hole after it is before some stream already
    begins = min([at for stream in streams for _, at in stream.knots[:1]], default=found.open_hole.from_)
    holes = state.holes
    if still_open is not None and still_open.from_ < begins:
        holes = (*holes, Hole(still_open.cause, still_open.from_, begins))
    earlier = len(holes) + found.earlier
    return replace(state, holes=(*holes, *found.holes), open_hole=found.open_hole, earlier=earlier)


def _move(source: Spool, target: Spool, chunk_id: str) -> bool:
    """False for a chunk that is damaged, which stays where it is."""
    chunk = readable(source.chunks.manifest, chunk_id)
    if chunk is None:
        return False
    if not target.layout.audio_path(chunk).exists():
        target.disk.ensure_room(chunk.bytes)
        copy = Path(f"{target.layout.part_path(chunk_id, chunk.format)}.repair")  # removed at the next start if we die
        if not _copy(source.layout.audio_path(chunk), copy, chunk):
            return False
        target.chunks.finish(copy, chunk)
    source.chunks.remove(chunk_id)
    return True


def _copy(audio: Path, copy: Path, chunk: Chunk) -> bool:
    shutil.copyfile(audio, copy)
    with copy.open("rb") as file:
        os.fsync(file.fileno())
    if digest(copy).sha256 == chunk.sha256:
        return True
    copy.unlink()
    log.error("%s: differs from its manifest, and is left there", audio)
    return False
