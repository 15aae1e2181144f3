"""`imhearing hold` and `forget`: protect or erase the sound of a time range, on the node itself, without a broker."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from commands.cli.common import load_settings_for_query, now, print_json, print_message
from commands.cli.times import parse_range
from commands.show.formats import count, precise
from edge.catalog import CatalogChunk, CatalogReader
from edge.catalog.erasures import ErasureResult, Erasures
from edge.catalog.holds import change_holds, explanation, obstacle, read_holds
from edge.configuration.settings import Settings
from edge.core.errors import CatalogBusy, ImHearingError, UsageError
from edge.core.instant import Instant
from edge.core.values import Archive

_MAX_COUNTED = 100_000  # chunks
_MAX_LISTED = 10


class ErasurePreview(NamedTuple):
    """What would be erased: `chunks`; `emptied` archives lose all their chunks, `rewritten` ones some of them."""

    chunks: list[CatalogChunk]
    emptied: int
    rewritten: int


def hold(args: argparse.Namespace) -> int:
    """`imhearing hold`: protects a time range from deletion; without a range, lists the holds."""
    catalog = load_settings_for_query(args).catalog.db_path
    has_range = any((args.start, args.end, args.last))
    if args.release and not has_range:
        raise UsageError("--release needs a range; use --from and --to as shown by `imhearing hold`")
    if not has_range:
        holds = read_holds(catalog)
    else:
        start, end = parse_range(args.start, args.end, args.last, now())
        with _writing(catalog.parent):
            holds = change_holds(
                catalog, lambda held: held.released(start, end) if args.release else held.added(start, end)
            )
    if args.json:
        print_json(holds)
        return 0
    for held in holds.holds:
        print(f"held: {precise(held.from_, args.utc, True)} to {precise(held.to, args.utc, True)}")
    if not holds.holds:
        print_message("no holds")
    return 0


def forget(args: argparse.Namespace) -> int:
    """`imhearing forget`. Exit code 0 once erased; 1 if refused, or not done within `--timeout`.

    It writes an order beside the catalog; the archiver carries it out, and resumes it after any interruption.
    """
    settings = load_settings_for_query(args)
    start, end = parse_range(args.start, args.end, args.last, now())
    if end > now():
        raise UsageError("cannot erase the future: --to must not be after now")
    if held := _held(settings.catalog.db_path, start, end):
        raise ImHearingError(f"nothing was erased: {held}")
    _print_preview(_preview(settings, start, end), args.utc)
    if not args.yes and not _confirmed():
        print_message("nothing was erased")
        return 1
    erasures = Erasures(settings.catalog.db_path)
    with _writing(settings.catalog.db_path.parent):
        order = erasures.give(start, end, now())
    result = _wait(erasures, order.id, args.timeout)
    if args.json:
        print_json(result or {"id": order.id, "state": "open"})
    return _print_result(result)


def _held(path: Path, start: Instant, end: Instant) -> str | None:
    """What keeps the range from being erased. Without a catalog, only holds in the range itself; the archiver checks
    the rest."""
    with contextlib.closing(CatalogReader(path)) as catalog:
        try:
            return obstacle(catalog.file, start, end)
        except CatalogBusy:
            hold = read_holds(path).first_touching(start, end)
            return None if hold is None else f"a part of the range is {explanation(hold, start, end)}"


def _preview(settings: Settings, start: Instant, end: Instant) -> ErasurePreview:
    """What the catalog has in the range; a chunk still being written is not included."""
    with contextlib.closing(CatalogReader(settings.catalog.db_path)) as catalog:
        try:
            chunks = [row for row in catalog.chunks_between(start, end, _MAX_COUNTED) if row.gone is None]
            archives = catalog.archives({row.where.archive for row in chunks if row.where})
            emptied = sum(_is_emptied(catalog, archive, start, end) for archive in archives.values())
        except CatalogBusy:
            return ErasurePreview([], 0, 0)
    return ErasurePreview(chunks, emptied, len(archives) - emptied)


def _is_emptied(catalog: CatalogReader, archive: Archive, start: Instant, end: Instant) -> bool:
    """Whether every chunk left in `archive` overlaps [start, end)."""
    if archive.started_at >= start and archive.ended_at <= end:  # the usual case, without reading its chunks
        return True
    remaining = (row.chunk for row in catalog.archive_records.members(archive.archive_id) if row.gone is None)
    return all(chunk.started_at < end and chunk.ended_at > start for chunk in remaining)


def _print_preview(preview: ErasurePreview, utc: bool) -> None:
    chunks = preview.chunks
    if not chunks:
        print_message("the catalog has no sound in this range; any that it does not list yet would be erased")
        return
    first, last = chunks[0].chunk.started_at, max(row.chunk.ended_at for row in chunks)
    print_message(
        f"{count(len(chunks), 'chunk')} with sound from {precise(first, utc, True)} to {precise(last, utc, True)};"
        f" {_affected_archives(preview)}:"
    )
    for row in chunks[:_MAX_LISTED]:
        print_message(f"  {row.chunk.chunk_id}  {precise(row.chunk.started_at, utc, True)}")
    if len(chunks) > _MAX_LISTED:
        print_message(f"  and {len(chunks) - _MAX_LISTED} more")


def _affected_archives(preview: ErasurePreview) -> str:
    if not preview.emptied and not preview.rewritten:
        return "not archived yet"
    if not preview.emptied:
        return f"{count(preview.rewritten, 'archive')} would be rewritten"
    text = f"{count(preview.emptied, 'archive')} would be emptied"
    return f"{text}, {preview.rewritten} rewritten" if preview.rewritten else text


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("this cannot be undone: without a terminal, confirm with --yes")
    print_message("This cannot be undone. Type yes to erase:")
    return sys.stdin.readline().strip().lower() == "yes"


def _wait(erasures: Erasures, order_id: str, timeout: float) -> ErasureResult | None:
    deadline = time.monotonic() + timeout
    while (result := erasures.result(order_id)) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return result


def _print_result(result: ErasureResult | None) -> int:
    if result is None:
        print_message(
            "not done yet; the archiver will carry out the order once it is running, can reach the store, and the"
            " current chunk is finished (`imhearing rotate` finishes it now)"
        )
        return 1
    if result.state == "refused":
        print_message(f"refused: {result.reason}")
        return 1
    reservation = f"; {result.reason}" if result.reason else ""
    print_message(f"erased: {count(result.chunks, 'chunk')}{reservation}")
    return 0


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise ImHearingError(f"{folder}: cannot be written ({problem.strerror}); run this as the node's user") from None
