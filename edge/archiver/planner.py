"""Waiting chunks -> due ones -> committed plans."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge.archiver.plan.plan import (
    ArchiveLimits,
    ArchivePlan,
    Destination,
    batches,
    fitting,
    make_plan,
    manifest_bytes,
)
from edge.archiver.reporter import Reporter
from edge.archiver.retention.policy import RetentionPolicy
from edge.catalog import Catalog
from edge.core.kernel_clock import KernelClock
from edge.spool import thresholds

log = logging.getLogger(__name__)

_READY_PLANS = 2  # later plans are made when their turn comes, and hold what has arrived until then


class Planner:
    """Decides what is archived next. `limits` gives the active thresholds."""

    def __init__(
        self,
        catalog: Catalog,
        destination: Destination,
        archive_limits: ArchiveLimits,
        limits: Callable[[], thresholds.Limits],
        policy: RetentionPolicy,
        reporter: Reporter,
        clock: KernelClock,
    ) -> None:
        self._catalog, self._destination, self._archive_limits = catalog, destination, archive_limits
        self._limits, self._policy, self._reporter, self._clock = limits, policy, reporter, clock

    def apply_limits(self) -> bool:
        """Where a limit is exceeded, everything that waits is due. True when new plans were made."""
        backlog = self._catalog.queue.backlog(planned_too=False)
        age = None if backlog.oldest is None else max(0.0, (self._clock.now() - backlog.oldest) / 1e6)
        measures = thresholds.Measures(
            records_count=backlog.chunks,
            storage_usage=backlog.bytes / thresholds.MB,
            oldest_age=age,
            sound_level=backlog.loudest,
        )
        if not backlog.chunks or not (over := thresholds.exceeded(self._limits(), measures)):
            return False
        if not self._catalog.queue.due(1):
            log.info("archiving: %s", ", ".join(f"{o.metric} {o.value:g} {o.unit} of {o.limit:g}" for o in over))
        self._catalog.queue.mark_due()
        return self.plan_ahead()

    def archive_now(self) -> tuple[list[str], int]:
        """Everything that waits is due. Gives the archives planned so far, and how many chunks had no plan yet."""
        chunks = self._catalog.queue.mark_due()
        self.plan_ahead()
        return [archive.archive_id for archive in self._catalog.archive_records.open_plans()], chunks

    def plan_ahead(self) -> bool:
        """Commits the next plans, unless enough are open. True when any was made."""
        planned = False
        while self._destination.bucket and len(self._catalog.archive_records.open_plans()) < _READY_PLANS:
            if not self._plan_next():
                break
            planned = True
        return planned

    def _plan_next(self) -> bool:
        most = self._archive_limits.max_chunks
        due = self._policy.ready_to_plan(self._catalog.queue.due(most))
        batch = next(batches(due, self._archive_limits), [])
        room = self._archive_limits.max_manifest - manifest_bytes(batch)
        unlisted = self._catalog.deletions.not_in_manifest(most)[: most - len(batch)]
        discarded = fitting(unlisted, room)
        if not batch and len(unlisted) < most and discarded == unlisted:
            return False
        used = {chunk.stream_id for chunk in (*batch, *(one.chunk for one in discarded))}
        plan = make_plan(batch, self._catalog.streams(used), self._destination, discarded)
        archive = plan.archive(self._clock.now())
        if not self._catalog.plans.commit(archive, plan.members, plan.manifest, discarded):
            return False  # it would be planned again and again
        log.info("planned %s: %d chunks, %d bytes", plan.archive_id, len(batch), archive.bytes)
        self._reporter.archive_changed("planned", archive, plan)
        return True

    def discard_plan(self, plan: ArchivePlan, damaged: dict[str, str], reason: str) -> None:
        """A plan with damaged chunks cannot be kept: others are made of what is intact."""
        archive = self._catalog.archive(plan.archive_id)
        self._catalog.plans.take_back(plan.archive_id)
        self._catalog.queue.set_aside(damaged)
        self._reporter.archive_changed("failed", archive, plan, reason)

    def discard_other_destinations(self) -> None:
        """Plans for another bucket or prefix than the configured one are made again."""
        records = self._catalog.archive_records
        for archive in (*records.open_plans(), *records.open_rewrites()):
            if archive.bucket != self._destination.bucket or not archive.key.startswith(self._destination.node_prefix):
                log.info("%s was planned for another bucket or prefix; planning it again", archive.archive_id)
                self._catalog.plans.take_back(archive.archive_id)
