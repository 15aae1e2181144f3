"""An archiver that a test runs turn by turn, on a real spool and catalog, with a worker that does no job."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from edge.archiver.jobs import Job, JobResult, Upload
from edge.archiver.pacing import Pacing
from edge.archiver.plan.plan import ArchivePlan
from edge.archiver.service import assemble
from edge.catalog import Catalog
from edge.catalog.erasures import Erasures
from edge.configuration.settings import S3, Archive, Settings, Thresholds
from edge.core.errors import ChunkDamaged, ImHearingError
from edge.core.instant import Instant
from edge.core.systemd import Heartbeat
from edge.messaging.events import ArchiveChanged, Event, Progress
from edge.spool.spool import Spool
from tests.support.archiver.parts import make_deletions
from tests.support.kernel_clock import ManualClock
from tests.support.spool.chunks import SECOND, START
from tests.support.wait import wait_until

HASH = "0" * 64
PACE = Pacing(rescan=0.0, report=0.0, first_retry=0.01, longest_link_retry=0.01, longest_retry=0.01)


class IdleWorker:
    """Takes jobs and does none."""

    def __init__(self) -> None:
        self.job: Job | None = None

    def submit(self, job: Job) -> None:
        self.job = job

    def is_stuck(self, seconds: float) -> bool:
        return False

    def uploading(self) -> str | None:
        return self.job.plan.archive_id if isinstance(self.job, Upload) else None

    def progress(self) -> Progress | None:
        return Progress(self.job.plan.archive_id, 0, 1, 0.0) if isinstance(self.job, Upload) else None


class SteppedArchiver:
    """An archiver that a test runs turn by turn, on a real spool and catalog; `restart` returns the next process's."""

    def __init__(
        self,
        folder: Path,
        spool: Spool,
        archive: Archive,
        pacing: Pacing = PACE,
        settings_changed: Callable[[], bool] = lambda: False,
    ) -> None:
        self.spool, self.folder, self.archive = spool, folder, archive
        self.catalog = Catalog(folder / "catalog.db")
        self.catalog.open()
        self.worker, self.events, self.clock = IdleWorker(), list[Event](), ManualClock()
        self.orders = Erasures(self.catalog.path)
        settings = Settings(
            archive=replace(archive, archive_max_chunks=3),
            thresholds=Thresholds(records_count=1),
            s3=S3(s3_bucket_name="bucket", prefix="p/"),
        )
        self.archiver = assemble(
            settings,
            spool,
            self.catalog,
            self.worker,  # type: ignore[arg-type]
            make_deletions(spool, self.catalog),
            self.events.append,
            pacing,
            Heartbeat({}),
            self.clock,
            settings_changed,
        )

    def turn(self) -> None:
        """As `run` takes it, in which what goes wrong is logged; fails where it takes for ever."""
        self.clock.advance(0.02)
        with _deadline(self.catalog):
            self.archiver.request_rescan()
            with contextlib.suppress(ImHearingError):
                self.archiver.turn()

    def end(self, sha256: str | None = HASH, problem: ImHearingError | None = None) -> Job:
        """The worker ends its job."""
        job = self.worker.job
        assert job is not None
        with contextlib.suppress(ImHearingError):
            sha256 = sha256 if isinstance(job, Upload) and not problem else None
            damaged = {problem.chunk_id: problem} if isinstance(problem, ChunkDamaged) else {}
            self.archiver.on_job_result(JobResult(job, 1.0, sha256, problem, damaged))
        return job

    def run_until(self, condition: Callable[[], object], what: str) -> None:
        def holds() -> bool:
            self.turn()
            return bool(condition())

        wait_until(holds, what)

    def event_count(self, kind: str) -> int:
        return sum(isinstance(event, ArchiveChanged) and event.event == kind for event in self.events)

    def erase(self, start: int, end: int) -> str:
        """Orders to erase these seconds."""
        return self.orders.give(Instant(START + start * SECOND), Instant(START + end * SECOND), START).id

    def plan(self) -> ArchivePlan:
        assert isinstance(self.worker.job, Upload)
        return self.worker.job.plan

    def restart(self) -> SteppedArchiver:
        self.catalog.close()
        return SteppedArchiver(self.folder, self.spool, self.archive)


@contextlib.contextmanager
def _deadline(catalog: Catalog) -> Iterator[None]:
    """A planner that goes round and round asks for the open plans each time."""
    asked, real = 0, catalog.archive_records.open_plans

    def counted() -> list[Any]:
        nonlocal asked
        asked += 1
        assert asked < 100, "it goes round and round"
        return real()

    catalog.archive_records.open_plans = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        catalog.archive_records.open_plans = real  # type: ignore[method-assign]


@contextlib.contextmanager
def failing(owner: object, name: str, problem: Exception, times: int = 1) -> Iterator[None]:
    """The next `times` calls of a method raise; then it works again."""
    real, left = getattr(owner, name), times

    def wrapped(*args: Any, **options: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise problem
        return real(*args, **options)

    setattr(owner, name, wrapped)
    yield
    assert left == 0, "it was never called"
    setattr(owner, name, real)


def read_only_error() -> OSError:
    return OSError(errno.EROFS, "Read-only file system")
