"""The node that `imhearing up` runs: its child processes, its messages, and their display."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from commands.cli.common import print_message
from commands.show.formats import count
from commands.show.node_view import NodeView, size
from commands.up.display import Display, NodeSnapshot
from commands.up.local_facts import LocalFactsReader
from commands.up.log_watch import LogWatch, without_stamp
from commands.up.own_broker import viewer_command
from commands.up.plan import ENTRY_POINT, StartPlan
from edge import __version__
from edge.core.errors import ConfigError
from edge.core.instant import Instant
from edge.embedded.supervisor import ChildExit, Supervisor, describe_exit
from edge.messaging import topics
from edge.messaging.bus import Bus
from edge.messaging.events import Event

_CAPACITY = 10_000  # events; more are dropped, and only the display suffers
_POLL_SECONDS = 0.25  # between checks of the children
# Seconds from the first signal until what still runs is killed, which loses nothing. On a calm machine all ends in two.
_RECORDER_SECONDS, _SERVICES_SECONDS, _SERVERS_SECONDS = 8.0, 12.0, 15.0


class LocalNode:
    """Call all methods from the main thread: children live only as long as the thread that started them."""

    def __init__(self, plan: StartPlan, display: Display) -> None:
        self._plan, self._display = plan, display
        self._started = Instant.from_seconds(time.time())
        self._supervisor = Supervisor()
        self._view = NodeView()
        self._inbox: queue.Queue[tuple[Event, bool]] = queue.Queue(_CAPACITY)
        self._bus = Bus(plan.settings.mqtt, plan.settings.node.name, "control")
        self._bus.subscribe_all(self._receive)
        self._facts = LocalFactsReader(plan.settings)
        self._logs = LogWatch({})
        self._problems: deque[str] = deque(maxlen=8)

    def start(self, stopping: Callable[[], bool]) -> None:
        """Starts the servers, waits until they are ready, then starts the services. ImHearingError if one fails."""
        for process in self._plan.servers:
            print_message(f"starting {process.name}")
            self._supervisor.start(process)
        self._supervisor.wait_ready(stopping=stopping)
        if stopping():
            return
        self._logs = LogWatch({process.name: process.log for process in self._plan.processes})
        self._bus.start()
        for process in self._plan.services:
            print_message(f"starting {process.name}")
            self._supervisor.start(process)

    def watch(self, stopping: Callable[[], bool], deadline: float | None) -> None:
        """Displays what happens and restarts children that exit, until `stopping`, with the time left to `deadline`."""
        self._display.begin()
        try:
            next_check = 0.0
            while not stopping():
                self._show_events(_POLL_SECONDS)
                if time.monotonic() >= next_check:
                    next_check = time.monotonic() + _POLL_SECONDS
                    self._check_children()
                self._display.refresh(self._view, lambda: self._snapshot(deadline))
        finally:
            self._display.end()

    def stop(self) -> list[str]:
        """Stops everything within 15 seconds, recorder first, servers last; returns what had to be killed."""
        began = time.monotonic()
        killed = self._supervisor.stop(["recorder"], _RECORDER_SECONDS)
        killed += self._supervisor.stop(["archiver", "query-service"], began + _SERVICES_SECONDS - time.monotonic())
        self._bus.stop()
        self._show_events(0)  # published while stopping
        killed += self._supervisor.stop_all(began + _SERVERS_SECONDS - time.monotonic())
        return killed

    def summary(self) -> str:
        """What there is of the node, once it has been stopped."""
        facts = LocalFactsReader(self._plan.settings).read()
        waiting = f"{count(facts.waiting, 'chunk')} waiting here ({size(facts.waiting_bytes)})"
        return f"{waiting}, {facts.archived} in {count(facts.archives, 'uploaded archive')}"

    def _receive(self, event: Event, retained: bool) -> None:
        """Called in the bus's thread."""
        with contextlib.suppress(queue.Full):
            self._inbox.put_nowait((event, retained))

    def _show_events(self, timeout: float) -> None:
        """Shows all events received, waiting up to `timeout` seconds for the first."""
        with contextlib.suppress(queue.Empty):
            event, retained = self._inbox.get(timeout=timeout) if timeout else self._inbox.get_nowait()
            while True:
                # a retained event of an earlier run says nothing about now
                if not retained or event.at >= self._started:
                    self._display.event(event, self._view.apply(event))
                event, retained = self._inbox.get_nowait()

    def _check_children(self) -> None:
        # logs first: they were written before the exit
        for line in self._logs.problems():
            self._report(line)
        for ended in self._supervisor.tick():
            if ended.exit_code == ConfigError.exit_code:  # a restart would not help
                raise ConfigError([without_stamp(line) for line in ended.last_lines[-1:]])
            self._report(_describe(ended))

    def _report(self, problem: str) -> None:
        self._problems.append(f"{time.strftime('%H:%M:%S')} {problem}")
        self._display.problem(problem)

    def _snapshot(self, deadline: float | None) -> NodeSnapshot:
        broker = self._plan.settings.mqtt
        return NodeSnapshot(
            version=__version__,
            node=self._plan.settings.node.name,
            started=self._started,
            notes=[f"data      {self._plan.folder}", *self._plan.notes],
            commands=commands_to_try(self._plan),
            problems=list(self._problems),
            facts=self._facts.read(),
            broker=broker.address if self._bus.trouble is not None else None,
            running=list(self._supervisor.pids()),
            expected=[process.name for process in self._plan.processes],
            free_bytes=_free_bytes(self._plan.settings.recorder.record_path),
            ends_in=None if deadline is None else deadline - time.monotonic(),
        )


def commands_to_try(plan: StartPlan) -> list[list[str]]:
    """Commands for a second terminal, ready to paste."""
    imhearing = _command_line()
    broker, node = plan.settings.mqtt, plan.settings.node.name
    if plan.runs_broker and shutil.which("mosquitto_sub"):
        listen = viewer_command(node, plan.folder / "broker", broker, topics.everything())
    else:
        listen = [*imhearing, "watch", "--data", str(plan.folder)]
    return [
        listen,
        [*imhearing, "query", "--data", str(plan.folder), "--last", "10m"],
        [*imhearing, "fetch", "--data", str(plan.folder), "--last", "1m", "-o", "last.flac"],
    ]


def _command_line() -> list[str]:
    """How to run `imhearing` from any folder."""
    in_environment = Path(sys.executable).parent / "imhearing"
    found = shutil.which("imhearing")
    if found and (not in_environment.exists() or Path(found).resolve() == in_environment.resolve()):
        return ["imhearing"]
    return [str(in_environment)] if in_environment.exists() else [sys.executable, str(ENTRY_POINT)]


def _describe(ended: ChildExit) -> str:
    output = f" (last output: {without_stamp(ended.last_lines[-1])[:200]})" if ended.last_lines else ""
    return f"{ended.name} {describe_exit(ended.exit_code)}{output}; restarting in {ended.restart_in:g} s"


def _free_bytes(folder: Path) -> int | None:
    try:
        stat = os.statvfs(folder)
    except OSError:
        return None
    return stat.f_bavail * stat.f_frsize
