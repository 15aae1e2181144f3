"""Status: how the node is now."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from edge.core.ids import ChunkId, StreamId
from edge.core.instant import Instant
from edge.core.values import Count
from query_service.queries.declaration import QueryType
from query_service.queries.values import AnswerHead


class RecorderReport(Struct, frozen=True, kw_only=True):
    """`alive`: its process runs, and wrote within the last ten seconds or waits as its state says."""

    state: Literal["recording", "paused", "no_device", "disk_full", "stopped", "unknown"]
    since: Instant | None
    until: Instant | None = None  # when a pause ends by itself
    alive: bool
    stream_id: StreamId | None
    device: str | None
    rate: int | None
    channels: int | None


class Backlog(Struct, frozen=True):
    """Finished chunks in the spool that the store does not have yet."""

    chunks: Count
    bytes: Count
    unknown_to_catalog: Count | None  # null while the catalog cannot be read


class LastChunk(Struct, frozen=True, kw_only=True):
    chunk_id: ChunkId
    ended_at: Instant


class ClockReport(Struct, frozen=True, kw_only=True):
    uncertain: bool
    measured_rate: float | None  # frames per second of the sound card, against the clock


class StatusAnswer(AnswerHead, frozen=True, kw_only=True):
    """How the node is."""

    type: Literal["status"] = "status"
    at: Instant
    version: str
    uptime: float  # seconds that the query service has run
    recorder: RecorderReport
    spool: Backlog | None  # null while it cannot be read
    disk_free: Count | None  # bytes
    disk_hours_left: float | None = None  # until it is full if nothing more is uploaded, at the last chunk's rate
    last_upload: Instant | None = None  # when the last archive was verified in the store
    last_chunk: LastChunk | None
    clock: ClockReport | None
    catalog: Literal["ready", "busy"]
    listeners: Count | None = None  # who listen live; null where no query service was asked


STATUS = QueryType("status", StatusAnswer, has_range=False)
