"""How far a fetch has come, and what it wrote: the types, without the libraries that fetch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from msgspec import Struct

from edge.core.instant import Instant
from query_service.queries.values import Interval

Gaps = Literal["silence", "skip", "refuse"]


class FetchProgress(Struct, frozen=True):
    """How far a fetch has come: of the range in microseconds, and bytes read from the store so far."""

    done_us: int
    total_us: int
    bytes_read: int


class FetchReport(Struct, frozen=True, kw_only=True):
    """What was written. `holes`: every stretch of the range without sound, as the node explained it. `bytes_read`: from
    the store; what lies in the spool of this machine costs none.
    """

    path: Path
    from_: Instant
    to: Instant
    rate: int
    channels: int
    frames: int
    chunks: int
    bytes_read: int
    holes: tuple[Interval, ...]


OnProgress = Callable[[FetchProgress], None]
