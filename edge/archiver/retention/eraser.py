"""Carries out orders to erase a range: from the spool, from plans, and then from the store. Whole chunks are erased.

An order is a file that stays until all is done, every step is committed to the catalog before anything moves, and
each may be repeated: after a crash at any point, the next process resumes there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge.archiver.jobs import Delete, Job, JobResult
from edge.archiver.pacing import LogChanges, RetryTimer
from edge.archiver.retention.age_check import HeldBack
from edge.archiver.retention.bucket_eraser import BucketEraser
from edge.archiver.retention.deletions import Deletions
from edge.catalog import Catalog
from edge.catalog.erasures import Erasure, ErasureResult, Erasures
from edge.catalog.holds import obstacle, read_holds
from edge.catalog.range_locks import is_copied
from edge.core.errors import ImHearingError, SpoolError, StoreBlocked
from edge.spool.spool import Spool

log = logging.getLogger(__name__)

_AT_ONCE = 500  # chunks in one step
_NAMED = 3  # objects in a reservation


class Eraser:
    """Gives the worker what to rewrite and delete. `rescan` registers what the spool holds."""

    def __init__(
        self,
        spool: Spool,
        catalog: Catalog,
        deletions: Deletions,
        bucket: BucketEraser,
        rescan: Callable[[], object],
        retry: RetryTimer,
    ) -> None:
        self._spool, self._catalog, self._deletions, self._bucket = spool, catalog, deletions, bucket
        self._rescan, self._retry = rescan, retry
        self._erasures = Erasures(catalog.path)
        self._log_trouble = LogChanges(log)
        self.trouble: ImHearingError | None = None  # of the last job

    def next_job(self) -> Job | None:
        """The next job while the worker is idle. Raises CatalogError, HoldsUnreadable."""
        if not self._retry.is_due():
            return None
        # first what is superseded, so that no archive ever has two successors in the store
        if deletion := self._bucket.next_deletion():
            return deletion
        try:
            for order in self._orders():
                if job := self._advance(order):
                    return job
        except (SpoolError, HeldBack) as problem:  # uploads need not wait
            self._failed(problem)
        return None

    def has_orders(self) -> bool:
        """Whether an order could make progress now."""
        return self._retry.is_due() and bool(self._orders())

    def why_waiting(self, order: Erasure) -> str | None:
        """Why an open order makes no progress now; None while it does. Raises SpoolError."""
        if self.trouble is not None:
            return str(self.trouble)
        return "waiting for the end of the chunk that is being recorded" if self._may_still_come(order) else None

    def on_result(self, result: JobResult) -> None:
        """The worker ended a job that came from here."""
        job = result.job
        if result.problem is not None and not self._is_left_to_the_bucket(job, result.problem):
            self._failed(result.problem)
            return
        self._retry.succeeded()
        self._log_trouble.clear()
        self.trouble = None
        self._bucket.on_done(result)

    def _orders(self) -> list[Erasure]:
        try:
            return self._erasures.open()
        except OSError as problem:
            self._failed(SpoolError(f"orders to erase cannot be read ({problem}); fix their folder's permissions"))
            return []

    def _advance(self, order: Erasure) -> Job | None:
        read_holds(self._catalog.path)
        # checked before the finished ones are listed, so that a chunk finished in between is not missed
        may_still_come = self._may_still_come(order)
        here = self._spool.chunks.finished().keys()
        if here - self._catalog.registration.registered(here):
            self._rescan()
        if (held := obstacle(self._catalog.file, order.from_, order.to)) is not None:
            self._end(order, "refused", held)
            return None
        while remaining := self._catalog.deletions.remaining_between(order.from_, order.to, _AT_ONCE):
            if archives := {row.archive_id for row in remaining if row.state == "planned" and row.archive_id}:
                for archive_id in archives:
                    self._deletions.take_back_plan(archive_id)
                continue
            if unsent := [row.chunk_id for row in remaining if row.state in ("waiting", "aside", "gone")]:
                self._deletions.give_up(unsent, "erased")
                continue
            return self._rewrite(order, remaining[0].archive_id or "")
        return None if self._bucket.pending_deletion() or may_still_come else self._conclude(order)

    def _conclude(self, order: Erasure) -> Job | None:
        """The catalog has nothing left of the range: the order ends once the store has neither."""
        self._deletions.remove_given_up()  # what could not be removed earlier
        elsewhere = self._bucket.pending_elsewhere(order)
        if elsewhere is not None and elsewhere.gone != "unwanted":
            self._end(order, "refused", f"{elsewhere.archive_id} is in another bucket, {elsewhere.bucket}")
            return None
        survey = self._bucket.survey_for(order)
        if job := survey.next_job():
            return job
        if is_copied(self._catalog.path, order.from_, order.to):
            self._failed(SpoolError("an order to erase waits: a clip of its range is being made"))
            return None
        if clips := self._bucket.next_clips():
            return clips
        self._deletions.remove_earlier_catalogs()
        reservations = [f"another bucket, {elsewhere.bucket}, may have a copy: {elsewhere.key}"] if elsewhere else []
        reservations += [f"{key} cannot be read, and may have a copy" for key in sorted(survey.unreadable)[:_NAMED]]
        self._end(order, "done", "; ".join(reservations) or None)
        return None

    def _rewrite(self, order: Erasure, archive_id: str) -> Job | None:
        archive = self._catalog.archives([archive_id])[archive_id]
        if self._bucket.has(archive):
            return self._bucket.rewrite(order, archive)
        self._end(order, "refused", f"{archive_id} is in another bucket, {archive.bucket}")
        return None

    def _may_still_come(self, order: Erasure) -> bool:
        """Whether a chunk that is being written now can have sound of the range."""
        if not self._spool.chunks.parts():
            return False
        state = self._spool.state.read()
        return state is None or state.knot is None or state.knot[1] < order.to

    def _end(self, order: Erasure, state: str, reason: str | None = None) -> None:
        chunks = self._catalog.deletions.count_erased_between(order.from_, order.to) if state == "done" else 0
        log.info("order to erase %s to %s: %s", order.from_, order.to, reason or f"done, {chunks} chunks")
        try:
            self._erasures.end(ErasureResult(order.id, state, reason, chunks))  # type: ignore[arg-type]
        except OSError as problem:
            raise SpoolError(f"the end of an order to erase cannot be written ({problem})") from None

    def _failed(self, problem: ImHearingError) -> None:
        self._log_trouble(problem)
        self.trouble = problem
        self._retry.failed(problem)

    def _is_left_to_the_bucket(self, job: Job, problem: ImHearingError) -> bool:
        """A key that may not delete leaves what expires to the bucket's own lifecycle rule, but not what is erased."""
        return (
            isinstance(job, Delete)
            and job.archive.gone == "lifecycle"
            and isinstance(problem, StoreBlocked)
            and problem.reason == "denied"
            and not any(order.touches(job.archive.started_at, job.archive.ended_at) for order in self._orders())
        )
