"""`imhearing fetch`: the sound of a range as one file, cut to the sample, and what is missing in it."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from commands import logs, show
from commands.common import now, print_json, say, settings_to_ask
from commands.coverage_bar import Row, rows
from commands.node_view import size
from commands.query import chosen_via
from commands.times import parse_range
from edge.errors import UsageError
from query_service import client
from query_service.client import FetchProgress, FetchReport

_ENDINGS = (".wav", ".flac")
_STATES = {"recording": "is being recorded just now", "paused": "paused", "future": "is yet to come"}


def run(args: argparse.Namespace) -> int:
    logs.set_up_for_people()
    output: Path = args.output.expanduser()
    if output.suffix.lower() not in _ENDINGS:
        raise UsageError(f"-o {output}: the name must end in {' or '.join(_ENDINGS)}")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"-o {output}: there is no folder {output.absolute().parent}")
    via = chosen_via(args.via)
    start, end = parse_range(args.start, args.end, args.last, now())
    progress = Progress(sys.stderr.isatty())
    try:
        report = client.fetch(
            settings_to_ask(args), via, start, end, output,
            gaps=args.gaps, on_progress=progress, node=args.node, timeout=args.timeout,
        )  # fmt: skip
    finally:
        progress.end()
    _tell(report, args.gaps, args.utc)
    if args.json:
        print_json(report)
    return 0


class Progress:
    """One line that is written over, four times a second; nothing where nobody looks."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._next = 0.0
        self._dirty = False

    def __call__(self, progress: FetchProgress) -> None:
        if not self._shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 0.25
        share = progress.done_us / progress.total_us if progress.total_us else 1.0
        sys.stderr.write(f"\r{share:4.0%}  {size(progress.bytes_read)} read\x1b[K")
        sys.stderr.flush()
        self._dirty = True

    def end(self) -> None:
        if self._dirty:
            sys.stderr.write("\r\x1b[K")


def _tell(report: FetchReport, gaps: str, utc: bool) -> None:
    channels = "mono" if report.channels == 1 else f"{report.channels} channels"
    say(
        f"{report.path}: {show.length(round(report.frames * 1e6 / report.rate))}, {report.rate} Hz, {channels},"
        f" from {report.chunks} chunks ({size(report.bytes_read)} read)"
    )
    with_day = not show.same_day(report.from_, report.to, utc)
    for row in rows(report.holes):
        filled = "silence in the file" if gaps == "silence" and row.state != "future" else "left out"
        span = f"{show.precise(row.start, utc, with_day)} to {show.precise(row.end, utc, with_day)}"
        say(f"  no sound {span} ({show.length(row.end - row.start)}): {_why(row)}; {filled}")


def _why(row: Row) -> str:
    words = _STATES.get(row.state, row.state)
    return f"{words}, {row.note}" if row.note else words
