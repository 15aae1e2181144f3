"""The thread that uses the store, so that the archiver's own stays free: one job at a time, results as values."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from edge.archiver.jobs import (
    Correction,
    Delete,
    DeleteClips,
    Job,
    JobResult,
    ListArchives,
    ReadManifest,
    Rewrite,
    Upload,
)
from edge.archiver.retention.deletions import Deletions
from edge.archiver.upload.upload import Stopped, Uploader
from edge.core.errors import ChunkDamaged, ImHearingError, StoreError
from edge.core.kernel_clock import KernelClock
from edge.messaging.events import Progress

log = logging.getLogger(__name__)


class _Progress(Struct, frozen=True):
    """Of the running job; µs of the monotonic clock. Replaced as a whole, as two threads use it."""

    began_at: int
    bytes_done: int = 0


class Worker:
    """Runs jobs in a thread of its own and passes their results to `deliver`, which must not block."""

    def __init__(
        self,
        uploader: Uploader,
        deletions: Deletions,
        deliver: Callable[[JobResult], None],
        clock: KernelClock,
    ) -> None:
        self._uploader, self._deletions, self._deliver, self._clock = uploader, deletions, deliver, clock
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._swept = False
        self.job: Job | None = None  # the running one; set and cleared by the submitting thread
        self._progress = _Progress(0)
        self._seen_at = 0  # the last sign of life, µs of the monotonic clock
        # a daemon: a hanging request must not keep the process alive; the next one resumes the job
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self, timeout: float) -> None:
        """Lets the thread go, waiting at most `timeout` seconds."""
        self._jobs.put(None)
        self._thread.join(timeout)

    def submit(self, job: Job) -> None:
        """For the thread to run; only while none is running."""
        self.show_life()
        self.job, self._progress = job, _Progress(self._clock.monotonic())
        self._jobs.put(job)

    def uploading(self) -> str | None:
        """The archive that is being uploaded."""
        return self.job.plan.archive_id if isinstance(self.job, Upload | Rewrite) else None

    def progress(self) -> Progress | None:
        """Of the archive that is being uploaded; None while none is."""
        job, progress = self.job, self._progress
        if not isinstance(job, Upload | Rewrite):
            return None
        seconds = max((self._clock.monotonic() - progress.began_at) / 1e6, 1e-3)
        rate = round(progress.bytes_done / seconds, 1)
        return Progress(job.plan.archive_id, progress.bytes_done, job.plan.bundle.size, rate)

    def show_life(self) -> None:
        """The job is getting on, be it slowly. For any thread."""
        self._seen_at = self._clock.monotonic()

    def is_stuck(self, seconds: float) -> bool:
        """Whether a job has been running for `seconds` without a sign of life: some call hangs."""
        return self.job is not None and self._clock.monotonic() - self._seen_at > seconds * 1e6

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            began_at = self._clock.monotonic()
            try:
                result = self._result(job)
            except Stopped:
                return
            self._deliver(replace(result, seconds=(self._clock.monotonic() - began_at) / 1e6))

    def _result(self, job: Job) -> JobResult:
        try:
            match job:
                case ListArchives():
                    return JobResult(job, listed=self._deletions.list_archives(job.key, job.after))
                case ReadManifest():
                    found = self._deletions.read_archive(job.key, job.size, job.prefix, job.node)
                    return JobResult(job, found=found)
            return JobResult(job, sha256=self._do(job))
        except Stopped:
            raise
        except ChunkDamaged as problem:
            damaged = self._uploader.damaged_chunks(job.plan.bundle) if isinstance(job, Upload) else {}
            return JobResult(job, problem=problem, damaged={problem.chunk_id: problem, **damaged})
        except ImHearingError as problem:
            return JobResult(job, problem=problem)
        except Exception as problem:  # a thread's edge: the archiver reports it and carries on
            log.exception("a job failed unexpectedly")
            return JobResult(job, problem=StoreError(f"{job.key}: {problem!r}"))

    def _do(self, job: Job) -> str | None:
        match job:
            case Upload():
                if not self._swept:  # uploads that earlier processes began and nobody will finish
                    self._uploader.sweep(job.plan.destination.node_prefix, job.keep)
                    self._swept = True
                return self._uploader.upload(job.key, job.plan.bundle, self._on_progress)
            case Rewrite():
                return self._uploader.upload(job.key, job.plan.bundle, self._on_progress, job.source)
            case Delete():
                self._uploader.sweep(job.key, frozenset())
                self._deletions.delete_archive(job.archive, job.erased)
            case DeleteClips():
                self._deletions.delete_clips(job.key, job.start, job.end)
            case Correction():
                self._uploader.put_document(job.key, job.record)
        return None

    def _on_progress(self, done: int) -> None:
        self.show_life()
        self._progress = _Progress(self._progress.began_at, done)
