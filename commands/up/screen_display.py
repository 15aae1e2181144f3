"""The screen of `imhearing up` on a terminal."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live

from commands.show.node_view import NodeView
from commands.up.display import NodeSnapshot
from commands.up.screen import draw
from edge.core.instant import Instant
from edge.messaging.events import ArchiverState, Event


class ScreenDisplay:
    """A full screen, redrawn every second and soon after events; restores the terminal at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
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
        width, height = shutil.get_terminal_size()
        lines = draw(view, snapshot(), Instant.from_seconds(time.time()), width, height)
        self._live.update(Group(*lines), refresh=True)
