"""The thread that talks to the store, so that the archiver's own stays free: one job at a time, outcomes as values."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from msgspec import Struct

from edge.archiver.plan.bundle import Entry, OpenMember, check
from edge.archiver.plan.plan import Plan
from edge.archiver.plan.stored_members import Source, clip_touches, stored_members
from edge.archiver.upload.upload import Stopped, Uploader
from edge.core.errors import ChunkDamaged, ImHearingError, StoreError
from edge.core.instant import Instant
from edge.core.values import Archive
from edge.store.interface import ObjectStore

log = logging.getLogger(__name__)


class Upload(Struct, frozen=True):
    """A new archive. Open uploads below `prefix`, not to a key of `keep`, are dropped first."""

    plan: Plan
    prefix: str
    keep: frozenset[str]

    @property
    def key(self) -> str:
        return self.plan.key


class Rewrite(Struct, frozen=True):
    """An archive whose chunks are in the store already, in the one that it replaces."""

    plan: Plan
    source: Source

    @property
    def key(self) -> str:
        return self.plan.key


class Delete(Struct, frozen=True):
    """An archive is to go."""

    archive: Archive

    @property
    def key(self) -> str:
        return self.archive.key


class DeleteClips(Struct, frozen=True):
    """The clips below `key` with sound in [start, end) are to go."""

    key: str
    start: Instant
    end: Instant


class Correction(Struct, frozen=True):
    """A stream's record with its times corrected."""

    key: str
    stream_id: str
    record: bytes


Job = Upload | Rewrite | Delete | DeleteClips | Correction


class Outcome(Struct, frozen=True):
    """How a job ended: `sha256` of what is verified in the store, or why not. `damaged`: chunk id -> what is wrong."""

    job: Job
    seconds: float
    sha256: str | None = None
    problem: ImHearingError | None = None
    damaged: dict[str, str] = {}


class Worker:
    """Runs jobs in a thread of its own and hands their outcomes to `deliver`, which must not block."""

    def __init__(
        self,
        storage: ObjectStore,
        open_member: OpenMember,
        stop: threading.Event,
        deliver: Callable[[Outcome], None],
        rate: float = 0.0,
    ) -> None:
        self._storage = storage
        self._open_member = open_member
        self._uploader = Uploader(storage, open_member, stop, rate=rate)
        self._deliver = deliver
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._swept = False
        self.job: Job | None = None  # the one that runs; set and cleared by who submits
        self.bytes_done = 0
        self._sign_at = 0.0  # when the job last got on
        # left behind when we end: what hangs in the network is taken up by the next process
        self._thread = threading.Thread(target=self._run, name="uploader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self, timeout: float) -> None:
        """Lets the thread go, waiting at most `timeout` seconds."""
        self._jobs.put(None)
        self._thread.join(timeout)

    def submit(self, job: Job) -> None:
        self.job, self.bytes_done, self._sign_at = job, 0, time.monotonic()
        self._jobs.put(job)

    def is_stuck(self, seconds: float) -> bool:
        """Whether a job runs and the store has taken nothing of it for `seconds`: some call hangs."""
        return self.job is not None and time.monotonic() - self._sign_at > seconds

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            began = time.monotonic()
            try:
                sha256 = self._do(job)
                outcome = Outcome(job, time.monotonic() - began, sha256)
            except Stopped:
                return
            except ChunkDamaged as problem:
                outcome = Outcome(job, time.monotonic() - began, None, problem, self._damage(job, problem))
            except ImHearingError as problem:
                outcome = Outcome(job, time.monotonic() - began, None, problem)
            except Exception as problem:  # a thread's edge: whatever it is, the archiver goes on and says so
                log.exception("uploading failed in an unforeseen way")
                outcome = Outcome(job, time.monotonic() - began, None, StoreError(f"{job.key}: {problem!r}"))
            self._deliver(outcome)

    def _do(self, job: Job) -> str | None:
        match job:
            case Upload():
                self._sweep(job)
                return self._uploader.upload(job.key, job.plan.bundle, self._note)
            case Rewrite():
                members = stored_members(self._storage, job.source)
                return self._uploader.upload(job.key, job.plan.bundle, self._note, members)
            case Delete():
                self._uploader.sweep(job.key, frozenset())
                self._storage.delete(job.key)
            case DeleteClips():
                for key, _ in list(self._storage.keys(job.key)):
                    if clip_touches(key, job.start, job.end):
                        self._storage.delete(key)
            case Correction():
                self._uploader.put_document(job.key, job.record)
        return None

    def _sweep(self, job: Upload) -> None:
        """Once per process: drops what earlier ones began and nobody will finish."""
        if not self._swept:
            self._uploader.sweep(job.prefix, job.keep)
            self._swept = True

    def _damage(self, job: Job, first: ChunkDamaged) -> dict[str, str]:
        """Every chunk of the plan that is not what it was, so that the next plan does not stumble over the next one."""
        found = {first.chunk_id: str(first)}
        for member in job.plan.members if isinstance(job, Upload) else ():
            try:
                check(Entry(member.member, member.length, member.chunk.crc32), self._open_member)
            except ChunkDamaged as problem:
                found[problem.chunk_id] = str(problem)
        return found

    def _note(self, done: int) -> None:
        self.bytes_done, self._sign_at = done, time.monotonic()
