"""Answers that their query type declares as a table, as `sounds` and `levels` do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from commands.cli.logs import escaped
from commands.show import formats as show
from edge.core.instant import Instant
from query_service.queries.declaration import Bar, Cell, Listing
from query_service.queries.protocol import QUERY_TYPES, GoodAnswer

UNCERTAIN = "~ the node's clock was not synchronised then: these times are uncertain"

NO_LIMIT = 1_000  # cells: wider than any table

_BAR, _LEAST_BAR = 24, 4  # cells of a level's bar
_PADDING = 2


def print_listing(answer: GoodAnswer, console: Console, utc: bool) -> None:
    """One line a row, in the order of the answer. Where a column holds bars, they take the room that is left."""
    listing = QUERY_TYPES[answer.type].listing
    if listing is None:
        raise NotImplementedError(f"queries of type {answer.type} declare no table")
    _headline(answer, listing.summary(answer), console, utc)
    rows = listing.rows(answer)
    if not rows:
        console.print(listing.empty, markup=False)  # it would take the name of a section for a style
        return
    room = min(_BAR, console.width - natural_width(_table(answer, listing, utc, 0), console) - _PADDING)
    table = _table(answer, listing, utc, room if room >= _LEAST_BAR else 0)
    table.width = natural_width(table, console)  # with all its cells, also where a narrow terminal must wrap its lines
    console.print(table, soft_wrap=True)
    if any(_is_uncertain(row) for row in rows):
        console.print(UNCERTAIN)
    if listing.note is not None:
        console.print(listing.note(answer))


def _headline(answer: Any, summary: str, console: Console, utc: bool) -> None:
    if answer.from_ is None:
        return
    title = f"{escaped(answer.node)}  {show.span(answer.from_, answer.to, utc)}"
    console.print(
        Text(title, style="bold").append(f"  {summary}  ({show.zone(answer.from_, answer.to, utc)})", style="dim")
    )
    console.print()


def _table(answer: Any, listing: Listing[Any], utc: bool, bar: int) -> Table:
    """`bar`: cells of a full one; 0: without."""
    with_day = not show.same_day(answer.from_, answer.to, utc)
    table = Table(box=None, padding=(0, _PADDING, 0, 0))
    columns = [column for column in listing.columns if bar or not column.is_bar]
    for column in columns:
        table.add_column(column.title, justify="right" if column.is_number else "left", no_wrap=True)
    for row in listing.rows(answer):
        mark = "~" if _is_uncertain(row) else ""
        cells = [_text(column.cell(row), utc, with_day, bar, mark) for column in columns]
        table.add_row(*cells)
    return table


def _text(cell: Cell, utc: bool, with_day: bool, bar: int, mark: str) -> Text:
    match cell:
        case Bar():
            return Text(show.level_bar(cell.level, cell.unit, bar), style="green")
        case Instant():
            return Text(mark + show.precise(cell, utc, with_day))
        case timedelta():
            return Text(show.length(round(cell.total_seconds() * 1e6)))
        case str():
            return Text(cell)
        case None:
            return Text("-")
        case _:
            return Text(f"{cell:.1f}")


def _is_uncertain(row: Any) -> bool:
    return bool(getattr(row, "uncertain", False))


def natural_width(table: Table, console: Console) -> int:
    """How wide a table is if nothing limits it."""
    return console.measure(table, options=console.options.update(width=NO_LIMIT)).maximum
