"""Gathers what metrics and the daily report need, from the node's own answers and the broker's retained messages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import TypeVar

from edge.configuration.settings import Settings
from edge.core.errors import DoorError, ImHearingError, SpoolError
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.messaging.bus import Bus
from edge.messaging.events import (
    ArchiveChanged,
    ArchiverState,
    ArchiverStatus,
    DailyReport,
    Event,
    GapFound,
    LevelMeasured,
    RecorderState,
    RecorderStatus,
    ServiceStatus,
)
from edge.spool.spool import spool_of
from query_service.client.paging import NodeClient, coverage_pages, pages
from query_service.queries.levels import LevelsAnswer
from query_service.queries.protocol import Request, new_id
from query_service.queries.status import StatusAnswer
from query_service.telemetry.metrics import NodeFacts, render
from query_service.telemetry.report import STEP, DayTally

log = logging.getLogger(__name__)

_ASK_SECONDS = 30.0  # for one page; the report is in no hurry
_SETTLE_SECONDS = 300.0  # after midnight and after a start: what was recorded last gets into a finished chunk
_LOOK_SECONDS = 60.0
_PAGE_BYTES = resource.getpagesize()
_LEVEL_LASTS = 10_000_000  # µs

E = TypeVar("E", bound=Event)

WATCHED: tuple[type[Event], ...] = (
    RecorderStatus, ArchiverStatus, RecorderState, ArchiverState, LevelMeasured, GapFound, ArchiveChanged,
)  # fmt: skip


class NodeWatch:
    """The last event of each type, and counts of those that are no state, since this process started."""

    def __init__(self) -> None:
        self._last: dict[type[Event], Event] = {}
        self._lock = threading.Lock()
        self.gap_seconds: defaultdict[str, float] = defaultdict(float)  # by cause
        self.archives: Counter[str] = Counter()  # by what became of them
        self.uploaded_bytes = 0

    def last(self, kind: type[E]) -> E | None:
        """The last event of that kind; None when none was heard."""
        found = self._last.get(kind)
        return found if isinstance(found, kind) else None

    def online(self) -> dict[str, bool]:
        """Each service by name; those that never reported are absent."""
        kinds: dict[str, type[ServiceStatus]] = {
            "recorder": RecorderStatus, "archiver": ArchiverStatus,
        }  # fmt: skip
        found = {name: self.last(kind) for name, kind in kinds.items()}
        others = {name: status.state == "online" for name, status in found.items() if status is not None}
        return {**others, "query": True}  # that is us

    def take(self, event: Event, retained: bool) -> None:
        """Takes in one event of `WATCHED`. Any thread may call it."""
        with self._lock:
            self._last[type(event)] = event
            if retained:
                return
            if isinstance(event, GapFound):
                self.gap_seconds[event.cause] += max(0, event.ended_at - event.started_at) / 1e6
            elif isinstance(event, ArchiveChanged):
                self.archives[event.event] += 1
                self.uploaded_bytes += event.bytes if event.event == "uploaded" else 0


class Metrics:
    """The page that Prometheus reads. `text` may be called at any rate: a result is reused for a second."""

    def __init__(self, settings: Settings, client: NodeClient, watch: NodeWatch, kernel: KernelClock) -> None:
        self._node, self._client, self._watch, self._kernel = settings.node.name, client, watch, kernel
        self._spool = spool_of(settings)
        self._started_at = kernel.now()
        self._lock = asyncio.Lock()
        self._made_at = -1.0
        self._page = ""

    async def text(self) -> str:
        """The metrics now; never raises for what cannot be read: that is left out."""
        async with self._lock:
            if time.monotonic() - self._made_at > 1.0:
                self._page = render(await self._facts())
                self._made_at = time.monotonic()
            return self._page

    async def _facts(self) -> NodeFacts:
        status = None
        with contextlib.suppress(ImHearingError):
            answer = await self._client.query(Request(id=new_id(), type="status"), 5.0)
            status = answer if isinstance(answer, StatusAnswer) else None
        watch, level = self._watch, self._watch.last(LevelMeasured)
        recent = level is not None and self._kernel.now() - level.at < _LEVEL_LASTS
        return NodeFacts(
            node=self._node,
            started_at=self._started_at,
            resident_bytes=_resident_bytes(),
            clock_synchronised=self._kernel.synchronised(),
            disk_bytes=self._disk_bytes(),
            last_sound_at=self._last_sound_at(status),
            status=status,
            recorder=watch.last(RecorderState),
            archiver=watch.last(ArchiverState),
            level=level if recent else None,
            online=watch.online(),
            gap_seconds=watch.gap_seconds,
            archives=watch.archives,
            uploaded_bytes=watch.uploaded_bytes,
        )

    def _disk_bytes(self) -> int | None:
        with contextlib.suppress(OSError, SpoolError):
            return self._spool.disk.total_bytes()
        return None

    def _last_sound_at(self, status: StatusAnswer | None) -> Instant | None:
        ends = [status.last_chunk.ended_at] if status and status.last_chunk else []
        with contextlib.suppress(SpoolError):
            ends += [part.modified_at for part in self._spool.chunks.parts()]
        return max(ends, default=None)


async def report_on(client: NodeClient, day: date, now: Instant, month_cost: float | None) -> DailyReport:
    """The report of one local day. Raises DoorError, QueryRefused."""
    start, end = _midnight(day), _midnight(day + timedelta(days=1))
    tally = DayTally(start, end)
    async for page in coverage_pages(client, start, end, _ASK_SECONDS):
        if page.incomplete:
            raise DoorError(f"the {page.incomplete} cannot be read")
        tally.add_coverage(page.intervals)
    levels = Request(id=new_id(), type="levels", from_=start, to=end, step=STEP)
    async for answer in pages(client, levels, _ASK_SECONDS):
        if isinstance(answer, LevelsAnswer):
            tally.add_levels(answer.levels)
    return tally.report(client.node, now, month_cost)


async def report_daily(
    client: NodeClient,
    bus: Bus,
    watch: NodeWatch,
    now: Callable[[], Instant],
    erased: Callable[[], frozenset[str]],
    settle: float = _SETTLE_SECONDS,
    look: float = _LOOK_SECONDS,
) -> None:
    """Publishes the report of yesterday, for ever: some minutes after the start, and after each midnight.

    Again once sound was erased, by one more of the orders `erased`: what the broker retains may say when it was loud.
    """
    reported: tuple[date, frozenset[str]] | None = None
    await asyncio.sleep(settle)
    while True:
        yesterday = datetime.fromtimestamp(now() / 1e6 - settle).astimezone().date() - timedelta(days=1)
        orders = await asyncio.to_thread(erased)
        if (yesterday, orders) != reported:
            archiver = watch.last(ArchiverState)
            try:
                report = await report_on(client, yesterday, now(), archiver.month_cost if archiver else None)
            except ImHearingError as problem:
                log.warning("the report of %s could not be made: %s; trying again", yesterday, problem)
            else:
                reported = yesterday, orders
                bus.publish(report)
                log.info(
                    "%s: %.2f h recorded, %.2f h uploaded, %d gaps", yesterday, report.recorded_hours,
                    report.uploaded_hours, report.gaps,
                )  # fmt: skip
        await asyncio.sleep(look)


def _midnight(day: date) -> Instant:
    """The first moment of a local day."""
    return Instant.from_seconds(datetime(day.year, day.month, day.day).astimezone().timestamp())


def _resident_bytes() -> int | None:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - a file of the kernel's
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return None
