"""Parts of the archiver on a real spool and catalog, without a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from edge.archiver.jobs import Job, JobResult, ListArchives
from edge.archiver.pacing import Pacing, RetryTimer
from edge.archiver.plan.plan import Destination
from edge.archiver.retention.age_check import AgeCheck
from edge.archiver.retention.deletions import Deletions
from edge.archiver.retention.eraser import Eraser
from edge.archiver.retention.expiry import Expiry
from edge.archiver.retention.policy import RetentionPolicy
from edge.archiver.retention.retention import Retention, SpoolCleanup
from edge.catalog import Catalog
from edge.configuration.settings import Archive, Recorder
from edge.core.kernel_clock import KernelClock
from edge.spool.spool import Spool
from edge.store.interface import ObjectStore
from tests.support.kernel_clock import ManualClock


def make_deletions(spool: Spool, catalog: Catalog, store: ObjectStore | None = None) -> Deletions:
    """Deletes in the spool alone, unless it has a store."""
    return Deletions(spool, catalog, cast(ObjectStore, store), AgeCheck(0.0, KernelClock()))


def make_policy(
    spool: Spool,
    catalog: Catalog,
    archive: Archive = Archive(),  # noqa: B008 - frozen
    recorder: Recorder = Recorder(),  # noqa: B008 - frozen
    sound_level: float = 0.0,
) -> RetentionPolicy:
    deletions = make_deletions(spool, catalog)
    return RetentionPolicy(spool, catalog, deletions, archive, recorder, lambda: sound_level)


def make_cleanup(spool: Spool, catalog: Catalog) -> SpoolCleanup:
    return SpoolCleanup(spool, catalog, make_deletions(spool, catalog), make_policy(spool, catalog))


def make_expiry(spool: Spool, catalog: Catalog, keep_days: float) -> Expiry:
    """By a clock that is synchronised and set to noon of a day in November 2026."""
    clock = ManualClock()
    return Expiry(catalog, make_deletions(spool, catalog), AgeCheck(keep_days, clock), clock)


def make_retention(
    spool: Spool, catalog: Catalog, destination: Destination, pacing: Pacing, rescan: Callable[[], object] = lambda: 0
) -> Retention:
    deletions, policy, clock = make_deletions(spool, catalog), make_policy(spool, catalog), KernelClock()
    expiry = Expiry(catalog, deletions, AgeCheck(0.0, clock), clock)
    return Retention(spool, catalog, deletions, policy, expiry, destination, rescan, RetryTimer(pacing, clock), clock)


def make_eraser(
    spool: Spool, catalog: Catalog, destination: Destination, pacing: Pacing, rescan: Callable[[], object] = lambda: 0
) -> Eraser:
    return make_retention(spool, catalog, destination, pacing, rescan).eraser


def next_change(eraser: Eraser) -> Job | None:
    """The next job that changes something in a bucket without archives, after the eraser has looked through it."""
    while isinstance(job := eraser.next_job(), ListArchives):
        eraser.on_result(JobResult(job))
    return job
