"""What the archiver publishes: changes of archives, and its own state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from edge.archiver.pacing import Timer
from edge.archiver.plan.plan import ArchivePlan
from edge.catalog import Catalog, UploadBacklog
from edge.core.errors import ImHearingError, SpoolError, StoreBlocked
from edge.core.kernel_clock import KernelClock
from edge.core.systemd import Heartbeat
from edge.core.values import Archive, Chunk
from edge.messaging.events import ArchiveChanged, ArchiverState, Event, Progress
from edge.spool.spool import Spool


class Reporter:
    """Publishes at most every `interval` seconds, and only while something changes or an upload runs."""

    def __init__(
        self,
        spool: Spool,
        catalog: Catalog,
        publish: Callable[[Event], None],
        interval: float,
        month_cost: Callable[[], float | None],
        heartbeat: Heartbeat,
        clock: KernelClock,
    ) -> None:
        self._spool, self._catalog, self._publish, self._clock = spool, catalog, publish, clock
        self._interval, self._timer = interval, Timer(clock)
        self._find_month_cost, self._heartbeat = month_cost, heartbeat
        # None: something has changed since the last report
        self._figures: tuple[UploadBacklog, Archive | None, float | None] | None = None
        self._expiry: str | None = None

    def on_change(self) -> None:
        """What the next report says may have changed."""
        self._figures = None

    def report(
        self,
        trouble: ImHearingError | None,
        progress: Progress | None,
        newest: Chunk | None,
        expiry: str | None = None,
    ) -> None:
        """`expiry`: why archives are kept that have reached their age."""
        if expiry != self._expiry:
            self._expiry = expiry
            self.on_change()
        if not self._timer.is_due() or (self._figures is not None and progress is None):
            return
        self._timer.start(self._interval)
        if self._figures is None:
            last = self._catalog.archive_records.last_uploaded()
            self._figures = self._catalog.queue.backlog(), last, self._find_month_cost()
        backlog, last_archive, month_cost = self._figures
        waiting = f"{backlog.chunks} chunks waiting"
        self._heartbeat.status(f"{waiting}; {trouble}" if trouble is not None else waiting)
        busy: Literal["uploading", "idle"] = "idle" if progress is None else "uploading"
        self._publish(
            ArchiverState(
                at=self._clock.now(),
                node=self._spool.node,
                state="blocked" if isinstance(trouble, StoreBlocked) else busy,
                backlog_chunks=backlog.chunks,
                backlog_bytes=backlog.bytes,
                reason=None if trouble is None else str(trouble),
                disk_hours_left=self._disk_hours_left(newest),
                progress=progress,
                last_archive=last_archive.archive_id if last_archive else None,
                last_archive_at=last_archive.uploaded_at if last_archive else None,
                month_cost=month_cost,
                expiry=expiry,
            )
        )

    def archive_changed(
        self,
        event: Literal["planned", "uploaded", "failed"],
        archive: Archive | None,
        plan: ArchivePlan,
        reason: str | None = None,
    ) -> None:
        """Publishes nothing for an archive that the catalog no longer has."""
        if archive is None:
            return
        sounds = dict.fromkeys(span.sound_id for member in plan.members for span in member.chunk.sounds)
        self.on_change()
        self._publish(
            ArchiveChanged(
                at=self._clock.now(),
                node=self._spool.node,
                event=event,
                archive_id=archive.archive_id,
                bucket=archive.bucket,
                key=archive.key,
                bytes=archive.bytes,
                sha256=archive.sha256,
                chunks=archive.chunks,
                started_at=archive.started_at,
                ended_at=archive.ended_at,
                sounds=tuple(sounds),
                reason=reason,
            )
        )

    def _disk_hours_left(self, newest: Chunk | None) -> float | None:
        """At the rate at which the newest chunk filled the disk."""
        if newest is None or newest.ended_at <= newest.started_at or not newest.bytes:
            return None
        hours = (newest.ended_at - newest.started_at) / 3.6e9
        try:
            return round(self._spool.disk.free_bytes() / newest.bytes * hours, 1)
        except SpoolError:  # the rescan reports it
            return None
