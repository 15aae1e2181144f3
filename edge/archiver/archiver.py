"""The archiver's own thread: it decides what happens next and owns the catalog. The worker's thread uses the store."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from edge.archiver.intake import Intake
from edge.archiver.jobs import Correction, JobResult, Upload
from edge.archiver.pacing import Pacing, Timer
from edge.archiver.planner import Planner
from edge.archiver.reporter import Reporter
from edge.archiver.retention.retention import Retention
from edge.archiver.upload.uploads import Uploads
from edge.archiver.worker import Worker
from edge.catalog.erasures import Erasure
from edge.core.errors import CatalogDamaged, ChunkUnreadable, ImHearingError, StoreBlocked

log = logging.getLogger(__name__)

_TURN = 0.5  # seconds; how soon the archiver notices that it should stop


class SettingsChanged(Exception):
    """Settings have changed that may end what blocks uploading."""


class Archiver:
    """The turn loop: register what is in the spool, apply the limits, let expire what may go, start the next job.

    What others call, except `run`, goes through its inbox and runs in the thread of `run`.
    """

    def __init__(
        self,
        intake: Intake,
        planner: Planner,
        uploads: Uploads,
        retention: Retention,
        worker: Worker,
        reporter: Reporter,
        pacing: Pacing,
        rescan_timer: Timer,
        settings_changed: Callable[[], bool],
    ) -> None:
        """`settings_changed`: whether they have since the start; called while uploading is blocked."""
        self._intake, self._planner, self._uploads, self._retention = intake, planner, uploads, retention
        self._worker, self._reporter, self._pacing, self._rescan_timer = worker, reporter, pacing, rescan_timer
        self._settings_changed, self._may_have_work = settings_changed, True

    def run(self, inbox: queue.Queue[Callable[[], None]], stop: threading.Event, beat: Callable[[], None]) -> None:
        """Works until `stop`, with a `beat` each turn unless the worker is stuck. Failures are logged and retried.

        Returns early, with no job under way, once changed settings may end what blocks uploading.
        """
        self._planner.discard_other_destinations()
        while not stop.is_set():
            if not self._worker.is_stuck(self._pacing.stuck):
                beat()
            try:
                if not _succeeds(self.turn):
                    stop.wait(self._pacing.first_retry)
            except SettingsChanged:
                return
            try:
                call = inbox.get(timeout=_TURN)
            except queue.Empty:
                continue
            _succeeds(call)

    # requests

    def on_chunk_completed(self, chunk_id: str) -> None:
        """An event names a finished chunk."""
        if self._intake.register(chunk_id):
            self._reporter.on_change()
            self._apply_limits()

    def request_rescan(self) -> None:
        """Rescan the spool and check the limits in the next turn."""
        self._rescan_timer.expire()

    def archive_now(self) -> tuple[list[str], int]:
        """Everything finished is due. Gives the archives planned so far, and how many chunks had no plan yet."""
        self._rescan()
        self._may_have_work = True
        return self._planner.archive_now()

    def why_erasure_waits(self, order: Erasure) -> str | None:
        """Why an open order makes no progress now; None while it does. Raises SpoolError."""
        return self._retention.eraser.why_waiting(order)

    def on_job_result(self, result: JobResult) -> None:
        """The worker finished a job. Raises CatalogError."""
        self._worker.job = None
        self._may_have_work = True
        self._reporter.on_change()
        if isinstance(result.job, Upload | Correction):
            self._uploads.on_result(result.job, result)
            self._intake.reconsider(
                chunk_id for chunk_id, reason in result.damaged.items() if isinstance(reason, ChunkUnreadable)
            )
            self._apply_limits()
        else:
            self._retention.on_result(result)

    # turns

    def turn(self) -> None:
        """Does what is due now. Raises CatalogError, SpoolError, SettingsChanged."""
        if self._rescan_timer.is_due():
            self._rescan_timer.start(self._pacing.rescan)
            self._rescan()
            self._may_have_work = True
            self._retention.tidy()
            self._apply_limits()
        may_have_work = self._may_have_work or self._retention.eraser.has_orders()
        if may_have_work and self._worker.job is None and self._uploads.retry.is_due():
            troubles = (self._uploads.trouble, self._retention.eraser.trouble)
            if any(isinstance(one, StoreBlocked) for one in troubles) and self._settings_changed():
                raise SettingsChanged
            self._may_have_work = self._start_next_job()
        self._reporter.report(
            self._uploads.trouble, self._worker.progress(), self._intake.newest, self._retention.expiry.obstacle
        )

    def _rescan(self) -> None:
        if self._intake.rescan():
            self._reporter.on_change()
        self._retention.cleanup.run(self._intake.registered)

    def _apply_limits(self) -> None:
        self._may_have_work = self._planner.apply_limits() or self._may_have_work

    def _start_next_job(self) -> bool:
        """Whether it started one, or one waits for the next retry."""
        job = self._retention.next_job()
        if job is None:
            self._planner.plan_ahead()
            job = self._uploads.next_job()
        if job is None:
            return not self._uploads.retry.is_due()
        self._worker.submit(job)
        self._reporter.on_change()
        return True


def _succeeds(call: Callable[[], None]) -> bool:
    """False after a problem that may pass, which is logged."""
    try:
        call()
    except CatalogDamaged:
        raise
    except ImHearingError as problem:
        log.warning("%s", problem)
        return False
    return True
