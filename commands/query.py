"""`imhearing query`: what was recorded when, as a table with a bar, or the node's answer as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from commands.cli.common import load_settings_for_query, now, print_json
from commands.cli.logs import escaped
from commands.cli.nodes import chosen_via, query_every_node
from commands.cli.times import parse_range
from commands.first_recording import before_first_recording
from commands.show import formats as show
from commands.show.answer_tables import NO_LIMIT, UNCERTAIN, natural_width, print_listing
from commands.show.coverage_bar import GLYPHS, Before, Row, Stretch, cells, legend, rows
from commands.show.node_view import size
from commands.status import print_report
from edge.core.errors import UsageError
from edge.core.ids import EVERY_NODE
from query_service import api
from query_service.api import Question
from query_service.queries.clip import CLIP, ClipAnswer
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.declaration import QueryType
from query_service.queries.protocol import QUERY_TYPES, GoodAnswer, QueryName
from query_service.queries.status import StatusAnswer
from query_service.queries.values import why_incomplete

_COLUMNS: tuple[str, ...] = ("from", "to", "length", "state", "loudest", "where")
_LAYOUTS = (_COLUMNS, ("from", "length", "state", "loudest", "where"), ("from", "length", "state", "where"))
_LEAST_WHERE = 10  # cells


def run(args: argparse.Namespace) -> int:
    via = chosen_via(args.via)
    query_type = _chosen_type(args.type)
    start, end = parse_range(args.start, args.end, args.last, now()) if query_type.has_range else (None, None)
    wants_links = args.json or query_type is CLIP  # of archives, the table has no links
    question: Question = {"type": cast(QueryName, query_type.name), "start": start, "end": end, "urls": wants_links}
    question.update(cast(Question, _chosen_fields(args, query_type)))
    console = Console(highlight=False)
    timeout = max(args.timeout, query_type.least_timeout)
    if args.node == EVERY_NODE:
        _, is_complete = query_every_node(args, via, question, timeout, partial(_print, console=console, utc=args.utc))
        return 0 if is_complete else 1
    settings = load_settings_for_query(args)
    answer = api.query(settings, via, node=args.node, timeout=timeout, **question)
    if args.json:
        print_json(answer)
        return 0
    before = None
    if isinstance(answer, CoverageAnswer):
        before = before_first_recording(answer.intervals[0], settings, via, args)
    _print(answer, console, args.utc, before)
    return 0


def _chosen_fields(args: argparse.Namespace, query_type: QueryType[Any]) -> dict[str, Any]:
    """The options of this type alone. UsageError for one of another type: it would be ignored."""
    chosen = {}
    for name in dict.fromkeys(field for other in QUERY_TYPES.values() for field in other.fields):
        if (value := getattr(args, name)) is None:
            continue
        if name not in query_type.fields:
            types = " or ".join(other.name for other in QUERY_TYPES.values() if name in other.fields)
            raise UsageError(f"--{name.replace('_', '-')}: only for --type {types}, not {query_type.name}")
        chosen[name] = value
    return chosen


def _print(answer: GoodAnswer, console: Console, utc: bool, before: Before | None = None) -> None:
    match answer:
        case CoverageAnswer():
            print_coverage(answer, console, utc, before)
        case StatusAnswer():
            print_report(answer, utc)
        case ClipAnswer():
            _print_clip(answer, console, utc)
        case _:
            print_listing(answer, console, utc)
    if answer.incomplete:
        console.print(f"incomplete: {why_incomplete(answer)} is missing here", soft_wrap=True)


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


def _chosen_type(text: str) -> QueryType[Any]:
    if text not in QUERY_TYPES:
        raise UsageError(f"--type {text[:40]}: unknown query type; there are: {', '.join(QUERY_TYPES)}")
    return QUERY_TYPES[text]


def print_coverage(answer: CoverageAnswer, console: Console, utc: bool, before: Before | None = None) -> None:
    """Bar, legend, table and archives. `before` takes the place of the first gap."""
    start, end = answer.from_, answer.to
    console.print(
        Text(f"{answer.node}  {show.span(start, end, utc)}", style="bold").append(
            f"  {show.length(end - start)}  ({show.zone(start, end, utc)})", style="dim"
        )
    )
    bar = Text()
    intervals: list[Stretch] = [*answer.intervals] if before is None else [before, *answer.intervals[1:]]
    states = cells(intervals, start, end, min(console.width, 100))
    for state in states:
        glyph, style = GLYPHS[state]
        bar.append(glyph, style=style)
    console.print(bar)
    for words, style in legend(intervals, start, end):
        console.print(Text(words, style=style))
    if "mixed" in states:
        console.print(Text(f"{GLYPHS['mixed'][0]} sound is missing in a part of this", style=GLYPHS["mixed"][1]))
    console.print()
    console.print(_fitting_table(answer, rows(intervals), console, utc), soft_wrap=True)
    console.print()
    if any(getattr(interval, "uncertain", False) for interval in answer.intervals):
        console.print(UNCERTAIN)
    for number, (_, place) in enumerate(answer.archives.items(), 1):
        console.print(Text(f"[{number}] {escaped(place.s3)}"), soft_wrap=True)
    if answer.overlapped:
        count = len(answer.overlapped) + answer.overlapped_left_out
        console.print(f"{count} more stretches claim a time that another has: the clock was wrong; see --json")


def _fitting_table(answer: CoverageAnswer, table_rows: list[Row], console: Console, utc: bool) -> Table:
    """Times stay whole: a narrow terminal gets fewer columns. The end of a row is where the next one starts."""
    limit, least, columns = console.width if console.is_terminal else NO_LIMIT, 0, _COLUMNS
    for columns in _LAYOUTS:
        least = natural_width(_table(answer, table_rows, utc, columns[:-1]), console) + _LEAST_WHERE
        if least <= limit:
            break
    table = _table(answer, table_rows, utc, columns)
    table.width = min(natural_width(table, console), max(limit, least))
    return table


def _table(answer: CoverageAnswer, table_rows: list[Row], utc: bool, columns: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in columns:
        justify: Literal["left", "right"] = "right" if title in ("length", "loudest") else "left"
        table.add_column(title, justify=justify, overflow="fold", no_wrap=title != "where")
    with_day = not show.same_day(answer.from_, answer.to, utc)
    numbers = {archive: number for number, archive in enumerate(answer.archives, 1)}
    for row in table_rows:
        texts: dict[str, Text | str] = {
            "from": ("~" if row.uncertain else "") + show.precise(row.start, utc, with_day),
            "to": show.precise(row.end, utc, with_day),
            "length": show.length(row.end - row.start),
            "state": Text(f"{GLYPHS[row.state][0]} {row.state}", style=GLYPHS[row.state][1]),
            "loudest": "" if row.lafmax is None else f"{row.lafmax:.1f} {row.unit}",
            "where": Text(_where(row, numbers)),
        }
        table.add_row(*(texts[title] for title in columns))
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
