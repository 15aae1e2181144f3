"""Whether the next archive may be uploaded now: the upload window and the budget."""

from __future__ import annotations

import logging
from datetime import datetime

from edge.archiver.plan.budget import GIGABYTE, Window, month_cost, month_of
from edge.archiver.plan.read_back import ReadBackPolicy
from edge.catalog import CatalogReader
from edge.configuration.settings import Settings
from edge.core.errors import StoreBlocked, StoreError
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock

log = logging.getLogger(__name__)

_WARN_AT = 0.8  # of the budget


class Allowance:
    """Says why an archive may not be uploaded now, by `[archive] upload_window` and `[budget]`."""

    def __init__(self, settings: Settings, catalog: CatalogReader, clock: KernelClock) -> None:
        self._window = Window.parse(settings.archive.upload_window)
        self._budget, self._read_back = settings.budget, ReadBackPolicy.parse(settings.s3.read_back)
        self._catalog, self._clock = catalog, clock
        self._warned = False

    def obstacle(self, size: int) -> StoreError | None:
        """Why `size` more bytes may not go to the store now; None when they may."""
        now, budget = self._clock.now(), self._budget.budget_cost
        if self._window is not None and not self._window.is_open(datetime.fromtimestamp(now / 1e6).time()):
            return StoreError(f"waiting for the upload window, {self._window}")
        if not (self._has_price and budget):
            return None
        cost = self._cost(now, size)
        if cost > budget:
            return StoreBlocked(
                f"this month's store would cost {cost:.2f}, more than [budget] budget_cost = {budget:g};"
                " raise it, or delete archives",
                "budget",
            )
        near = cost >= _WARN_AT * budget
        if near and not self._warned:
            log.warning("this month's store will cost %.2f of the %g that [budget] allows", cost, budget)
        self._warned = near
        return None

    def month_cost(self) -> float | None:
        """What the store will cost this month if everything stays, with what was read back; None without a price."""
        return round(self._cost(self._clock.now(), 0), 4) if self._has_price else None

    @property
    def _has_price(self) -> bool:
        return bool(self._budget.price_per_gb or self._budget.read_price_per_gb)

    def _cost(self, now: Instant, more: int) -> float:
        """With `more` bytes besides those that are there."""
        records, (first, _) = self._catalog.archive_records, month_of(now)
        stored = month_cost([*records.kept_bytes(first), (more, now)], now, self._budget.price_per_gb)
        if not self._budget.read_price_per_gb:
            return stored
        uploaded = records.uploaded_since(first)
        read = sum(size for key, size in uploaded if self._read_back.includes(key)) + more * self._read_back.share
        return stored + self._budget.read_price_per_gb * read / GIGABYTE
