"""Which archive or correction is uploaded next, and what follows from how that ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from edge.archiver.jobs import Correction, Job, JobResult, Upload
from edge.archiver.pacing import Pacing, RetryTimer
from edge.archiver.plan.keys import correction_key
from edge.archiver.plan.plan import ArchivePlan, Destination, plan_of
from edge.archiver.planner import Planner
from edge.archiver.reporter import Reporter
from edge.catalog import Catalog
from edge.core import wire
from edge.core.errors import CatalogError, ChunkDamaged, ImHearingError, StoreBlocked, StoreError, StoreUnreachable
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.store.interface import NO_BUCKET

log = logging.getLogger(__name__)


class Uploads:
    """`obstacle` says why an archive of so many bytes may not be uploaded now, or None. `on_uploaded` hears which
    chunks are now in the store, and since when."""

    def __init__(
        self,
        catalog: Catalog,
        destination: Destination,
        planner: Planner,
        reporter: Reporter,
        obstacle: Callable[[int], StoreError | None],
        on_uploaded: Callable[[Mapping[str, Instant]], None],
        pacing: Pacing,
        clock: KernelClock,
    ) -> None:
        self._catalog, self._destination, self._planner, self._reporter = catalog, destination, planner, reporter
        self._obstacle, self._on_uploaded = obstacle, on_uploaded
        self._clock = clock
        self._failures: dict[str, int] = {}  # by archive, so that one bad archive does not hold up the others
        self.retry = RetryTimer(pacing, clock)
        self.trouble: ImHearingError | None = None if destination.bucket else StoreBlocked(NO_BUCKET, "no_bucket")

    def next_job(self) -> Job | None:
        """None also while uploading has to wait."""
        plans = self._catalog.archive_records.open_plans()
        if not plans:
            return self._next_correction()
        archive = min(plans, key=lambda plan: self._failures.get(plan.archive_id, 0))
        if obstacle := self._obstacle(archive.bytes):
            self._wait(obstacle)
            return None
        plan = plan_of(self._catalog.plans.manifest(archive.archive_id), archive.bucket, archive.key)
        rewrites = self._catalog.archive_records.open_rewrites()
        return Upload(plan, frozenset(one.key for one in (*plans, *rewrites)))

    def _next_correction(self) -> Correction | None:
        for stream_id in self._catalog.registration.corrections_due()[:1]:
            record = self._catalog.stream(stream_id)
            if record is not None:
                key = correction_key(self._destination.node_prefix, stream_id)
                return Correction(key, stream_id, wire.encode(record))
        return None

    def _wait(self, reason: StoreError) -> None:
        """Not a failure: it is checked again soon."""
        if str(reason) != str(self.trouble):
            log.info("%s", reason)
            self._reporter.on_change()
        self.trouble = reason
        self.retry.hold()

    def on_result(self, job: Upload | Correction, result: JobResult) -> None:
        """Raises CatalogError, and then starts nothing for a while: what the store did would be repeated at once."""
        try:
            if result.problem is not None or (result.sha256 is None and isinstance(job, Upload)):
                self._on_failure(job, result)
            elif isinstance(job, Upload):
                self._on_uploaded_archive(job.plan, result)
            else:
                self._on_success()
                self._catalog.registration.mark_correction_stored(job.stream_id)
        except CatalogError as problem:
            self.retry.failed(problem)
            raise

    def _on_success(self) -> None:
        self.trouble = None
        self.retry.succeeded()

    def _on_uploaded_archive(self, plan: ArchivePlan, result: JobResult) -> None:
        now = self._clock.now()
        self._catalog.plans.mark_uploaded(plan.archive_id, result.sha256 or "", now)
        # store and catalog have the chunks now: whatever is left behind here, the next rescan removes
        self._on_uploaded({member.chunk.chunk_id: now for member in plan.members})
        self._on_success()
        self._failures.pop(plan.archive_id, None)
        log.info("uploaded %s: %d bytes in %.1f s", plan.archive_id, plan.bundle.size, result.seconds)
        self._reporter.archive_changed("uploaded", self._catalog.archive(plan.archive_id), plan)

    def _on_failure(self, job: Upload | Correction, result: JobResult) -> None:
        problem = result.problem or StoreError(f"{job.key}: failed with no error message")
        if isinstance(job, Upload) and isinstance(problem, ChunkDamaged):
            damaged = {chunk_id: str(reason) for chunk_id, reason in result.damaged.items()}
            for reason in damaged.values():
                log.error("%s", reason)
            self._planner.discard_plan(job.plan, damaged, str(problem))
            return
        self.retry.failed(problem)
        if str(problem) != str(self.trouble):
            log.warning("%s", problem)
        self.trouble = problem
        if isinstance(job, Correction) or isinstance(problem, StoreUnreachable):  # without a link nothing was attempted
            return
        self._failures[job.plan.archive_id] = self._failures.get(job.plan.archive_id, 0) + 1
        archive = self._catalog.archive(job.plan.archive_id)
        self._reporter.archive_changed("failed", archive, job.plan, str(problem))
