"""How `imhearing up` shows what happens: here as plain lines; `screen` is for terminals."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from commands.cli.common import print_message
from commands.show.formats import clock
from commands.show.node_view import NodeView, is_synthetic
from commands.up.local_facts import LocalFacts
from edge.core.instant import Instant
from edge.messaging.events import ArchiverState, Event, LevelMeasured, RecorderState

_LEVEL_INTERVAL = 60.0  # seconds between two lines about the level


class NodeSnapshot(NamedTuple):
    """What is shown besides the node's own messages."""

    version: str
    node: str
    started: Instant
    notes: Sequence[str]  # what `up` decided
    commands: Sequence[Sequence[str]]  # for a second terminal
    problems: Sequence[str]
    facts: LocalFacts  # of the spool and the catalog
    broker: str | None  # its address, while it does not respond
    running: Sequence[str]  # names of the processes that are running
    expected: Sequence[str]  # names of all processes
    free_bytes: int | None
    ends_in: float | None  # seconds, with --for


class Display:
    """Shows nothing; the base of those that do."""

    def begin(self) -> None:
        """Called once before everything else, as `end` is after it."""

    def end(self) -> None: ...

    def problem(self, text: str) -> None:
        """Shows something that went wrong."""

    def event(self, event: Event, text: str | None) -> None:
        """Shows an event, which the view already includes; `text` describes it if it is news."""

    def refresh(self, view: NodeView, snapshot: Callable[[], NodeSnapshot]) -> None:
        """Redraws the current state, if it is time to."""


class PlainDisplay(Display):
    """One line per event, for pipes, logs and tests."""

    def __init__(self) -> None:
        self._next_level = 0.0
        self._last_blocked: str | None = None

    def problem(self, text: str) -> None:
        print_message(f"! {text}")

    def event(self, event: Event, text: str | None) -> None:
        if isinstance(event, LevelMeasured):
            if time.monotonic() >= self._next_level:
                self._next_level = time.monotonic() + _LEVEL_INTERVAL
                print_message(f"{clock(event.at)}  level {event.laeq:.1f} {event.unit}")
        elif isinstance(event, ArchiverState):
            self._archiver(event)
        elif text is not None:
            print_message(f"{clock(event.at)}  {text}")
            if isinstance(event, RecorderState) and event.state == "recording" and is_synthetic(event):
                print_message("! not a microphone: recording a synthetic scene")

    def _archiver(self, event: ArchiverState) -> None:
        blocked = event.reason if event.state == "blocked" else None
        if blocked != self._last_blocked:
            self._last_blocked = blocked
            print_message(f"{clock(event.at)}  archiver {event.state}" + (f": {blocked}" if blocked else ""))
