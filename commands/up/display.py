"""How `imhearing up` shows what happens; here as plain lines, in `screen_display` on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from commands.cli.common import print_message
from commands.show.formats import clock
from commands.show.node_view import NodeView, is_synthetic
from edge.core.instant import Instant
from edge.messaging.events import ArchiverState, Event, LevelMeasured, RecorderState

_LEVEL_EVERY = 60.0  # seconds between two plain lines about the level


class Facts(NamedTuple):
    """What is shown beside the node's own messages."""

    version: str
    node: str
    started: Instant
    notes: Sequence[str]  # what `up` decided
    commands: Sequence[Sequence[str]]  # for a second terminal
    problems: Sequence[str]
    running: Sequence[str]  # names of parts that run
    wanted: Sequence[str]  # of all that should
    free_bytes: int | None
    ends_in: float | None  # seconds, with --for


class Display(Protocol):
    def begin(self) -> None: ...
    def end(self) -> None: ...
    def problem(self, text: str) -> None:
        """Something went wrong that a person should know."""

    def event(self, event: Event, text: str | None) -> None:
        """A message of the node that the view has taken in already, in words where it tells something new."""

    def refresh(self, view: NodeView, facts: Callable[[], Facts]) -> None:
        """Shows the picture as it is now, if it is time to."""


class PlainDisplay:
    """One line an event, for pipes, logs and tests."""

    def __init__(self) -> None:
        self._next_level = 0.0
        self._last_blocked: str | None = None

    def begin(self) -> None:
        pass

    def end(self) -> None:
        pass

    def problem(self, text: str) -> None:
        print_message(f"! {text}")

    def event(self, event: Event, text: str | None) -> None:
        if isinstance(event, LevelMeasured):
            if time.monotonic() >= self._next_level:
                self._next_level = time.monotonic() + _LEVEL_EVERY
                print_message(f"{clock(event.at)}  level {event.laeq:.1f} {event.unit}")
        elif isinstance(event, ArchiverState):
            self._archiver(event)
        elif text is not None:
            print_message(f"{clock(event.at)}  {text}")
            if isinstance(event, RecorderState) and event.state == "recording" and is_synthetic(event):
                print_message("! this is not a microphone: the recorder makes up a synthetic scene")

    def refresh(self, view: NodeView, facts: Callable[[], Facts]) -> None:
        pass

    def _archiver(self, event: ArchiverState) -> None:
        blocked = event.reason if event.state == "blocked" else None
        if blocked != self._last_blocked:
            self._last_blocked = blocked
            print_message(f"{clock(event.at)}  archiver {event.state}" + (f": {blocked}" if blocked else ""))
