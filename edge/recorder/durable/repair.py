"""Start-up is recovery: makes chunks of what a crash left, and finds where recording ended and why.

Runs before every recording, also after the disk failed. Touches only files with our own names and of our own node.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable

from msgspec.structs import replace

from edge.configuration.settings import Settings
from edge.core.errors import SpoolError
from edge.core.files import sync_folder
from edge.core.ids import stream_of
from edge.core.instant import LAST, Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import Chunk, Hole, HoleCause, OpenHole, SpoolState, Stream
from edge.recorder.durable.recovery import readable, recover
from edge.recorder.timing.clock import Belief
from edge.recorder.timing.correction import believed_end, correct_streams
from edge.recorder.timing.timekeeper import Timekeeper
from edge.spool.spool import Spool

log = logging.getLogger(__name__)


def repair(
    spool: Spool, kernel: KernelClock, cause: HoleCause | None = None, settings: Settings | None = None
) -> tuple[SpoolState, list[Chunk]]:
    """Makes the spool whole; returns the state to continue from and the chunks that were recovered.

    `cause` is why recording broke off, where that is known: else it was a crash, or a power cut if the machine has been
    started since. What is recovered is searched for sounds by `settings`. Raises OSError or SpoolError when the
    disk does not take it.
    """
    before = _without_unopened(spool, _readable_state(spool, kernel))
    if before.utc_offset is not None:  # a correction may have been cut off after it was noted
        belief, is_now = Belief(before.utc_offset, before.trusted), before.boot_id == kernel.boot_id
        now = Instant(kernel.monotonic() + before.utc_offset) if is_now else LAST
        for _ in correct_streams(spool, before.boot_id, belief, now=now):
            pass
    _sweep(spool)
    recovered = []
    for part in sorted(spool.chunks.parts()):
        chunk = recover(spool, part, before, settings or Settings())
        if chunk is not None:
            recovered.append(chunk)
    state = _state_after(spool, before, Timekeeper(kernel, before), cause)
    spool.state.write(state)
    spool.ended_sounds.write(())  # the manifests have them now
    return state, recovered


def _sweep(spool: Spool) -> None:
    """Removes temporary files and manifests whose audio never came; audio without a manifest will get one."""
    for path in spool.chunks.leftovers():
        path.unlink(missing_ok=True)
    spool.chunks.remove_abandoned()
    chunks, manifests = spool.chunks.finished(), spool.chunks.manifest_ids()
    parts = {part.chunk_id for part in spool.chunks.parts()}
    for chunk_id in sorted(manifests - chunks.keys() - parts):
        if readable(spool.chunks.manifest, chunk_id) is not None:  # else it is damaged or another's: left as it is
            spool.layout.manifest_path(chunk_id).unlink(missing_ok=True)
    for chunk_id in sorted(chunks.keys() - manifests - parts):
        path = chunks[chunk_id].path
        if path.suffix == ".age" or readable(spool.streams.read, stream_of(chunk_id)) is None:
            log.warning("%s: has no manifest, and cannot be identified; left as it is", path)
        else:
            with contextlib.suppress(FileNotFoundError):  # the archiver was removing it while we listed
                path.replace(path.with_name(path.name + ".part"))
    sync_folder(spool.path)


def _readable_state(spool: Spool, kernel: KernelClock) -> SpoolState:
    """`state.json`, or one made from the chunks where it is missing or damaged."""
    try:
        state = spool.state.read()
        if state is not None and state.stream_id is not None and state.knot is None:
            raise SpoolError(f"{spool.path / 'state.json'}: is damaged (a stream without a knot)")
    except SpoolError as problem:
        aside = spool.path / f"state.json.damaged-{int(kernel.now())}"
        (spool.path / "state.json").replace(aside)
        log.warning("%s; set aside as %s", problem, aside.name)
        state = None
    return state if state is not None else _state_of_chunks(spool, kernel)


def _without_unopened(spool: Spool, state: SpoolState) -> SpoolState:
    """Removes the record of a stream that a crash kept from being opened; the state, never behind what is there."""
    begun = {stream_of(name) for name in (*spool.chunks.finished(), *(part.chunk_id for part in spool.chunks.parts()))}
    newest = state.ordinal
    for stream in list(_streams(spool)):
        if stream.ordinal > state.ordinal and stream.stream_id not in begun:
            spool.streams.remove(stream.stream_id)
        else:
            newest = max(newest, stream.ordinal)
    return replace(state, ordinal=newest)


def _state_of_chunks(spool: Spool, kernel: KernelClock) -> SpoolState:
    streams = {stream.stream_id: stream for stream in _streams(spool)}
    ends = [at for stream in streams.values() for _, at in stream.knots]
    for chunk_id in spool.chunks.finished():
        chunk = readable(spool.chunks.manifest, chunk_id)
        if chunk is not None:
            ends.append(believed_end(chunk, streams.get(chunk.stream_id)))
    return SpoolState(
        state="stopped",
        since=kernel.now(),
        boot_id=kernel.boot_id,
        ordinal=max([stream.ordinal for stream in streams.values()], default=0),
        open_hole=OpenHole("unknown", max(ends)) if ends else None,
        earlier=1 if ends else 0,
    )


def _state_after(spool: Spool, before: SpoolState, timekeeper: Timekeeper, cause: HoleCause | None) -> SpoolState:
    """The state with the hole that is open since recording ended."""
    same_boot = before.boot_id == timekeeper.boot_id
    holes, hole, earlier = before.holes, before.open_hole, before.earlier
    if before.stream_id is not None:
        end, holes, earlier = _end_of_stream(spool, before)
        noted = hole.cause if hole is not None else None  # the spool had no room for its last sound
        hole = OpenHole(cause or noted or ("crash" if same_boot else "power"), end)
    elif hole is not None and before.until is not None and hole.from_ <= before.until < timekeeper.now():
        # the pause was to end, and nobody was there to record
        holes = (*holes, Hole(hole.cause, hole.from_, before.until))
        hole = OpenHole(cause or ("restart" if same_boot else "power"), before.until)
    if not same_boot:
        earlier = len(holes) + (hole is not None)
    return SpoolState(
        state="stopped",
        since=timekeeper.now(),
        boot_id=timekeeper.boot_id,
        ordinal=before.ordinal,
        holes=holes,
        open_hole=hole,
        earlier=earlier,
        utc_offset=timekeeper.belief.offset,
        trusted=timekeeper.belief.trusted,
    )


def _end_of_stream(spool: Spool, state: SpoolState) -> tuple[Instant, tuple[Hole, ...], int]:
    """Where the stream that was being recorded ended, and the holes before it that no chunk records."""
    assert state.stream_id is not None and state.knot is not None  # noqa: S101, PT018 - for the type checker
    frame, end = state.knot
    stream = readable(spool.streams.read, state.stream_id)
    names = [chunk_id for chunk_id in spool.chunks.finished() if stream_of(chunk_id) == state.stream_id]
    last = readable(spool.chunks.manifest, max(names)) if names else None
    if last is not None and last.end_frame > frame:
        frame, end = last.end_frame, believed_end(last, stream)
    if stream is None:
        return end, (), 0
    if frame:
        spool.streams.write(replace(stream, knots=(stream.knots[0], (frame, end))))
        return end, (), 0
    spool.streams.remove(state.stream_id)
    return end, stream.before, stream.earlier  # it has no chunk: keep the holes that the chunk would have recorded


def _streams(spool: Spool) -> Iterable[Stream]:
    for stream_id in spool.streams.ids():
        if (stream := readable(spool.streams.read, stream_id)) is not None:
            yield stream
