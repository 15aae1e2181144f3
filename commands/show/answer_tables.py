"""The answers to `imhearing query --type sounds` and `--type levels` as tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from commands.cli.logs import escaped
from commands.show import formats as show
from query_service.queries.protocol import LevelsAnswer, SoundsAnswer

_BAR, _LEAST_BAR = 24, 4  # cells of a level's bar
_PADDING = 2
_NO_LIMIT = 1_000
_UNCERTAIN = "~ the node's clock was not synchronised then: these times are uncertain"


def print_sounds(answer: SoundsAnswer, console: Console, utc: bool) -> None:
    """One line a sound, in the order of the answer, with how to hear it."""
    _headline(answer, console, utc, show.count(len(answer.sounds), "sound"))
    if not answer.sounds:
        console.print(
            "no sounds: none was as loud as [thresholds] sound_level, or that is 0, and nothing counts as a sound;"
            " try thresholds.sound_level=-40",
            markup=False,  # it would take the section for a style
        )
        return
    with_day = not show.same_day(answer.from_, answer.to, utc)
    table = _table(("from", "length", "loudest", "average", "state"))
    for sound in answer.sounds:
        table.add_row(
            ("~" if sound.uncertain else "") + show.precise(sound.from_, utc, with_day),
            "lasts" if sound.to is None else show.length(sound.to - sound.from_),
            f"{sound.lafmax:.1f} {sound.unit or ''}",
            f"{sound.laeq:.1f} {sound.unit or ''}",
            sound.state,
        )
    _print_whole(table, console)
    if any(sound.uncertain for sound in answer.sounds):
        console.print(_UNCERTAIN)


def print_levels(answer: LevelsAnswer, console: Console, utc: bool) -> None:
    """One line a step, with a bar of its LAeq."""
    _headline(answer, console, utc, f"steps of {show.length(answer.step * 1_000_000)}")
    if not answer.levels:
        console.print("no levels: nothing is recorded there")
        return
    room = min(_BAR, console.width - _width(_levels(answer, utc, 0), console) - _PADDING)
    _print_whole(_levels(answer, utc, room if room >= _LEAST_BAR else 0), console)
    units = sorted({step.unit or "calibrated and uncalibrated mixed" for step in answer.levels})
    console.print(f"in {' and '.join(units)}; - where it cannot be told for just this step")


def _levels(answer: LevelsAnswer, utc: bool, bar: int) -> Table:
    """`bar`: cells of a full one; 0: without."""
    with_day = not show.same_day(answer.from_, answer.to, utc)
    table = _table(("from", "LAeq", "LAFmax", "L10", "L50", "L90", *([""] if bar else [])))
    for step in answer.levels:
        numbers = [_number(value) for value in (step.laeq, step.lafmax, step.l10, step.l50, step.l90)]
        level = "" if step.laeq is None else show.level_bar(step.laeq, step.unit or "", bar)
        bars = [Text(level, style="green")] if bar else []
        table.add_row(show.precise(step.from_, utc, with_day), *numbers, *bars)
    return table


def _headline(answer: SoundsAnswer | LevelsAnswer, console: Console, utc: bool, what: str) -> None:
    title = f"{escaped(answer.node)}  {show.span(answer.from_, answer.to, utc)}"
    console.print(
        Text(title, style="bold").append(f"  {what}  ({show.zone(answer.from_, answer.to, utc)})", style="dim")
    )
    console.print()


def _table(titles: tuple[str, ...]) -> Table:
    table = Table(box=None, padding=(0, _PADDING, 0, 0))
    for title in titles:
        table.add_column(title, justify="left" if title in {"from", "state", ""} else "right", no_wrap=True)
    return table


def _print_whole(table: Table, console: Console) -> None:
    """With all its cells, also where the terminal is narrower and must wrap its lines."""
    table.width = _width(table, console)
    console.print(table, soft_wrap=True)


def _width(table: Table, console: Console) -> int:
    """What the table takes where nothing limits it."""
    return console.measure(table, options=console.options.update(width=_NO_LIMIT)).maximum


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
