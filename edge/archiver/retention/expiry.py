"""`[archive] keep_remote`: which archives have reached their age, and what speaks against deleting them now.

A clock that is wrong once must not cost an archive: its age counts only by a synchronised clock that agrees with the
store's, it is checked again right before the deletion, and only so many expire within a day.
"""

from __future__ import annotations

import logging
import math

from edge.archiver.pacing import LogChanges, Timer
from edge.archiver.retention.age_check import AgeCheck, HeldBack
from edge.archiver.retention.deletions import Deletions
from edge.archiver.retention.policy import oldest_not_held
from edge.catalog import Catalog
from edge.catalog.holds import read_holds
from edge.core.instant import MICROSECONDS, Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import Archive

log = logging.getLogger(__name__)

_DAY = 86_400 * MICROSECONDS
_AGAIN = 600.0  # seconds until the store's clock is compared again
_LEAST_A_DAY = 100  # archives
_SHARE_A_DAY = 0.1  # of all archives: whoever has shortened `keep_remote` by mistake has days to notice


def most_a_day(archives: int, keep_days: float) -> int:
    """How many of so many archives may expire within a day: at least twice what does so when as many are uploaded."""
    return max(_LEAST_A_DAY, math.ceil(archives * max(_SHARE_A_DAY, 2 / keep_days)))


class Expiry:
    """Takes one archive at a time out of the catalog; the worker deletes it, or holds it back."""

    def __init__(self, catalog: Catalog, deletions: Deletions, age: AgeCheck, clock: KernelClock) -> None:
        self._catalog, self._deletions, self._age, self._clock = catalog, deletions, age, clock
        self._timer = Timer(clock)
        self._log_obstacle = LogChanges(log)
        self.obstacle: str | None = None  # why archives that have reached their age are kept

    def expire_next(self) -> bool:
        """Whether an archive has expired: its deletion is pending. Raises CatalogError, HoldsUnreadable."""
        if not self._age.keep_days or not self._timer.is_due():
            return False
        due = self._due()
        obstacle = self._obstacle() if due else None
        if obstacle is not None or not due:
            self._hold(obstacle)
            return False
        log.info("%s has reached its age limit", due[0].archive_id)
        self._deletions.expire_archive(due[0].archive_id)
        return True

    def on_deleted(self) -> None:
        self._hold(None)

    def on_held_back(self, archive: Archive, problem: HeldBack) -> None:
        """Right before its deletion something spoke against it: the archive stays."""
        self._deletions.keep_archive(archive.archive_id, problem.stored_at)
        if problem.is_clock:
            self._timer.start(_AGAIN)
            self._hold(str(problem))
        else:
            log.warning("%s is kept: %s", archive.archive_id, problem)

    def _due(self) -> list[Archive]:
        before = Instant(self._clock.now() - round(self._age.keep_days * _DAY))
        holds = read_holds(self._catalog.path)
        return oldest_not_held(
            lambda limit: self._catalog.archive_records.uploaded_before(before, limit),
            lambda archive: holds.touch(archive.started_at, archive.ended_at),
        )

    def _obstacle(self) -> str | None:
        if not self._clock.synchronised():
            return "the clock is not synchronised"
        kept, _ = self._catalog.archive_records.uploaded_totals()
        expired = self._catalog.archive_records.expired_since(Instant(self._clock.now() - _DAY))
        if expired >= most_a_day(kept + expired, self._age.keep_days):
            return f"{expired} have expired within a day, which is the most; the others follow"
        return None

    def _hold(self, obstacle: str | None) -> None:
        self.obstacle = obstacle
        if obstacle is None:
            self._log_obstacle.clear()
        else:
            self._log_obstacle(HeldBack(f"archives older than keep_remote are kept for now: {obstacle}"))
