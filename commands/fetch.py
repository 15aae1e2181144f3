"""`imhearing fetch`: saves the sound of a time range, exact to the sample, and lists the gaps in it.

As one file, or, with `--export DIR`, as one WAV file per chunk, for bioacoustics programs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from commands.cli.common import load_settings_for_query, now, print_json, print_message, writing
from commands.cli.nodes import chosen_via
from commands.cli.output import can_redraw
from commands.cli.termination import termination_interrupts
from commands.cli.times import parse_range
from commands.first_recording import before_first_recording
from commands.show import formats as show
from commands.show.coverage_bar import Row, Stretch, rows
from commands.show.node_view import size
from edge.configuration.loader import expand_user
from edge.configuration.settings import Settings
from edge.core.errors import FetchError, UsageError
from edge.core.instant import Instant
from query_service import api
from query_service.api import FetchProgress, FetchReport, Via
from query_service.sound.export import ExportReport, export_sound
from query_service.sound.fetch import SoundMissing

_SUFFIXES = (".wav", ".flac", ".opus")
_STATES = {
    "pending": "still on the node only, where `imhearing archive` uploads it",
    "recording": "still being recorded",
    "paused": "paused",
    "future": "in the future",
    "before": "before the node's first recording",
}


def run(args: argparse.Namespace) -> int:
    """FetchError, QueryRefused, DoorError."""
    option, target = ("-o", args.output) if args.export is None else ("--export", args.export)
    if args.export is not None and args.gaps != "silence":
        raise UsageError(f"--gaps {args.gaps}: has no effect with --export, which writes chunks as they are")
    target = expand_user(target)
    _check_target(option, target)
    via = chosen_via(args.via)
    start, end = parse_range(args.start, args.end, args.last, now())
    settings = load_settings_for_query(args)
    if args.export is not None:
        with writing(f"{option} {target}"), _progress(args, settings, via) as progress:
            exported = asyncio.run(_export(args, settings, via, start, end, target, progress))
        _print_export_report(exported, _known_holes(exported, args, settings, via), args.utc)
        report: FetchReport | ExportReport = exported
    else:
        with writing(f"{option} {target}"):
            report, holes = save_sound(args, settings, via, start, end, target)
        _print_report(report)
        print_holes(report, holes, args.gaps, args.utc)
    if args.json:
        print_json(report)
    return 0


def save_sound(
    args: argparse.Namespace, settings: Settings, via: Via, start: Instant, end: Instant, target: Path
) -> tuple[FetchReport, list[Stretch]]:
    """Writes the sound to `target`, showing the progress; what was written, and what has no sound. FetchError,
    QueryRefused, DoorError."""
    with _progress(args, settings, via) as progress:
        report = api.fetch(
            settings, via, start, end, target,
            gaps=args.gaps, on_progress=progress, node=args.node, timeout=args.timeout, identity=_identity(args),
        )  # fmt: skip
    return report, _known_holes(report, args, settings, via)


@contextlib.contextmanager
def _progress(args: argparse.Namespace, settings: Settings, via: Via) -> Iterator[_ProgressLine]:
    progress = _ProgressLine()
    try:
        with termination_interrupts():
            yield progress
    except SoundMissing as problem:
        if before_first_recording(problem.interval, settings, via, args):
            raise FetchError(f"the node's first recording begins later; use --from {problem.interval.to}") from None
        raise
    finally:
        progress.end()


def _known_holes(
    report: FetchReport | ExportReport, args: argparse.Namespace, settings: Settings, via: Via
) -> list[Stretch]:
    """What has no sound; the time before the first recording is no gap."""
    holes: list[Stretch] = [*report.holes]
    if report.holes and (before := before_first_recording(report.holes[0], settings, via, args)):
        holes[0] = before
    return holes


def _check_target(option: str, target: Path) -> None:
    if option == "--export":
        if not target.is_dir():
            raise UsageError(f"--export {target}: no such folder; create it first: mkdir -p {target}")
        return
    if target.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"-o {target}: the name must end in .wav, .flac or .opus")
    if not target.absolute().parent.is_dir():
        raise UsageError(f"-o {target}: no such folder {target.absolute().parent}")


def _identity(args: argparse.Namespace) -> Path | None:
    identity: Path | None = args.identity
    return identity and expand_user(identity)


async def _export(
    args: argparse.Namespace, settings: Settings, via: Via, start: Instant, end: Instant, folder: Path,
    progress: _ProgressLine,
) -> ExportReport:  # fmt: skip
    keys = api.read_identity(_identity(args))
    async with api.connect(settings, via, node=args.node, timeout=args.timeout) as door:
        return await export_sound(
            door, start, end, folder, settings.node,
            utc=args.utc, on_progress=progress, timeout=args.timeout, keys=keys, ca_file=settings.s3.ca_file,
        )  # fmt: skip


class _ProgressLine:
    """The progress, on one line of the terminal, updated up to four times a second; nothing elsewhere."""

    def __init__(self) -> None:
        self._next = 0.0
        self._dirty = False

    def __call__(self, progress: FetchProgress) -> None:
        if not can_redraw(sys.stderr) or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 0.25
        share = progress.done_us / progress.total_us if progress.total_us else 1.0
        sys.stderr.write(f"\r{share:4.0%}  {size(progress.bytes_read)} from the store\x1b[K")
        sys.stderr.flush()
        self._dirty = True

    def end(self) -> None:
        if self._dirty:
            sys.stderr.write("\r\x1b[K")


def _print_report(report: FetchReport) -> None:
    channels = "mono" if report.channels == 1 else f"{report.channels} channels"
    print_message(
        f"{report.path}: {show.length(round(report.frames * 1e6 / report.rate))}, {report.rate} Hz, {channels},"
        f" from {show.count(report.chunks, 'chunk')} ({size(report.bytes_read)} from the store)"
    )


def print_holes(report: FetchReport, holes: Sequence[Stretch], gaps: str, utc: bool) -> None:
    """A line for each stretch without sound."""
    with_day = not show.same_day(report.from_, report.to, utc)
    for row in rows(holes):
        filled = "filled with silence" if gaps == "silence" and row.state != "future" else "skipped"
        span = f"{show.precise(row.start, utc, with_day)} to {show.precise(row.end, utc, with_day)}"
        print_message(f"  no sound {span} ({show.length(row.end - row.start)}): {_why(row)}; {filled}")


def _why(row: Row) -> str:
    state = _STATES.get(row.state, row.state)
    return f"{state}, {row.note}" if row.note else state


def _print_export_report(report: ExportReport, holes: Sequence[Stretch], utc: bool) -> None:
    first, last = report.files[0], report.files[-1]
    zone = show.zone(first.started_at, last.started_at, utc).replace("local,", "local time,")
    print_message(
        f"{report.folder}: {show.count(len(report.files), 'file')}, {first.path.name} to {last.path.name}"
        f" ({size(report.bytes_read)} from the store); names in {zone}"
    )
    for row in rows(holes):
        print_message(
            f"  no sound {show.span(row.start, row.end, utc)} ({show.length(row.end - row.start)}): {_why(row)}"
        )
