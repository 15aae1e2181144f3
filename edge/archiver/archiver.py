"""What to archive and when: decides, and owns the catalog, in one thread. The store is the worker's."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from edge.archiver.intake import Intake
from edge.archiver.plan.plan import Limits, Plan, Target, batches, make_plan, plan_of
from edge.archiver.retention.eraser import Eraser
from edge.archiver.retention.keeper import Keeper
from edge.archiver.upload.pace import Backoff, Pace
from edge.archiver.worker import Correction, Job, Outcome, Rewrite, Upload, Worker
from edge.catalog import Backlog, Catalog
from edge.catalog.holds import HoldsUnreadable
from edge.core import wire
from edge.core.errors import (
    CatalogDamaged,
    CatalogError,
    ChunkDamaged,
    ImHearingError,
    SpoolError,
    StoreBlocked,
    StoreError,
    StoreUnreachable,
)
from edge.core.instant import Instant
from edge.core.systemd import Heartbeat
from edge.core.values import Archive
from edge.messaging.events import ArchiveChanged, ArchiverState, Event, Progress
from edge.spool import thresholds
from edge.spool.spool import Spool
from edge.store.values import NO_BUCKET

log = logging.getLogger(__name__)

_AHEAD = 2  # plans that are ready; later ones are made when their turn comes, and hold what has come until then
_TURN = 0.5  # seconds within which the end is noticed


class Archiver:
    """Brings what the spool holds into the store. `publish` hands events on; `limits` gives the thresholds in force.

    `objection` says why an archive of so many bytes may not be uploaded now, or None.
    """

    def __init__(
        self,
        spool: Spool,
        catalog: Catalog,
        worker: Worker,
        target: Target,
        sizes: Limits,
        limits: Callable[[], thresholds.Limits],
        objection: Callable[[int], StoreError | None],
        publish: Callable[[Event], None],
        pace: Pace,
        inbox: queue.Queue[Callable[[], None]],
        keeper: Keeper,
        heartbeat: Heartbeat | None = None,
        cost: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._spool, self._catalog, self._worker = spool, catalog, worker
        self._target, self._sizes, self._limits = target, sizes, limits
        self._objection, self._cost = objection, cost
        self._publish, self._pace, self._inbox = publish, pace, inbox
        self._heartbeat = heartbeat or Heartbeat({})
        self._keeper = keeper
        self._intake = Intake(spool, catalog, keeper.stored)
        self._eraser = Eraser(spool, catalog, target, pace, self._intake.rescan)
        self._said = ""
        self._backoff = Backoff(pace)
        self._failures: dict[str, int] = {}  # by archive, so that one bad archive does not hold up the others
        self._trouble: ImHearingError | None = None if target.bucket else StoreBlocked(NO_BUCKET, "no_bucket")
        self._retry_at = 0.0
        self._rescan_at = 0.0
        self._report_at = 0.0
        self._began, self._total = 0.0, 0  # of the upload that runs: when, and its bytes
        self._work = True  # whether there may be something to upload
        self._changed = True  # whether what `archiver/state` says may have changed
        self._backlog = Backlog(0, 0, 0)
        self._last_archive: Archive | None = None
        self._month_cost: float | None = None

    def run(self, stop: threading.Event) -> None:
        """Works until `stop`. What goes wrong on the way is logged and tried again."""
        self._leave_other_targets()
        while not stop.is_set():
            if not self._worker.is_stuck(self._pace.stuck):
                self._heartbeat.beat()
            try:
                self._turn()
            except CatalogDamaged:
                raise
            except ImHearingError as problem:
                log.warning("%s", problem)
                stop.wait(self._pace.first_retry)
            try:
                self._inbox.get(timeout=_TURN)()
            except queue.Empty:
                pass
            except CatalogDamaged:
                raise
            except ImHearingError as problem:
                log.warning("%s", problem)

    # what others ask for; all of it runs in the archiver's own thread

    def noticed(self, chunk_id: str) -> None:
        """An event names a finished chunk."""
        if self._intake.notice(chunk_id):
            self._changed = True
            self._judge()

    def look(self) -> None:
        """Look at the spool and the limits at the next turn: an event or a reconnection says it may be worth it."""
        self._rescan_at = 0.0

    def archive_now(self) -> tuple[list[str], int]:
        """All that is finished is due. Gives the archives that are planned by now, and how many chunks had no plan."""
        self._intake.rescan()
        chunks = self._catalog.queue.mark_due()
        self._plan_ahead()
        return [archive.archive_id for archive in self._catalog.archive_records.open_plans()], chunks

    def uploading(self) -> str | None:
        """The archive that the worker has in hand."""
        plan = self._in_hand()
        return plan.archive_id if plan is not None else None

    def finished(self, outcome: Outcome) -> None:
        """The worker ended a job. Raises CatalogError, and then does nothing more with the store for a while."""
        self._worker.job = None
        self._work = self._changed = True
        try:
            self._finish(outcome)
        except CatalogError as problem:  # what the store did is not noted: at once, it would all be done again
            self._retry_at = time.monotonic() + self._backoff.failed(problem)
            raise

    def _finish(self, outcome: Outcome) -> None:
        match outcome.job:
            case Upload(plan) if outcome.sha256 is not None:
                self._uploaded(plan, outcome.sha256, outcome.seconds)
            case Upload(plan) if isinstance(outcome.problem, ChunkDamaged):
                self._damaged(plan, outcome.damaged, outcome.problem)
            case Upload():
                self._failed(outcome)
            case Correction() as job:
                self._corrected(job, outcome)
            case _:
                self._eraser.finished(outcome)

    # turns

    def _turn(self) -> None:
        now = time.monotonic()
        if now >= self._rescan_at:
            self._rescan_at = now + self._pace.rescan
            self._changed = self._intake.rescan() > 0 or self._changed
            self._work = True
            self._tidy()
            self._judge()
        self._work = self._work or self._eraser.has_orders()
        if self._work and self._worker.job is None and now >= self._retry_at:
            self._work = self._next_job()
        if now >= self._report_at and (self._changed or self._worker.job):
            self._report_at = now + self._pace.report
            self._report()

    def _tidy(self) -> None:
        try:
            self._keeper.tidy(_now())
        except (HoldsUnreadable, SpoolError) as problem:
            self._say_once(problem)

    def _say_once(self, problem: HoldsUnreadable | SpoolError) -> None:
        if str(problem) != self._said:
            log.error("%s", problem)
        self._said = str(problem)

    def _judge(self) -> None:
        """Holds the limits against what waits; where one is exceeded, all of it is due."""
        backlog = self._catalog.queue.backlog(planned_too=False)
        age = None if backlog.oldest is None else max(0.0, (time.time() * 1e6 - backlog.oldest) / 1e6)
        measures = thresholds.Measures(
            records_count=backlog.chunks,
            storage_usage=backlog.bytes / thresholds.MB,
            oldest_age=age,
            sound_level=backlog.loudest,
        )
        if backlog.chunks and (over := thresholds.exceeded(self._limits(), measures)):
            if not self._catalog.queue.due(1):
                log.info("archiving: %s", ", ".join(f"{o.metric} {o.value:g} {o.unit} of {o.limit:g}" for o in over))
            self._catalog.queue.mark_due()
            self._plan_ahead()

    def _plan_ahead(self) -> None:
        if not self._target.bucket:
            return  # what waits stays due; `_trouble` says why
        while len(self._catalog.archive_records.open_plans()) < _AHEAD:
            most = self._sizes.max_chunks
            batch = next(batches(self._keeper.settled(self._catalog.queue.due(most)), self._sizes), [])
            discarded = self._catalog.deletions.not_in_manifest(most)[: most - len(batch)]
            if not batch and len(discarded) < most:
                return
            used = {chunk.stream_id for chunk in (*batch, *(one.chunk for one in discarded))}
            plan = make_plan(batch, self._catalog.streams(used), self._target, discarded)
            archive = plan.archive(_now())
            if not self._catalog.plans.commit(archive, plan.members, plan.manifest, discarded):
                return  # else it would be planned again and again
            self._work = self._changed = True
            log.info("planned %s: %d chunks, %d bytes", plan.archive_id, len(batch), archive.bytes)
            self._tell("planned", archive, plan)

    def _next_job(self) -> bool:
        """Gives the worker what comes next; False when there is nothing."""
        try:
            if job := self._eraser.next_job():
                self._submit(job)
                return True
        except HoldsUnreadable as problem:
            self._say_once(problem)
        self._plan_ahead()
        plans = self._catalog.archive_records.open_plans()
        if plans:
            archive = min(plans, key=lambda a: self._failures.get(a.archive_id, 0))
            if objection := self._objection(archive.bytes):
                self._hold(objection)
                return True
            plan = plan_of(self._catalog.plans.manifest(archive.archive_id), archive.bucket, archive.key)
            prefix = f"{self._target.prefix}{self._target.node}/"
            keep = frozenset(a.key for a in (*plans, *self._catalog.archive_records.open_rewrites()))
            self._submit(Upload(plan, prefix, keep))
            return True
        for stream_id in self._catalog.registration.corrections_due()[:1]:
            record = self._catalog.stream(stream_id)
            if record is not None:
                key = f"{self._target.prefix}{self._target.node}/corrections/{stream_id}.json"
                self._submit(Correction(key, stream_id, wire.encode(record)))
                return True
        return False

    def _submit(self, job: Job) -> None:
        self._worker.submit(job)
        if (plan := self._in_hand()) is not None:
            self._began, self._total, self._changed = time.monotonic(), plan.bundle.size, True

    def _in_hand(self) -> Plan | None:
        """The plan of the archive that is being uploaded."""
        job = self._worker.job
        return job.plan if isinstance(job, Upload | Rewrite) else None

    def _hold(self, objection: StoreError) -> None:
        """Nobody's fault and no attempt: asked again soon."""
        if str(objection) != str(self._trouble):
            log.info("%s", objection)
            self._changed = True
        self._trouble = objection
        self._retry_at = time.monotonic() + self._pace.hold

    # how jobs end

    def _uploaded(self, plan: Plan, sha256: str, seconds: float) -> None:
        now = _now()
        self._catalog.plans.mark_uploaded(plan.archive_id, sha256, now)
        # from here on the store and the catalog have them: what is left behind, the next rescan removes
        try:
            self._intake.uploaded({member.chunk.chunk_id: now for member in plan.members})
        except SpoolError as problem:
            self._say_once(problem)
        self._backoff.succeeded()
        self._failures.pop(plan.archive_id, None)
        self._trouble, self._retry_at = None, 0.0
        archive = self._catalog.archives([plan.archive_id])[plan.archive_id]
        log.info("uploaded %s: %d bytes in %.1f s", plan.archive_id, archive.bytes, seconds)
        self._tell("uploaded", archive, plan)
        self._judge()

    def _failed(self, outcome: Outcome) -> None:
        plan = outcome.job.plan if isinstance(outcome.job, Upload) else None
        problem = outcome.problem or StoreError(f"{outcome.job.key}: failed without a word")
        delay = self._backoff.failed(problem)
        self._retry_at = time.monotonic() + delay
        if str(problem) != str(self._trouble):
            log.warning("%s", problem)
        self._trouble = problem
        if plan is None or isinstance(problem, StoreUnreachable):  # the link being down is no attempt
            return
        self._failures[plan.archive_id] = self._failures.get(plan.archive_id, 0) + 1
        archive = self._catalog.archives([plan.archive_id]).get(plan.archive_id)
        if archive is not None:
            self._tell("failed", archive, plan, str(problem))

    def _damaged(self, plan: Plan, damaged: dict[str, str], problem: ImHearingError) -> None:
        """The plan cannot be kept: another one is made of what is whole."""
        for reason in damaged.values():
            log.error("%s", reason)
        archive = self._catalog.archives([plan.archive_id]).get(plan.archive_id)
        self._catalog.plans.discard(plan.archive_id)
        self._catalog.queue.set_aside(damaged)
        if archive is not None:
            self._tell("failed", archive, plan, str(problem))

    def _corrected(self, job: Correction, outcome: Outcome) -> None:
        if outcome.problem is not None:
            self._failed(outcome)
            return
        self._backoff.succeeded()
        self._trouble = None
        self._catalog.registration.mark_correction_stored(job.stream_id)

    def _leave_other_targets(self) -> None:
        """Plans for another bucket or prefix than the configured one are made anew."""
        for archive in (*self._catalog.archive_records.open_plans(), *self._catalog.archive_records.open_rewrites()):
            ours = f"{self._target.prefix}{self._target.node}/"
            if archive.bucket != self._target.bucket or not archive.key.startswith(ours):
                log.info("%s was planned for another place; planning anew", archive.archive_id)
                self._catalog.plans.discard(archive.archive_id)

    # what others hear

    def _tell(self, event: str, archive: Archive, plan: Plan, reason: str | None = None) -> None:
        sounds = dict.fromkeys(span.sound_id for member in plan.members for span in member.chunk.sounds)
        facts = {
            "at": _now(),
            "node": self._target.node,
            "event": event,
            "archive_id": archive.archive_id,
            "bucket": archive.bucket,
            "key": archive.key,
            "bytes": archive.bytes,
            "sha256": archive.sha256,
            "chunks": archive.chunks,
            "started_at": archive.started_at,
            "ended_at": archive.ended_at,
            "sounds": tuple(sounds),
            "reason": reason,
        }
        self._publish(ArchiveChanged(**facts))  # type: ignore[arg-type]

    def _report(self) -> None:
        if self._changed:
            self._backlog, self._last_archive = self._catalog.queue.backlog(), self._newest_archive()
            self._month_cost = self._cost()
            self._changed = False
        uploading = self._in_hand() is not None
        blocked = isinstance(self._trouble, StoreBlocked)
        waiting = f"{self._backlog.chunks} chunks wait"
        self._heartbeat.status(f"{waiting}; {self._trouble}" if self._trouble is not None else waiting)
        self._publish(
            ArchiverState(
                at=_now(),
                node=self._target.node,
                state="blocked" if blocked else "uploading" if uploading else "idle",
                backlog_chunks=self._backlog.chunks,
                backlog_bytes=self._backlog.bytes,
                reason=None if self._trouble is None else str(self._trouble),
                disk_hours_left=self._disk_hours_left(),
                progress=self._progress(),
                last_archive=self._last_archive.archive_id if self._last_archive else None,
                last_archive_at=self._last_archive.uploaded_at if self._last_archive else None,
                month_cost=self._month_cost,
            )
        )

    def _newest_archive(self) -> Archive | None:
        newest = self._catalog.archive_records.last_uploaded()
        return self._catalog.archives([newest]).get(newest) if newest is not None else None

    def _progress(self) -> Progress | None:
        plan, done = self._in_hand(), self._worker.bytes_done
        if plan is None:
            return None
        seconds = max(time.monotonic() - self._began, 1e-3)
        return Progress(plan.archive_id, done, self._total, round(done / seconds, 1))

    def _disk_hours_left(self) -> float | None:
        newest = self._intake.newest
        if newest is None or newest.ended_at <= newest.started_at or not newest.bytes:
            return None
        hours = (newest.ended_at - newest.started_at) / 3.6e9
        try:
            return round(self._spool.disk.free_bytes() / newest.bytes * hours, 1)
        except SpoolError:  # the rescan tells of it
            return None


def _now() -> Instant:
    return Instant.from_seconds(time.time())
