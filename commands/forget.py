"""`imhearing forget`: erase the sound of a range everywhere. Works on the node itself alone, broker or not.

It writes an order beside the catalog; the archiver carries it out, and goes on with it after any interruption.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from typing import NamedTuple

from commands.cli import logs
from commands.cli.common import now, print_json, say, settings_to_ask
from commands.cli.times import parse_range
from commands.show.formats import count, precise
from edge.catalog import CatalogChunk, CatalogReader
from edge.catalog.erasures import ErasureResult, Erasures
from edge.catalog.holds import read_holds
from edge.configuration.settings import Settings
from edge.core.errors import CatalogBusy, ImHearingError, UsageError
from edge.core.instant import Instant
from edge.core.values import Archive

_MOST = 100_000  # chunks counted
_SHOWN = 10


class Going(NamedTuple):
    """What would be erased: `chunks`, all that `emptied` archives hold, and a part of what `rewritten` ones do."""

    chunks: list[CatalogChunk]
    emptied: int
    rewritten: int


def run(args: argparse.Namespace) -> int:
    """Exit code 0: it is erased; 1: refused, or not done yet when `--timeout` was over."""
    logs.set_up_for_people()
    chosen = settings_to_ask(args)
    start, end = parse_range(args.start, args.end, args.last, now())
    if end > now():
        raise UsageError("only what was recorded can be erased: --to lies in the future")
    if read_holds(chosen.catalog.db_path).touch(start, end):
        raise ImHearingError(
            "a part of the range is held, so nothing is erased; see `imhearing hold`, and its --release"
        )
    _show(_what_goes(chosen, start, end), args.utc)
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


def _what_goes(chosen: Settings, start: Instant, end: Instant) -> Going:
    """What the catalog knows of the range; a chunk that is being written comes on top."""
    with contextlib.closing(CatalogReader(chosen.catalog.db_path)) as catalog:
        try:
            chunks = [row for row in catalog.chunks_between(start, end, _MOST) if row.gone is None]
            archives = catalog.archives({row.where.archive for row in chunks if row.where})
            emptied = sum(_all_goes(catalog, archive, start, end) for archive in archives.values())
        except CatalogBusy:
            return Going([], 0, 0)
    return Going(chunks, emptied, len(archives) - emptied)


def _all_goes(catalog: CatalogReader, archive: Archive, start: Instant, end: Instant) -> bool:
    """Whether each chunk that `archive` still holds has sound in [start, end)."""
    if archive.started_at >= start and archive.ended_at <= end:  # most of them: one look at all is enough
        return True
    held = (row.chunk for row in catalog.archive_records.members(archive.archive_id) if row.gone is None)
    return all(chunk.started_at < end and chunk.ended_at > start for chunk in held)


def _show(going: Going, utc: bool) -> None:
    chunks = going.chunks
    if not chunks:
        say("the catalog knows of no sound there; what it does not know of yet would go")
        return
    first, last = chunks[0].chunk.started_at, max(row.chunk.ended_at for row in chunks)
    say(
        f"{count(len(chunks), 'chunk')} with sound from {precise(first, utc, True)} to {precise(last, utc, True)};"
        f" {_of_archives(going)}:"
    )
    for row in chunks[:_SHOWN]:
        say(f"  {row.chunk.chunk_id}  {precise(row.chunk.started_at, utc, True)}")
    if len(chunks) > _SHOWN:
        say(f"  and {len(chunks) - _SHOWN} more")


def _of_archives(going: Going) -> str:
    them = "it" if len(going.chunks) == 1 else "them"
    if not going.emptied and not going.rewritten:
        return f"no archive has {them} yet"
    if not going.emptied:
        return f"{count(going.rewritten, 'archive')} would be rewritten without {them}"
    text = f"{count(going.emptied, 'archive')} would be left without sound"
    return f"{text}, {going.rewritten} rewritten without {them}" if going.rewritten else text


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
