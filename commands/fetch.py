"""`imhearing fetch`: saves the sound of a time range as one file, exact to the sample, and lists the gaps in it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from commands import export
from commands.cli import logs
from commands.cli.common import load_settings_for_query, now, print_json, print_message, writing
from commands.cli.nodes import chosen_via
from commands.cli.times import parse_range
from commands.show import formats as show
from commands.show.coverage_bar import Row, rows
from commands.show.node_view import size
from commands.show.progress import ProgressLine
from edge.core.errors import UsageError
from query_service import api
from query_service.api import FetchReport

_SUFFIXES = (".wav", ".flac", ".opus")
_STATES = {"recording": "still being recorded", "paused": "paused", "future": "in the future"}


def run(args: argparse.Namespace) -> int:
    if args.export is not None:
        return export.run(args)
    logs.set_up_for_people()
    output: Path = args.output.expanduser()
    if output.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"-o {output}: the name must end in .wav, .flac or .opus")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"-o {output}: no such folder {output.absolute().parent}")
    via = chosen_via(args.via)
    start, end = parse_range(args.start, args.end, args.last, now())
    progress = ProgressLine(sys.stderr.isatty())
    try:
        with writing(f"-o {output}"):
            report = api.fetch(
                load_settings_for_query(args), via, start, end, output,
                gaps=args.gaps, on_progress=progress, node=args.node, timeout=args.timeout,
                identity=args.identity and args.identity.expanduser(),
            )  # fmt: skip
    finally:
        progress.end()
    _print_report(report, args.gaps, args.utc)
    if args.json:
        print_json(report)
    return 0


def _print_report(report: FetchReport, gaps: str, utc: bool) -> None:
    channels = "mono" if report.channels == 1 else f"{report.channels} channels"
    print_message(
        f"{report.path}: {show.length(round(report.frames * 1e6 / report.rate))}, {report.rate} Hz, {channels},"
        f" from {show.count(report.chunks, 'chunk')} ({size(report.bytes_read)} from the store)"
    )
    with_day = not show.same_day(report.from_, report.to, utc)
    for row in rows(report.holes):
        filled = "filled with silence" if gaps == "silence" and row.state != "future" else "skipped"
        span = f"{show.precise(row.start, utc, with_day)} to {show.precise(row.end, utc, with_day)}"
        print_message(f"  no sound {span} ({show.length(row.end - row.start)}): {_why(row)}; {filled}")


def _why(row: Row) -> str:
    state = _STATES.get(row.state, row.state)
    return f"{state}, {row.note}" if row.note else state
