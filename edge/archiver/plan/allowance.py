"""Whether the next archive may be uploaded now: the upload window and the budget."""

from __future__ import annotations

import logging
from datetime import datetime

from edge.archiver.plan.budget import Window, month_cost, month_of
from edge.catalog import CatalogReader
from edge.configuration.settings import Settings
from edge.core.errors import StoreBlocked, StoreError
from edge.core.kernel_clock import KernelClock

log = logging.getLogger(__name__)

_WARN_AT = 0.8  # of the budget


class Allowance:
    """Says why an archive may not be uploaded now, by `[archive] upload_window` and `[budget]`."""

    def __init__(self, settings: Settings, catalog: CatalogReader, clock: KernelClock) -> None:
        self._window = Window.parse(settings.archive.upload_window)
        self._price, self._budget = settings.budget.price_per_gb, settings.budget.budget_cost
        self._catalog, self._clock = catalog, clock
        self._warned = False

    def obstacle(self, size: int) -> StoreError | None:
        """Why `size` more bytes may not go to the store now; None when they may."""
        now = self._clock.now()
        if self._window is not None and not self._window.is_open(datetime.fromtimestamp(now / 1e6).time()):
            return StoreError(f"waiting for the upload window, {self._window}")
        if not (self._price and self._budget):
            return None
        stored = [*self._catalog.archive_records.kept_bytes(month_of(now)[0]), (size, now)]
        cost = month_cost(stored, now, self._price)
        if cost > self._budget:
            return StoreBlocked(
                f"this month's store would cost {cost:.2f}, more than [budget] budget_cost = {self._budget:g};"
                " raise it, or delete archives",
                "budget",
            )
        near = cost >= _WARN_AT * self._budget
        if near and not self._warned:
            log.warning("this month's store will cost %.2f of the %g that [budget] allows", cost, self._budget)
        self._warned = near
        return None

    def month_cost(self) -> float | None:
        """What the store will cost this month if everything stays; None without a price."""
        if not self._price:
            return None
        now = self._clock.now()
        return round(month_cost(self._catalog.archive_records.kept_bytes(month_of(now)[0]), now, self._price), 4)
