"""Start-up is recovery: makes chunks of what a crash left, and finds where recording ended and why.

Runs before every recording, also after the disk failed. Touches only files with our own names.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import msgspec

from edge.errors import SpoolError
from edge.files import sync_folder
from edge.instant import Instant
from edge.kernel_clock import KernelClock
from edge.model import Chunk, ClockStamp, Hole, HoleCause, OpenHole, SpoolState, Stream
from edge.names import chunk_id as name_chunk
from edge.names import seq_of, stream_of
from edge.recorder.chunk_writer import ChunkWriter, read_valid_prefix, sync_and_digest
from edge.recorder.levels import FULL_SCALE_16, FULL_SCALE_24, LevelMeter
from edge.recorder.stream_recorder import with_digest
from edge.spool import PartFile, Spool

log = logging.getLogger(__name__)


def repair(spool: Spool, kernel: KernelClock, cause: HoleCause | None = None) -> tuple[SpoolState, list[Chunk]]:
    """Makes the spool whole; gives the state to go on from and the chunks that were recovered.

    `cause` is why recording broke off, where that is known: else it was a crash, or a power cut if the machine has been
    started since. Raises OSError or SpoolError when the disk does not take it.
    """
    _sweep(spool)
    before = _readable_state(spool, kernel)
    recovered = []
    for part in sorted(spool.parts()):
        chunk = _recover(spool, part, before)
        if chunk is not None:
            recovered.append(chunk)
    return _state_after(spool, before, recovered, kernel, cause), recovered


def _sweep(spool: Spool) -> None:
    """Removes temporary files and manifests whose audio never came; audio without a manifest will get one."""
    for pattern in ("*.json.tmp", "*.repair"):
        for path in spool.path.glob(pattern):
            path.unlink(missing_ok=True)
    chunks = spool.chunks()
    manifests = spool.manifests()
    for chunk_id in manifests - chunks.keys():
        spool.manifest_path(chunk_id).unlink(missing_ok=True)
    for chunk_id in chunks.keys() - manifests:
        path = chunks[chunk_id].path
        if path.suffix != ".age":  # an encrypted one cannot be measured again
            path.replace(path.with_name(path.name + ".part"))
    sync_folder(spool.path)


def _readable_state(spool: Spool, kernel: KernelClock) -> SpoolState:
    try:
        state = spool.state()
    except SpoolError as problem:
        aside = spool.path / f"state.json.damaged-{int(kernel.now())}"
        (spool.path / "state.json").replace(aside)
        log.warning("%s; set aside as %s", problem, aside.name)
        state = None
    if state is not None:
        return state
    chunks = [_manifest(spool, chunk_id) for chunk_id in spool.chunks()]
    ends = [chunk.ended_at for chunk in chunks if chunk is not None]
    now = kernel.now()
    return SpoolState(
        state="stopped",
        since=now,
        boot_id=kernel.boot_id,
        ordinal=max([stream.ordinal for stream in _streams(spool)], default=0),
        open_hole=OpenHole("unknown", max(ends)) if ends else None,
    )


def _recover(spool: Spool, part: PartFile, state: SpoolState) -> Chunk | None:
    """The chunk that `part` holds, finished under its own name; None when there is nothing in it."""
    if part.chunk_id in spool.chunks():
        part.path.unlink()  # its repair was finished, and a crash came before this
        return None
    try:
        stream = spool.stream(stream_of(part.chunk_id))
    except SpoolError as problem:
        log.warning("%s; so %s is left as it is", problem, part.path.name)
        return None
    repaired = Path(f"{part.path}.repair")
    meter = LevelMeter(stream.rate, stream.channels, FULL_SCALE_16 if stream.bits == 16 else FULL_SCALE_24)
    frames = _rewrite(part, stream, repaired, meter)
    if not frames:
        part.path.unlink()
        return None
    seq = seq_of(part.chunk_id)
    first_frame = seq * stream.chunk_frames
    start = _start_of(spool, stream, seq, first_frame, state)
    chunk = with_digest(
        Chunk(
            chunk_id=part.chunk_id,
            node=stream.node,
            stream_id=stream.stream_id,
            seq=seq,
            first_frame=first_frame,
            frames=frames,
            rate=stream.rate,
            channels=stream.channels,
            format=stream.format,
            bytes=0,
            sha256="0" * 64,
            crc32=0,
            started_at=start,
            ended_at=Instant(start + frames * 1_000_000 // stream.rate),
            uncertain=stream.uncertain,
            clock=ClockStamp(stream.boot_id, float(stream.rate)),
            levels=meter.take_chunk().levels,
            before=stream.before if seq == 0 else (),
            recovered=True,
            end_reason=None if frames == stream.chunk_frames else "crash",
        ),
        sync_and_digest(repaired),
    )
    spool.finish(repaired, chunk)
    part.path.unlink()
    log.info("recovered %s: %.1f s", chunk.chunk_id, frames / stream.rate)
    return chunk


def _rewrite(part: PartFile, stream: Stream, target: Path, meter: LevelMeter) -> int:
    """Encodes what can be read of `part` into `target`; gives its frames."""
    writer = ChunkWriter(target, stream.rate, stream.channels, stream.bits, stream.format)
    try:
        for samples in read_valid_prefix(part.path, stream.channels, stream.bits):
            writer.write(samples)
            meter.add(samples)
    finally:
        writer.close()
    if not writer.frames:
        target.unlink()
    return writer.frames


def _start_of(spool: Spool, stream: Stream, seq: int, first_frame: int, state: SpoolState) -> Instant:
    """When the chunk began: where the one before ended, or from the nearest knot that is known."""
    previous = _manifest(spool, name_chunk(stream.stream_id, seq - 1)) if seq else None
    if previous is not None:
        return previous.ended_at
    frame, at = stream.knots[0]
    if state.stream_id == stream.stream_id and state.knot is not None:
        frame, at = state.knot
    return Instant(at + (first_frame - frame) * 1_000_000 // stream.rate)


def _state_after(
    spool: Spool, before: SpoolState, recovered: list[Chunk], kernel: KernelClock, cause: HoleCause | None
) -> SpoolState:
    """The state with the hole that is open since recording ended."""
    if before.stream_id is None:
        state = msgspec.structs.replace(before, boot_id=kernel.boot_id)
    else:
        same_boot = before.boot_id == kernel.boot_id
        end, holes = _end_of_stream(spool, before, recovered)
        state = SpoolState(
            state="stopped",
            since=kernel.now(),
            boot_id=kernel.boot_id,
            ordinal=before.ordinal,
            holes=holes,
            open_hole=OpenHole(cause or ("crash" if same_boot else "power"), end),
        )
    spool.write_state(state)
    return state


def _end_of_stream(spool: Spool, state: SpoolState, recovered: Iterable[Chunk]) -> tuple[Instant, tuple[Hole, ...]]:
    """Where the stream that was being recorded ended, and the holes before it that no chunk tells of."""
    assert state.stream_id is not None and state.knot is not None  # noqa: S101, PT018 - for the type checker
    ours = [chunk for chunk in recovered if chunk.stream_id == state.stream_id]
    finished = (spool.chunks().keys() - {chunk.chunk_id for chunk in ours}) if not ours else ()
    known = ours or [
        chunk
        for chunk_id in finished
        if stream_of(chunk_id) == state.stream_id and (chunk := _manifest(spool, chunk_id)) is not None
    ]
    end = max([chunk.ended_at for chunk in known] + [state.knot[1]])
    if known or state.knot[0]:
        _close_stream(spool, state.stream_id, end)
        return end, ()
    try:
        holes = spool.stream(state.stream_id).before  # it has no chunk: what it would have told must not be forgotten
    except SpoolError:
        holes = ()
    spool.remove_stream(state.stream_id)
    return end, holes


def _close_stream(spool: Spool, stream_id: str, end: Instant) -> None:
    try:
        stream = spool.stream(stream_id)
    except SpoolError:
        return
    chunks = [_manifest(spool, chunk_id) for chunk_id in spool.chunks() if stream_of(chunk_id) == stream_id]
    last_frame = max((chunk.end_frame for chunk in chunks if chunk is not None), default=0)
    if last_frame:
        spool.write_stream(msgspec.structs.replace(stream, knots=(stream.knots[0], (last_frame, end))))


def _manifest(spool: Spool, chunk_id: str) -> Chunk | None:
    try:
        return spool.manifest(chunk_id)
    except SpoolError as problem:
        log.warning("%s", problem)
        return None


def _streams(spool: Spool) -> Iterable[Stream]:
    for stream_id in spool.streams():
        try:
            yield spool.stream(stream_id)
        except SpoolError as problem:
            log.warning("%s", problem)
