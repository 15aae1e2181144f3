"""Ranges on hold: no chunk that they touch expires, is dropped or erased. A file beside the catalog, written by people.

It is not part of the catalog, which can be lost and rebuilt; everything that deletes sound reads it just before.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct, field

from edge.catalog.copies import copies_touching
from edge.catalog.file import CatalogFile
from edge.catalog.queries import touching
from edge.catalog.tables import select
from edge.core import wire
from edge.core.errors import ImHearingError, WireError
from edge.core.files import read_placed_file, write_atomically
from edge.core.instant import Instant

_NAME = "holds.json"


class HoldsUnreadable(ImHearingError):
    """It is not known what is on hold, so nothing may be deleted."""


class Hold(Struct, frozen=True):
    """[from, to) is kept, no matter what."""

    from_: Instant = field(name="from")
    to: Instant

    def touches(self, start: Instant, end: Instant) -> bool:
        return self.from_ < end and self.to > start


class Holds(Struct, frozen=True):
    """All holds, in order, without overlaps."""

    holds: tuple[Hold, ...] = ()

    def touch(self, start: Instant, end: Instant) -> bool:
        """Whether any of [start, end) is held."""
        return self.first_touching(start, end) is not None

    def first_touching(self, start: Instant, end: Instant) -> Hold | None:
        return next((hold for hold in self.holds if hold.touches(start, end)), None)

    def added(self, start: Instant, end: Instant) -> Holds:
        joined = [hold for hold in self.holds if hold.from_ <= end and hold.to >= start]
        first, last = min([start, *(h.from_ for h in joined)]), max([end, *(h.to for h in joined)])
        others = [hold for hold in self.holds if hold not in joined]
        return Holds(tuple(sorted([*others, Hold(first, last)], key=lambda hold: hold.from_)))

    def released(self, start: Instant, end: Instant) -> Holds:
        left: list[Hold] = []
        for hold in self.holds:
            pieces = (Hold(hold.from_, min(hold.to, start)), Hold(max(hold.from_, end), hold.to))
            left += [piece for piece in pieces if piece.from_ < piece.to] if hold.touches(start, end) else [hold]
        return Holds(tuple(left))


def read_holds(catalog: Path) -> Holds:
    """What is held, of the node whose catalog is at `catalog`. Raises HoldsUnreadable."""
    path = catalog.with_name(_NAME)
    try:
        return wire.decode(read_placed_file(path), Holds)
    except FileNotFoundError:
        return Holds()
    except (OSError, WireError) as problem:
        raise HoldsUnreadable(
            f"{path}: cannot be read ({problem}), so nothing expires and nothing is erased; fix the file"
        ) from None


def obstacle(file: CatalogFile, start: Instant, end: Instant) -> str | None:
    """Why [start, end) may not be erased: a hold on a part of it, or of a chunk there, as chunks are erased whole.

    Raises HoldsUnreadable, CatalogError.
    """
    holds = read_holds(file.path)
    if (hold := holds.first_touching(start, end)) is not None:
        return f"a part of the range is {explanation(hold, start, end)}"
    if not holds.holds:
        return None
    with file.session() as tables:
        found = [(chunk.chunk_id, chunk.started_at, chunk.ended_at) for chunk, _ in copies_touching(tables, start, end)]
        for hold in holds.holds:
            first, last = int(hold.from_), int(hold.to)
            chunks = touching(tables.Chunk, start, end)
            held = select(
                (c.chunk_id, c.started_at, c.ended_at) for c in chunks if c.started_at < last and c.ended_at > first
            )
            found += [(chunk_id, Instant(began), Instant(ended)) for chunk_id, began, ended in held.order_by(2)[:1]]
    for chunk_id, began, ended in found:
        if (hold := holds.first_touching(began, ended)) is not None:
            return f"{chunk_id}, from {began} to {ended}, is {explanation(hold, began, ended)}; chunks are erased whole"
    return None


def explanation(hold: Hold, start: Instant, end: Instant) -> str:
    """What follows `is` where [start, end) may not be deleted, and how to release it."""
    first, last = max(hold.from_, start), min(hold.to, end)
    release = f"`imhearing hold --release --from {first} --to {last}` releases it"
    return f"on hold (the hold from {hold.from_} to {hold.to}; {release})"


def change_holds(catalog: Path, change: Callable[[Holds], Holds]) -> Holds:
    """Reads, changes and writes; one at a time. Raises HoldsUnreadable, OSError."""
    with catalog.with_name(f".{_NAME}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        changed = change(read_holds(catalog))
        write_for_owner(catalog.with_name(_NAME), wire.encode(changed))
        return changed


def write_for_owner(path: Path, data: bytes) -> None:
    """Atomically, and readable by the service whose folder it is when root writes it."""
    folder = path.parent.stat()
    write_atomically(path, data, owner=(folder.st_uid, folder.st_gid) if os.geteuid() == 0 else None)
