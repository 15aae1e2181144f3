"""Puts together what decides about deletions: the policy, orders to erase, and the spool's cleanup."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge.archiver.jobs import Job
from edge.archiver.log_once import LogChanges
from edge.archiver.pacing import RetryTimer
from edge.archiver.plan.plan import Destination
from edge.archiver.retention.deletions import Deletions
from edge.archiver.retention.eraser import Eraser
from edge.archiver.retention.policy import RetentionPolicy
from edge.archiver.retention.spool_cleanup import SpoolCleanup
from edge.catalog import Catalog
from edge.catalog.holds import HoldsUnreadable
from edge.core.errors import SpoolError
from edge.core.kernel_clock import KernelClock
from edge.spool.spool import Spool

log = logging.getLogger(__name__)


class Retention:
    """`rescan` registers what the spool holds."""

    def __init__(
        self,
        spool: Spool,
        catalog: Catalog,
        deletions: Deletions,
        policy: RetentionPolicy,
        destination: Destination,
        rescan: Callable[[], object],
        retry: RetryTimer,
        clock: KernelClock,
    ) -> None:
        self.policy, self._clock = policy, clock
        self.cleanup = SpoolCleanup(spool, catalog, deletions, policy)
        self.eraser = Eraser(spool, catalog, deletions, destination, rescan, retry, clock)
        self._log_trouble = LogChanges(log, logging.ERROR)

    def tidy(self) -> None:
        """Deletes what may go now. Problems are logged: nothing else has to wait for them."""
        try:
            self.policy.apply(self._clock.now())
        except (HoldsUnreadable, SpoolError) as problem:
            self._log_trouble(problem)

    def next_job(self) -> Job | None:
        """What is to be deleted or rewritten in the store now."""
        try:
            return self.eraser.next_job()
        except HoldsUnreadable as problem:
            self._log_trouble(problem)
            return None
