"""The running node behind `imhearing up`: its child processes, what it says over MQTT, and how both are shown."""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from commands.cli.common import say
from commands.show.formats import count
from commands.show.node_view import NodeView
from commands.up.display import Display, Facts
from commands.up.log_watch import LogWatch, without_stamp
from commands.up.plan import FRONT, Plan
from edge import __version__
from edge.core.errors import ConfigError
from edge.core.instant import Instant
from edge.embedded.supervisor import Ending, Supervisor, how_it_ended
from edge.messaging import topics
from edge.messaging.bus import Bus
from edge.messaging.events import Event

_LOOK_EVERY = 0.25  # seconds between looks at the children
# Together less than five seconds; what is not done by then is ended by force, and nothing depends on it.
_RECORDER_SECONDS, _OTHERS_SECONDS, _SERVERS_SECONDS = 2.0, 1.3, 0.7


class Node:
    """All methods are called from one thread, the main one: children live as long as the thread that made them."""

    def __init__(self, folder: Path, plan: Plan, display: Display, ends_at: float | None) -> None:
        self._folder, self._plan, self._display, self._ends_at = folder, plan, display, ends_at
        self._started = Instant.from_seconds(time.time())
        self._supervisor = Supervisor()
        self._view = NodeView()
        self._problems: deque[str] = deque(maxlen=8)
        self._inbox: queue.Queue[tuple[Event, bool]] = queue.Queue(10_000)
        self._bus = Bus(plan.settings.mqtt, plan.settings.node.name, "control", secrets.token_hex(4))
        self._logs: LogWatch | None = None

    def start(self, stopping: Callable[[], bool]) -> None:
        """Servers first, until all are ready, then the services. ImHearingError tells which did not come up."""
        for part in self._plan.servers:
            say(f"starting {part.name}")
            self._supervisor.start(part)
        self._supervisor.wait_ready(stopping=stopping)
        if stopping():
            return
        self._logs = LogWatch({part.name: part.log for part in [*self._plan.servers, *self._plan.services]})
        self._bus.subscribe_all(self._receive)
        self._bus.start()
        for part in self._plan.services:
            say(f"starting {part.name}")
            self._supervisor.start(part)

    def watch(self, stopping: Callable[[], bool]) -> None:
        """Shows what happens and starts again what ends, until `stopping`."""
        self._display.begin()
        try:
            next_look = 0.0
            while not stopping():
                self._take_messages(_LOOK_EVERY)
                if time.monotonic() >= next_look:
                    next_look = time.monotonic() + _LOOK_EVERY
                    self._look_after_children()
                self._display.refresh(self._view, self._facts)
        finally:
            self._display.end()

    def stop(self) -> list[str]:
        """Ends everything within five seconds, in the order of the sound's way; gives those that needed force."""
        forced = self._supervisor.stop(["recorder"], _RECORDER_SECONDS)
        forced += self._supervisor.stop(["archiver", "query-service"], _OTHERS_SECONDS)
        self._bus.stop()
        self._take_messages(0)  # what they said at the end counts too
        forced += self._supervisor.stop_all(_SERVERS_SECONDS)
        return forced

    def summary(self) -> str:
        """What was done, in one line."""
        chunks, archives = count(self._view.chunks, "chunk"), count(self._view.archives, "archive")
        return f"{chunks} finished, {archives} uploaded"

    def _receive(self, event: Event, retained: bool) -> None:
        with contextlib.suppress(queue.Full):  # only the picture suffers
            self._inbox.put_nowait((event, retained))

    def _take_messages(self, patience: float) -> None:
        with contextlib.suppress(queue.Empty):
            event, retained = self._inbox.get(timeout=patience) if patience else self._inbox.get_nowait()
            while True:
                # what the broker kept from the last start says nothing about now
                if not retained or event.at >= self._started:
                    self._display.event(event, self._view.apply(event))
                event, retained = self._inbox.get_nowait()

    def _look_after_children(self) -> None:
        # the log first: what it says came before the end
        for line in self._logs.problems() if self._logs else ():
            self._tell(line)
        for ending in self._supervisor.tick():
            if ending.exit_code == ConfigError.exit_code:  # starting it again would mend nothing
                raise ConfigError([without_stamp(line) for line in ending.last_words[-1:]])
            self._tell(_in_words(ending))

    def _tell(self, problem: str) -> None:
        self._problems.append(f"{time.strftime('%H:%M:%S')} {problem}")
        self._display.problem(problem)

    def _facts(self) -> Facts:
        parts = [part.name for part in [*self._plan.servers, *self._plan.services]]
        return Facts(
            version=__version__,
            node=self._plan.settings.node.name,
            started=self._started,
            notes=[f"data      {self._folder}", *self._plan.notes],
            commands=commands_to_paste(self._folder, self._plan),
            problems=list(self._problems),
            running=list(self._supervisor.pids()),
            wanted=parts,
            free_bytes=_free_bytes(self._plan.settings.recorder.record_path),
            ends_in=None if self._ends_at is None else self._ends_at - time.monotonic(),
        )


def commands_to_paste(folder: Path, plan: Plan) -> list[list[str]]:
    """What to try in a second terminal, exactly as it can be pasted there."""
    imhearing = _how_to_call_us()
    broker = plan.settings.mqtt
    listen = ["mosquitto_sub", "-h", broker.host, "-p", str(broker.port), "-v", "-t", topics.everything()]
    if broker.username or not shutil.which("mosquitto_sub"):
        listen = [*imhearing, "watch", "--data", str(folder)]
    return [
        listen,
        [*imhearing, "query", "--data", str(folder), "--last", "10m"],
        [*imhearing, "fetch", "--data", str(folder), "--last", "1m", "-o", "last.flac"],
    ]


def _how_to_call_us() -> list[str]:
    beside = Path(sys.executable).parent / "imhearing"
    found = shutil.which("imhearing")
    if found and (not beside.exists() or Path(found).resolve() == beside.resolve()):
        return ["imhearing"]
    return [str(beside)] if beside.exists() else [sys.executable, str(FRONT)]


def _in_words(ending: Ending) -> str:
    words = f" (its last words: {without_stamp(ending.last_words[-1])[:200]})" if ending.last_words else ""
    return f"{ending.name} {how_it_ended(ending.exit_code)}{words}; starting it again in {ending.again_in:g} s"


def _free_bytes(folder: Path) -> int | None:
    try:
        stat = os.statvfs(folder)
    except OSError:
        return None
    return stat.f_bavail * stat.f_frsize
