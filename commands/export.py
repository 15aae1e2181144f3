"""`imhearing fetch --export DIR`: saves the chunks of a time range as WAV files for bioacoustics programs."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from commands.cli import logs
from commands.cli.common import load_settings_for_query, now, print_json, print_message, writing
from commands.cli.nodes import chosen_via
from commands.cli.times import parse_range
from commands.show import formats as show
from commands.show.coverage_bar import rows
from commands.show.node_view import size
from commands.show.progress import ProgressLine
from edge.core.errors import UsageError
from edge.core.instant import Instant
from query_service import api
from query_service.sound.export import ExportReport, export_sound


def run(args: argparse.Namespace) -> int:
    """Writes into an existing folder. FetchError, QueryRefused, DoorError."""
    logs.set_up_for_people()
    folder: Path = args.export.expanduser()
    if not folder.is_dir():
        raise UsageError(f"--export {folder}: no such folder; create it first: mkdir -p {folder}")
    start, end = parse_range(args.start, args.end, args.last, now())
    settings, via = load_settings_for_query(args), chosen_via(args.via)
    keys = api.read_identity(args.identity and args.identity.expanduser())
    progress = ProgressLine(sys.stderr.isatty())

    async def export() -> ExportReport:
        async with api.connect(settings, via, node=args.node, timeout=args.timeout) as door:
            return await export_sound(
                door, start, end, folder, settings.node,
                utc=args.utc, on_progress=progress, timeout=args.timeout, keys=keys,
            )  # fmt: skip

    try:
        with writing(f"--export {folder}"):
            report = asyncio.run(export())
    finally:
        progress.end()
    _print_report(report, args.utc)
    if args.json:
        print_json(report)
    return 0


def _zone(first: Instant, last: Instant, utc: bool) -> str:
    return show.zone(first, last, utc).replace("local,", "local time,")


def _print_report(report: ExportReport, utc: bool) -> None:
    first, last = report.files[0], report.files[-1]
    print_message(
        f"{report.folder}: {show.count(len(report.files), 'file')}, {first.path.name} to {last.path.name}"
        f" ({size(report.bytes_read)} from the store); names in {_zone(first.started_at, last.started_at, utc)}"
    )
    for row in rows(report.holes):
        print_message(
            f"  no sound {show.span(row.start, row.end, utc)} ({show.length(row.end - row.start)}): {row.state}"
        )
