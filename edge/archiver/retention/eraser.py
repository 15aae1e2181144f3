"""Carries out orders to erase a range: spool, plans, archives in the store, clips. Whole chunks are erased.

An order is a file that stays until all is done, every step is committed to the catalog before anything moves, and
each may be repeated: after a crash at any point, the next process resumes there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge.archiver.jobs import Delete, DeleteClips, Job, JobResult, ListArchives, ReadManifest, Rewrite
from edge.archiver.pacing import LogChanges, RetryTimer
from edge.archiver.plan.plan import ArchivePlan, Destination, make_plan, plan_of
from edge.archiver.plan.stored_members import SourceArchive
from edge.archiver.retention.deletions import Deletions
from edge.archiver.retention.survey import BucketSurvey
from edge.catalog import Catalog, RemainingChunk
from edge.catalog.erasures import Erasure, ErasureResult, Erasures
from edge.catalog.holds import read_holds
from edge.catalog.range_locks import is_copied
from edge.catalog.rows import silenced
from edge.core.errors import ImHearingError, SpoolError, StoreBlocked
from edge.core.kernel_clock import KernelClock
from edge.core.values import Archive, DiscardedChunk
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
        destination: Destination,
        rescan: Callable[[], object],
        retry: RetryTimer,
        clock: KernelClock,
    ) -> None:
        self._spool, self._catalog, self._deletions, self._destination = spool, catalog, deletions, destination
        self._rescan, self._retry, self._clock = rescan, retry, clock
        self._erasures = Erasures(catalog.path)
        self._survey: tuple[str, BucketSurvey] | None = None  # of which order
        self._without_clips: set[tuple[str, str]] = set()  # orders, and below which key their clips are deleted
        self._log_trouble = LogChanges(log)
        self.trouble: ImHearingError | None = None  # of the last job

    def next_job(self) -> Job | None:
        """The next job while the worker is idle. Raises CatalogError, HoldsUnreadable."""
        if not self._retry.is_due():
            return None
        # first what is superseded, so that no archive ever has two successors in the store
        for archive in self._pending_deletion():
            return Delete(archive)
        try:
            for order in self._orders():
                if job := self._advance(order):
                    return job
        except SpoolError as problem:  # uploads need not wait
            self._failed(problem)
        return None

    def has_orders(self) -> bool:
        """Whether an order could make progress now."""
        return self._retry.is_due() and bool(self._orders())

    def on_result(self, result: JobResult) -> None:
        """The worker ended a job that came from here."""
        job = result.job
        if result.problem is not None and not self._is_left_to_the_bucket(job, result.problem):
            self._failed(result.problem)
            return
        self._retry.succeeded()
        self._log_trouble.clear()
        self.trouble = None
        match job:
            case Delete():
                self._catalog.deletions.mark_deleted(job.archive.archive_id, self._clock.now())
                log.info("deleted %s (%s)", job.key, job.archive.gone)
            case DeleteClips():
                done = [(o.id, job.key) for o in self._orders() if (o.from_, o.to) == (job.start, job.end)]
                self._without_clips.update(done)
            case ListArchives() | ReadManifest() if self._survey is not None:
                self._survey[1].on_result(result)
            case Rewrite() if result.sha256 is not None:
                self._rewritten(job.plan, result.sha256)

    def _orders(self) -> list[Erasure]:
        try:
            return self._erasures.open()
        except OSError as problem:
            self._failed(SpoolError(f"orders to erase cannot be read ({problem}); fix their folder's permissions"))
            return []

    def _pending_deletion(self) -> list[Archive]:
        """Those in our bucket: we no longer know how to reach another one."""
        return [
            archive
            for archive in self._catalog.archive_records.pending_deletion()
            if archive.bucket == self._destination.bucket
        ]

    def _advance(self, order: Erasure) -> Job | None:
        if read_holds(self._catalog.path).touch(order.from_, order.to):
            self._end(order, "refused", "a part of the range is held; see `imhearing hold`")
            return None
        # checked before the finished ones are listed, so that a chunk finished in between is not missed
        may_still_come = self._may_still_come(order)
        here = self._spool.chunks.finished().keys()
        if here - self._catalog.known(here):
            self._rescan()
        while remaining := self._catalog.deletions.remaining_between(order.from_, order.to, _AT_ONCE):
            if archives := {row.archive_id for row in remaining if row.state == "planned" and row.archive_id}:
                for archive_id in archives:
                    self._deletions.take_back_plan(archive_id)
                continue
            if unsent := [row.chunk_id for row in remaining if row.state in ("waiting", "aside", "gone")]:
                self._deletions.give_up(unsent, "erased")
                continue
            return self._rewrite(order, remaining)
        return None if self._pending_deletion() or may_still_come else self._conclude(order)

    def _conclude(self, order: Erasure) -> Job | None:
        """The catalog has nothing left of the range: the order ends once the store has neither."""
        self._deletions.remove_given_up()  # what could not be removed earlier
        elsewhere = self._pending_elsewhere(order)
        if elsewhere is not None and elsewhere.gone != "unwanted":
            self._end(order, "refused", f"{elsewhere.archive_id} is in another bucket, {elsewhere.bucket}")
            return None
        survey = self._survey_for(order)
        if job := survey.next_job():
            return job
        if is_copied(self._catalog.path, order.from_, order.to):
            self._failed(SpoolError("an order to erase waits: a clip of its range is being made"))
            return None
        for key in self._destination.clip_prefixes if self._destination.bucket else ():
            if (order.id, key) not in self._without_clips:
                return DeleteClips(key, order.from_, order.to)
        self._deletions.remove_earlier_catalogs()
        reservations = [f"another bucket, {elsewhere.bucket}, may have a copy: {elsewhere.key}"] if elsewhere else []
        reservations += [f"{key} cannot be read, and may have a copy" for key in sorted(survey.unreadable)[:_NAMED]]
        self._end(order, "done", "; ".join(reservations) or None)
        return None

    def _survey_for(self, order: Erasure) -> BucketSurvey:
        if self._survey is None or self._survey[0] != order.id:
            survey = BucketSurvey(order, self._catalog, self._deletions, self._destination, self._clock)
            self._survey = order.id, survey
        return self._survey[1]

    def _rewrite(self, order: Erasure, remaining: list[RemainingChunk]) -> Job | None:
        """The first archive with something to erase is replaced by one without it."""
        archive_id = remaining[0].archive_id or ""
        old = self._catalog.archives([archive_id])[archive_id]
        if old.bucket != self._destination.bucket:
            self._end(order, "refused", f"{archive_id} is in another bucket, {old.bucket}")
            return None
        plan = self._open_rewrite(archive_id) or self._plan_rewrite(order, archive_id)
        places = {
            row.chunk.member: (row.where.offset, row.where.length)
            for row in self._catalog.archive_records.members(archive_id)
            if row.where is not None
        }
        return Rewrite(plan, SourceArchive(old.key, places))

    def _open_rewrite(self, archive_id: str) -> ArchivePlan | None:
        for archive in self._catalog.archive_records.open_rewrites():
            if archive.replaces == archive_id:
                return plan_of(self._catalog.plans.manifest(archive.archive_id), archive.bucket, archive.key)
        return None

    def _plan_rewrite(self, order: Erasure, archive_id: str) -> ArchivePlan:
        stays, discarded, described = [], [], self._catalog.archive_records.chunks_for_manifest(archive_id)
        for row in self._catalog.archive_records.members(archive_id):
            chunk = described[row.chunk.chunk_id]
            if order.touches(row.chunk.started_at, row.chunk.ended_at):
                discarded.append(DiscardedChunk(silenced(chunk), "erased"))
            elif row.gone is not None:
                discarded.append(DiscardedChunk(chunk, row.gone))
            else:
                stays.append(chunk)
        streams = self._catalog.streams({chunk.stream_id for chunk in (*stays, *(one.chunk for one in discarded))})
        plan = make_plan(stays, streams, self._destination, discarded, archive_id)
        self._catalog.plans.commit_rewrite(plan.archive(self._clock.now()), plan.manifest)
        log.info("rewriting %s without %d chunks", archive_id, len(discarded))
        return plan

    def _rewritten(self, plan: ArchivePlan, sha256: str) -> None:
        archive = self._catalog.archives([plan.archive_id])[plan.archive_id]
        self._catalog.plans.mark_rewritten(archive, sha256, self._clock.now(), plan.members, plan.discarded)
        self._deletions.remove_chunks([one.chunk.chunk_id for one in plan.discarded])

    def _pending_elsewhere(self, order: Erasure) -> Archive | None:
        """An archive with sound of the range that was to be deleted when another bucket was configured.

        One that may never have been uploaded only if there is no other.
        """
        found = None
        for archive in self._catalog.archive_records.pending_deletion():
            is_elsewhere = archive.bucket != self._destination.bucket and (found is None or found.gone == "unwanted")
            if is_elsewhere and order.touches(archive.started_at, archive.ended_at):
                found = archive
        return found

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
