"""`imhearing forget`: erase the sound of a range everywhere. Works on the node itself alone, broker or not.

It writes an order beside the catalog; the archiver carries it out, and goes on with it after any interruption.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time

from commands import logs
from commands.common import now, print_json, say, settings
from commands.show import count, precise
from commands.times import parse_range
from edge.catalog import CatalogChunk, CatalogReader
from edge.erasures import ErasureResult, Erasures
from edge.errors import CatalogBusy, ImHearingError, UsageError
from edge.holds import read_holds
from edge.instant import Instant
from edge.settings import Settings

_MOST = 100_000  # chunks counted
_SHOWN = 10


def run(args: argparse.Namespace) -> int:
    """Exit code 0: it is erased; 1: refused, or not done yet when `--timeout` was over."""
    logs.set_up_for_people()
    chosen = settings(args)
    start, end = parse_range(args.start, args.end, args.last, now())
    if end > now():
        raise UsageError("only what was recorded can be erased: --to lies in the future")
    if read_holds(chosen.catalog.db_path).touch(start, end):
        raise ImHearingError(
            "a part of the range is held, so nothing is erased; see `imhearing hold`, and its --release"
        )
    chunks = _chunks(chosen, start, end)
    _show(chunks, args.utc)
    if not args.yes and not _confirmed():
        say("nothing is erased")
        return 1
    erasures = Erasures(chosen.catalog.db_path)
    try:
        order = erasures.give(start, end, now())
    except OSError as problem:
        raise ImHearingError(
            f"{chosen.catalog.db_path.parent}: cannot be written ({problem.strerror}); run this as the node's own user"
        ) from None
    result = _wait(erasures, order.id, args.timeout)
    if args.json:
        print_json(result or {"id": order.id, "state": "open"})
    return _tell(result)


def _chunks(chosen: Settings, start: Instant, end: Instant) -> list[CatalogChunk]:
    """What the catalog knows of the range; a chunk that is being written comes on top."""
    with contextlib.closing(CatalogReader(chosen.catalog.db_path)) as catalog:
        try:
            return [row for row in catalog.chunks_between(start, end, _MOST) if row.gone is None]
        except CatalogBusy:
            return []


def _show(chunks: list[CatalogChunk], utc: bool) -> None:
    if not chunks:
        say("the catalog knows of no sound there; what is being recorded of it now would go")
        return
    first, last = chunks[0].chunk.started_at, max(row.chunk.ended_at for row in chunks)
    archives = len({row.where.archive for row in chunks if row.where})
    say(
        f"{count(len(chunks), 'chunk')} with sound from {precise(first, utc, True)} to {precise(last, utc, True)};"
        f" {count(archives, 'archive')} would be rewritten without them:"
    )
    for row in chunks[:_SHOWN]:
        say(f"  {row.chunk.chunk_id}  {precise(row.chunk.started_at, utc, True)}")
    if len(chunks) > _SHOWN:
        say(f"  and {len(chunks) - _SHOWN} more")


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("this cannot be undone: add --yes where nobody can be asked")
    say("This cannot be undone. Erase? Type yes:")
    return sys.stdin.readline().strip().lower() == "yes"


def _wait(erasures: Erasures, order_id: str, timeout: float) -> ErasureResult | None:
    deadline = time.monotonic() + timeout
    while (result := erasures.result(order_id)) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return result


def _tell(result: ErasureResult | None) -> int:
    if result is None:
        say(
            "not done yet; the order stands, and the archiver carries it out as soon as it runs, reaches the store and"
            " the chunk being written is finished (`imhearing rotate` finishes it now)"
        )
        return 1
    say(f"erased: {count(result.chunks, 'chunk')}" if result.state == "done" else f"refused: {result.reason}")
    return 0 if result.state == "done" else 1
