"""Faults of the catalog's file: deleted, truncated, garbled, or an old copy; under the archiver or while it is dead."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import time
from pathlib import Path

from tests.campaigns.node.faults.effects import Effect
from tests.campaigns.node.node import Node
from tests.campaigns.node.plan import Fault

_DEAD_SECONDS = 1.5


def catalog(node: Node, fault: Fault) -> Effect:
    """`target` is what becomes of it; with the value `dead`, the archiver is killed first.

    When the life comes to rest, it is rebuilt, as the log says to do.
    """
    path, copy = node.data / "catalog.db", node.folder / f"catalog-{fault.at}.db"
    killed = []
    try:
        if fault.target == "old":
            shutil.copy(path, copy)
            time.sleep(fault.seconds)
        if fault.value == "dead":
            node.processes["archiver"].hold_back(_DEAD_SECONDS)
            killed = ["archiver"] if node.processes["archiver"].kill() else []
        _damage(path, fault.target, copy)
    except OSError:
        return {"killed": killed} if killed else None
    node.catalog_lost = True
    return {"killed": killed, "lost": True}


def _damage(path: Path, how: str, copy: Path) -> None:
    match how:
        case "deleted":
            path.unlink()
            _drop_journal(path)
        case "truncated":
            os.truncate(path, path.stat().st_size // 2)
        case "garbled":
            dice = random.Random(path.stat().st_size)
            with path.open("r+b") as file:
                for _ in range(40):
                    file.seek(dice.randrange(path.stat().st_size))
                    file.write(dice.randbytes(200))
        case _:
            fresh = path.with_name("catalog.db.copied")
            shutil.copy(copy, fresh)
            fresh.replace(path)
            _drop_journal(path)


def _drop_journal(path: Path) -> None:
    """It belongs to the file that is gone."""
    with contextlib.suppress(OSError):
        path.with_name(f"{path.name}-journal").unlink()
