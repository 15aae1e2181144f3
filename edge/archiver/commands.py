"""The commands that the archiver carries out. Holds and orders to erase are files beside the catalog: they outlive it.

What is deleted for an order passes through `Deletions`, like all else; nothing is deleted here.
"""

from __future__ import annotations

from typing import Any

from edge.archiver.archiver import Archiver
from edge.catalog import Catalog
from edge.catalog.erasures import Erasure, Erasures
from edge.catalog.holds import Holds, change_holds, obstacle, read_holds
from edge.core import wire
from edge.core.errors import WireError
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.messaging.commands import ArchiveNow, ChangeHolds, Forget
from edge.messaging.request_pipeline import Refused, busy

MOST_HOLDS = 500  # what one answer can list
_MOST_ORDERS = 100  # open at once


class ArchiverCommands:
    """One method for each command; in the archiver's thread."""

    def __init__(self, archiver: Archiver, catalog: Catalog, clock: KernelClock) -> None:
        self._archiver, self._catalog, self._clock = archiver, catalog, clock
        self._erasures = Erasures(catalog.path)

    def archive_now(self, _command: ArchiveNow) -> dict[str, Any]:
        archives, chunks = self._archiver.archive_now()
        return {"archives": archives, "chunks": chunks}

    def hold(self, command: ChangeHolds) -> dict[str, Any]:
        if command.from_ is None and command.to is None and not command.release:
            return _listed(read_holds(self._catalog.path))
        start, end = _range(command.from_, command.to)

        def change(held: Holds) -> Holds:
            changed = held.released(start, end) if command.release else held.added(start, end)
            if len(changed.holds) > max(MOST_HOLDS, len(held.holds)):
                raise Refused("bad_request", f"there are {MOST_HOLDS} holds already; release some, or join them")
            return changed

        return _listed(change_holds(self._catalog.path, change))

    def forget(self, command: Forget) -> dict[str, Any]:
        if command.order is not None:
            if command.from_ is not None or command.to is not None:
                raise WireError("order: give either an order or a range", "order")
            return self._progress(command.order)
        start, end = _range(command.from_, command.to)
        if end > self._clock.now():
            raise WireError("to: is after now; the future cannot be erased", "to")
        if (held := obstacle(self._catalog.file, start, end)) is not None:
            raise Refused("on_hold", f"nothing is erased: {held}")
        if len(self._erasures.open()) >= _MOST_ORDERS:
            raise busy()
        return self._open(self._erasures.give(start, end, self._clock.now()))

    def _progress(self, order_id: str) -> dict[str, Any]:
        # first the open ones: an order ends by its result, and is removed then
        order = next((each for each in self._erasures.open() if each.id == order_id), None)
        result = self._erasures.result(order_id)
        if result is not None:
            ended = {"state": result.state, "chunks": result.chunks, "reason": result.reason}
            return {"order": order_id, "remaining": 0, **ended}
        if order is None:
            raise WireError("order: unknown, or more than a hundred others have ended since", "order")
        return self._open(order)

    def _open(self, order: Erasure) -> dict[str, Any]:
        remaining = self._catalog.deletions.count_remaining_between(order.from_, order.to)
        reason = self._archiver.why_erasure_waits(order)
        return {"order": order.id, "remaining": remaining, "state": "open", "chunks": None, "reason": reason}


def _range(start: Instant | None, end: Instant | None) -> tuple[Instant, Instant]:
    if start is None or end is None:
        name = "from" if start is None else "to"
        raise WireError(f"{name}: is missing", name)
    if start >= end:
        raise WireError("from: is not before to", "from")
    return start, end


def _listed(held: Holds) -> dict[str, Any]:
    shown = held.holds[:MOST_HOLDS]
    return {"holds": wire.to_plain(shown), "omitted": len(held.holds) - len(shown)}
