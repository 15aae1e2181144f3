"""How the node is: recorder, spool, disk, clock. From the spool and the catalog; neither broker nor network."""

from __future__ import annotations

import contextlib

from edge import __version__
from edge.core.errors import CatalogError, CatalogInterrupted, SpoolError
from edge.core.instant import MICROSECONDS, Instant
from edge.core.values import Chunk, Stream
from query_service.answer.catalog_facts import NoCatalog
from query_service.answer.facts import FactReader
from query_service.answer.spool_view import SpoolView
from query_service.queries.status import Backlog, ClockReport, LastChunk, RecorderReport, StatusAnswer

_LOOK_BACK = 30 * 86_400 * MICROSECONDS  # for the chunk that ended last
_HOUR = 3_600 * MICROSECONDS


def status_report(request_id: str, node: str, reader: FactReader, now: Instant, uptime: float) -> StatusAnswer:
    """The node's state now; what cannot be read is null. `uptime` in seconds."""
    view = reader.spool_view()
    catalog_ready, last, uploaded = not isinstance(reader.catalog, NoCatalog), None, None
    try:
        last = reader.last_chunk(Instant(now - _LOOK_BACK), now)  # without a catalog: of the spool's
        uploaded = reader.catalog.archive_records.last_uploaded()
    except CatalogInterrupted:
        raise
    except CatalogError:
        catalog_ready = False
    disk_free = None
    with contextlib.suppress(OSError, SpoolError):
        disk_free = reader.spool.disk.free_bytes()
    unknown = reader.unknown_to_catalog() if catalog_ready else None
    stream = reader.stream_here(view.state.stream_id) if view.state and view.state.stream_id else None
    return StatusAnswer(
        id=request_id,
        node=node,
        at=now,
        version=__version__,
        uptime=uptime,
        recorder=_recorder(view, stream, now),
        spool=_backlog(view, unknown) if view.problem is None else None,
        disk_free=disk_free,
        disk_hours_left=_hours_left(disk_free, last),
        last_chunk=LastChunk(chunk_id=last.chunk_id, ended_at=last.ended_at) if last else None,
        last_upload=uploaded.uploaded_at if uploaded else None,
        clock=ClockReport(uncertain=stream.uncertain, measured_rate=last.clock.measured_rate if last else None)
        if stream
        else None,
        catalog="ready" if catalog_ready else "busy",
    )


def _backlog(view: SpoolView, unknown_to_catalog: int | None) -> Backlog:
    waiting = [file for file in view.listed.values() if not file.is_retained]
    return Backlog(len(waiting), sum(file.bytes for file in waiting), unknown_to_catalog)


def _recorder(view: SpoolView, stream: Stream | None, now: Instant) -> RecorderReport:
    state = view.state
    if state is None:
        return RecorderReport(
            state="unknown", since=None, alive=False, stream_id=None, device=None, rate=None, channels=None
        )
    if state.state == "recording":
        alive = view.is_alive(now)
    else:  # between attempts to use a disk that failed, the recorder lets go of the spool
        alive = state.state == "disk_full" or (state.state != "stopped" and view.has_recorder)
    return RecorderReport(
        state=state.state,
        since=state.since,
        until=state.until if state.state == "paused" else None,
        alive=alive,
        stream_id=state.stream_id,
        device=stream.device if stream else None,
        rate=stream.rate if stream else None,
        channels=stream.channels if stream else None,
    )


def _hours_left(disk_free: int | None, newest: Chunk | None) -> float | None:
    """Until the disk is full, at the rate at which the newest chunk filled it."""
    if disk_free is None or newest is None or newest.ended_at <= newest.started_at or not newest.bytes:
        return None
    return round(disk_free / newest.bytes * (newest.ended_at - newest.started_at) / _HOUR, 1)
