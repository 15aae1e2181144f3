"""`imhearing query`: what was recorded when, as a table with a bar, or the node's answer as JSON."""

from __future__ import annotations

import argparse
from typing import cast, get_args

from rich.console import Console
from rich.table import Table
from rich.text import Text

from commands.cli import logs
from commands.cli.asking import check_fleet, chosen_via, tell_missing
from commands.cli.common import load_settings_for_query, now, print_json
from commands.cli.logs import escaped
from commands.cli.times import parse_range
from commands.show import formats as show
from commands.show.answer_tables import print_levels, print_sounds
from commands.show.coverage_bar import GLYPHS, Row, cells, legend, rows
from commands.show.node_view import size
from commands.status import print_report
from edge.core.errors import UsageError
from edge.core.ids import EVERY_NODE
from query_service.client import client
from query_service.client.client import Question, Via
from query_service.queries.protocol import (
    ClipAnswer,
    CoverageAnswer,
    GoodAnswer,
    LevelsAnswer,
    QuestionType,
    SoundsAnswer,
    StatusAnswer,
)

_CLIP_SECONDS = 60.0


def run(args: argparse.Namespace) -> int:
    logs.set_up_for_people()
    via = chosen_via(args.via)
    kind = _chosen_type(args.type)
    start, end = (None, None) if kind == "status" else parse_range(args.start, args.end, args.last, now())
    question: Question = {
        "type": kind, "start": start, "end": end, "urls": args.json,
        "order": args.order, "min_level": args.min_level, "step": args.step,
    }  # fmt: skip
    patience = _patience(args, kind)
    if args.node == EVERY_NODE:
        return _every_node(args, via, question, patience)
    answer = client.query(load_settings_for_query(args), via, node=args.node, timeout=patience, **question)
    if args.json:
        print_json(answer)
    else:
        _print(answer, Console(highlight=False), args.utc)
    return 0


def _every_node(args: argparse.Namespace, via: Via, question: Question, patience: float) -> int:
    """1 where a node refused or stayed silent: then the answer is not whole."""
    check_fleet(via)
    fleet = client.query_all(load_settings_for_query(args), timeout=patience, **question)
    if args.json:
        print_json(fleet)
    else:
        console = Console(highlight=False)
        for answer in fleet.answers.values():
            _print(answer, console, args.utc)
            console.print()
    return 0 if tell_missing(fleet, patience) else 1


def _patience(args: argparse.Namespace, kind: QuestionType) -> float:
    """A clip is made first, which takes its time."""
    seconds: float = args.timeout
    return max(seconds, _CLIP_SECONDS) if kind == "clip" else seconds


def _print(answer: GoodAnswer, console: Console, utc: bool) -> None:
    match answer:
        case CoverageAnswer():
            print_coverage(answer, console, utc)
        case SoundsAnswer():
            print_sounds(answer, console, utc)
        case LevelsAnswer():
            print_levels(answer, console, utc)
        case StatusAnswer():
            print_report(answer, utc)
        case ClipAnswer():
            _print_clip(answer, console, utc)


def _print_clip(answer: ClipAnswer, console: Console, utc: bool) -> None:
    clip = answer.clip
    console.print(
        f"{answer.node}  {show.span(answer.from_, answer.to, utc)}  ({show.zone(answer.from_, answer.to, utc)})"
    )
    length = show.length(round(clip.frames * 1e6 / clip.rate))
    console.print(f"{length}, {clip.rate} Hz, {size(clip.bytes)}: {escaped(clip.s3)}", soft_wrap=True)
    for row in rows(answer.holes):
        span = f"{show.precise(row.start, utc)} to {show.precise(row.end, utc)}"
        console.print(f"silent {span}: {row.state}{f', {row.note}' if row.note else ''}")
    if clip.url:
        console.print(escaped(clip.url), soft_wrap=True)


def _chosen_type(text: str) -> QuestionType:
    if text not in get_args(QuestionType):
        raise UsageError(
            f"--type {text[:40]}: there is no such question; there are: {', '.join(get_args(QuestionType))}"
        )
    return cast(QuestionType, text)


def print_coverage(answer: CoverageAnswer, console: Console, utc: bool) -> None:
    """Bar, legend, table and archives."""
    start, end = answer.from_, answer.to
    console.print(
        Text(f"{answer.node}  {show.span(start, end, utc)}", style="bold").append(
            f"  {show.length(end - start)}  ({show.zone(start, end, utc)})", style="dim"
        )
    )
    bar = Text()
    states = cells(answer.intervals, start, end, min(console.width, 100))
    for state in states:
        glyph, style = GLYPHS[state]
        bar.append(glyph, style=style)
    console.print(bar)
    for words, style in legend(answer.intervals, start, end):
        console.print(Text(words, style=style))
    if "mixed" in states:
        console.print(Text(f"{GLYPHS['mixed'][0]} sound is missing in a part of this", style=GLYPHS["mixed"][1]))
    console.print()
    console.print(_table(answer, utc))
    console.print()
    if any(getattr(interval, "uncertain", False) for interval in answer.intervals):
        console.print("~ the node's clock was not synchronised then: these times are uncertain")
    for number, (_, place) in enumerate(answer.archives.items(), 1):
        console.print(Text(f"[{number}] {escaped(place.s3)}"), soft_wrap=True)
    if answer.overlapped:
        count = len(answer.overlapped) + answer.overlapped_left_out
        console.print(f"{count} more stretches claim a time that another has: the clock was wrong; see --json")


def _table(answer: CoverageAnswer, utc: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("from", "to", "length", "state", "loudest", "where"):
        table.add_column(title, justify="right" if title in ("length", "loudest") else "left", overflow="fold")
    with_day = not show.same_day(answer.from_, answer.to, utc)
    numbers = {archive: number for number, archive in enumerate(answer.archives, 1)}
    for row in rows(answer.intervals):
        table.add_row(
            ("~" if row.uncertain else "") + show.precise(row.start, utc, with_day),
            show.precise(row.end, utc, with_day),
            show.length(row.end - row.start),
            Text(f"{GLYPHS[row.state][0]} {row.state}", style=GLYPHS[row.state][1]),
            "" if row.lafmax is None else f"{row.lafmax:.1f} {row.unit}",
            Text(_where(row, numbers)),
        )
    return table


def _where(row: Row, numbers: dict[str, int]) -> str:
    words = []
    if row.chunks:
        words.append("1 chunk" if row.chunks == 1 else f"{row.chunks} chunks")
    if row.archive is not None:
        words.append(f"[{numbers[row.archive]}]" if row.archive in numbers else row.archive)
    if row.note:
        words.append(row.note)
    return " ".join(words)
