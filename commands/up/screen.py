"""The screen of `imhearing up` on a terminal: the node's state in lines that fit it, from 80 x 24 up."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from commands.cli.logs import escaped
from commands.show.formats import clock, level_bar, when
from commands.show.node_view import NodeView, describe_recorder, is_synthetic, size
from commands.up.display import Display, NodeSnapshot
from edge.core.instant import Instant
from edge.messaging.events import ArchiverState, Event

_LEVEL_FRESH = 5_000_000  # µs after which a level is outdated
_NO_MICROPHONE = "NOT A MICROPHONE"  # beside the state, or on a separate line if there is no room
_STATE_STYLES = {"recording": "bold green", "paused": "bold yellow"}


class ScreenDisplay(Display):
    """A full screen, redrawn every second and soon after events; restores the terminal at the end."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._next = 0.0

    def begin(self) -> None:
        self._live.start()

    def end(self) -> None:
        self._live.stop()

    def problem(self, text: str) -> None:  # noqa: ARG002 -- the snapshot has it
        self._next = 0.0

    def event(self, event: Event, text: str | None) -> None:  # noqa: ARG002 -- the view has it
        if not isinstance(event, ArchiverState):
            self._next = min(self._next, time.monotonic() + 0.1)

    def refresh(self, view: NodeView, snapshot: Callable[[], NodeSnapshot]) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + 1.0
        width, height = self._live.console.size
        lines = draw(view, snapshot(), Instant.from_seconds(time.time()), width, height)
        self._live.update(Group(*lines), refresh=True)


def draw(view: NodeView, snapshot: NodeSnapshot, now: Instant, width: int, height: int) -> list[Text]:
    """At most `height` lines of at most `width` cells each."""
    top = [_headline(snapshot, now), *_state(view, snapshot, now, width)]
    bottom = [_rule("in a second terminal", width)]
    bottom += [Text(line, style="cyan") for command in snapshot.commands for line in pasteable(command, width - 2)]
    room = height - len(top) - len(bottom)
    problems = [Text(f"! {problem}", style="red") for problem in snapshot.problems][-max(1, min(4, room // 3)) :]
    room -= len(problems)
    notes = [Text(f"  {note}", style="dim") for note in snapshot.notes] if room >= len(snapshot.notes) + 3 else []
    room -= len(notes)
    recent = list(view.recent_events)[-(room - 1) :] if room > 1 else []
    middle = [Text(f"  {clock(at)}  {text}") for at, text in recent]
    if middle:
        middle.insert(0, _rule("events", width))
    filler = [Text()] * max(0, room - len(middle))
    lines = [*top, *notes, *problems, *middle, *filler, *bottom][:height]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def pasteable(command: Sequence[str], width: int) -> list[str]:
    """A shell command in lines of at most `width`, continued with backslashes, ready to paste."""
    lines, line = [], " "
    for word in map(shlex.quote, command):
        if len(line) + 1 + len(word) + 2 > width and line.strip():
            lines.append(f"{line} \\")
            line = "   "
        line += f" {word}"
    return [*lines, line]


def _headline(snapshot: NodeSnapshot, now: Instant) -> Text:
    seconds = max(0, now - snapshot.started) // 1_000_000
    line = Text(f"Im Hearing {snapshot.version}  node {snapshot.node}", style="bold")
    line.append(f"  up {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}", style="dim")
    ends = "Ctrl-C to stop" if snapshot.ends_in is None else f"stops in {max(0.0, snapshot.ends_in):.0f} s"
    return line.append(f"  {ends}", style="dim")


def _state(view: NodeView, snapshot: NodeSnapshot, now: Instant, width: int) -> list[Text]:
    state = Text("recorder  ")
    if snapshot.broker is None:
        recorder, runs = view.recorder, view.online("recorder")
    else:
        recorder, runs = snapshot.facts.recorder, "recorder" in snapshot.running
    if not runs and recorder is not None:
        state.append("NOT RUNNING", style="bold red")
    elif recorder is None:
        state.append("starting", style="yellow")
    else:
        state.append(describe_recorder(recorder, now), style=_STATE_STYLES.get(recorder.state, "bold red"))
        state.append(f"  since {when(recorder.since, now)}", style="dim")
        if recorder.reason and recorder.state != "recording":
            state.append(f"  {escaped(recorder.reason)}")
    synthetic = recorder is not None and runs and is_synthetic(recorder)
    warnings: list[Text] = []
    if snapshot.broker is not None:
        text = f"broker    {snapshot.broker} does not respond: no levels and no events are shown"
        warnings.append(Text(text, style="bold yellow"))
    if synthetic and state.cell_len + len(_NO_MICROPHONE) + 2 <= width:
        state.append(f"  {_NO_MICROPHONE}", style="bold yellow")
    elif synthetic:
        warnings.append(Text(f"input     {_NO_MICROPHONE}", style="bold yellow"))
    hint = recorder.hint if recorder is not None and recorder.state == "recording" else None
    if hint:
        warnings.append(Text(f"input     {escaped(hint)}", style="bold yellow"))
    return [
        state,
        *warnings,
        _level(view, now, width),
        _chunks(snapshot, now),
        _archives(view, snapshot),
        _processes(snapshot),
    ]


def _level(view: NodeView, now: Instant, width: int) -> Text:
    level = view.level
    if level is None or now - level.at > _LEVEL_FRESH:
        return Text("level     -", style="dim")
    words = f"level     {level.laeq:6.1f} {level.unit}  max {level.lafmax:6.1f}  "
    return Text(words).append(level_bar(level.laeq, level.unit, max(0, width - len(words))), style="green")


def _chunks(snapshot: NodeSnapshot, now: Instant) -> Text:
    facts = snapshot.facts
    text = f"chunks    {facts.chunks} finished"
    if facts.last_until is not None:
        text += f", last until {when(facts.last_until, now)}"
    text += f"; {facts.waiting} waiting ({size(facts.waiting_bytes)})"
    if snapshot.free_bytes is not None:
        text += f"; {size(snapshot.free_bytes)} free"
    return Text(text)


def _archives(view: NodeView, snapshot: NodeSnapshot) -> Text:
    line = Text(f"archives  {snapshot.facts.archives} uploaded")
    archiver = view.archiver if snapshot.broker is None else None
    if archiver is not None:
        line.append(f"; {archiver.state}", style="bold red" if archiver.state == "blocked" else "")
        if archiver.progress is not None and archiver.progress.bytes_total:
            done = archiver.progress.bytes_done / archiver.progress.bytes_total
            line.append(f" {done:.0%} of {size(archiver.progress.bytes_total)}")
        if archiver.reason:
            line.append(f" ({escaped(archiver.reason)})")
        if archiver.disk_hours_left is not None:
            line.append(f"; disk full in {_hours(archiver.disk_hours_left)}", style="dim")
    return line


def _processes(snapshot: NodeSnapshot) -> Text:
    line = Text("services  ")
    for name in snapshot.expected:
        line.append(f"{name} ", style="green" if name in snapshot.running else "bold red reverse")
    return line


def _hours(hours: float) -> str:
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"


def _rule(title: str, width: int) -> Text:
    return Text(f"── {title} ".ljust(width, "─"), style="dim")
