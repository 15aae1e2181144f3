"""Orders to erase a range, as files beside the catalog: giving one needs neither broker nor archiver.

An order stays until the archiver has carried it out completely, so that it survives any crash.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from pathlib import Path
from typing import Literal

from msgspec import Struct, field

from edge.catalog.holds import write_for_owner
from edge.core import wire
from edge.core.errors import WireError
from edge.core.files import read_placed_file, remove_abandoned, sync_folder
from edge.core.instant import Instant

log = logging.getLogger(__name__)

_ORDER = re.compile(r"erase-([0-9a-f]{16})\.json", re.ASCII)
_RESULT = re.compile(r"result-([0-9a-f]{16})\.json", re.ASCII)
_KEPT_RESULTS = 100


class Erasure(Struct, frozen=True):
    """Erase what has sound in [from, to)."""

    id: str
    from_: Instant = field(name="from")
    to: Instant
    at: Instant

    def touches(self, start: Instant, end: Instant) -> bool:
        return self.from_ < end and self.to > start


class ErasureResult(Struct, frozen=True):
    """How an order ended; `chunks` were erased by it, `archives` rewritten.

    `reason`: why it was refused, or what is left where the archiver cannot reach.
    """

    id: str
    state: Literal["done", "refused"]
    reason: str | None = None
    chunks: int = 0
    archives: int = 0


class Erasures:
    """The folder of orders of the node whose catalog is at `catalog`."""

    def __init__(self, catalog: Path) -> None:
        self._folder = catalog.with_name("orders")
        self._complained: set[str] = set()

    def give(self, start: Instant, end: Instant, now: Instant) -> Erasure:
        """Gives an order; it is on disk when this returns. Raises OSError."""
        order = Erasure(secrets.token_hex(8), start, end, now)
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o770)
            owner = self._folder.parent.stat()
            if os.geteuid() == 0:
                os.chown(self._folder, owner.st_uid, owner.st_gid)
            sync_folder(self._folder.parent)
        write_for_owner(self._order(order.id), wire.encode(order))
        return order

    def open(self) -> list[Erasure]:
        """Every open order, the oldest first. Raises OSError.

        Other files are left alone; an order that cannot be read or is damaged is logged once.
        """
        if not self._folder.is_dir():
            return []
        found = []
        for path in self._folder.iterdir():
            match = _ORDER.fullmatch(path.name)
            if match is None:
                continue
            try:
                found.append(_read(path, match[1]))
            except FileNotFoundError:  # it ended between listing and reading
                continue
            except (OSError, WireError) as problem:
                self._complain(path, problem)
        return sorted(found, key=lambda order: (order.at, order.id))

    def end(self, result: ErasureResult) -> None:
        """Records how an order ended, then removes it."""
        write_for_owner(self._result(result.id), wire.encode(result))
        self._order(result.id).unlink(missing_ok=True)
        sync_folder(self._folder)
        results = sorted(self._folder.glob("result-*.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in results[:-_KEPT_RESULTS]:
            path.unlink(missing_ok=True)

    def result(self, order_id: str) -> ErasureResult | None:
        """How an order ended; None while it has not."""
        try:
            return wire.decode(read_placed_file(self._result(order_id)), ErasureResult)
        except FileNotFoundError:
            return None

    def ended(self) -> frozenset[str]:
        """The IDs of the last orders that ended."""
        return frozenset(
            match[1] for path in self._folder.glob("result-*.json") if (match := _RESULT.fullmatch(path.name))
        )

    def _complain(self, path: Path, problem: Exception) -> None:
        if path.name not in self._complained:
            log.error(
                "%s: cannot carry out this order to erase (%s); remove the file and give the order again", path, problem
            )
        self._complained.add(path.name)

    def _order(self, order_id: str) -> Path:
        return self._folder / f"erase-{order_id}.json"

    def _result(self, order_id: str) -> Path:
        return self._folder / f"result-{order_id}.json"


def remove_abandoned_beside(catalog: Path) -> None:
    """Removes what writers that died left of holds, orders, and the node's ID."""
    remove_abandoned(catalog.parent, r"holds\.json|instance")
    remove_abandoned(catalog.with_name("orders"), r"(?:erase|result)-[0-9a-f]{16}\.json")


def _read(path: Path, order_id: str) -> Erasure:
    """Raises OSError, WireError."""
    owners = (0, path.parent.stat().st_uid)  # the archiver's folder
    order = wire.decode(read_placed_file(path, owners=owners), Erasure)
    if order.id != order_id:
        raise WireError("id: does not match the file's name", "id")
    if order.from_ >= order.to:
        raise WireError("from: is not before to", "from")
    return order
