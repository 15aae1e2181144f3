"""Keeps child processes running: starts them in order, starts again what ended, ends them in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from edge.core.backoff import Backoff
from edge.core.errors import ImHearingError
from edge.embedded import ports
from edge.embedded.child import Child, Part, read_tail, trim_log

_FIRST_DELAY = 0.5  # seconds before the first new start; doubled by each that ends soon again
_LONGEST_DELAY = 30.0
_STEADY = 60.0  # seconds after which an end counts as the first again
_TRIM_EVERY = 60.0


class Ending(NamedTuple):
    """A child ended by itself, well or not; it is started again in `again_in` seconds."""

    name: str
    exit_code: int  # negative: ended by that signal
    last_words: list[str]
    again_in: float


def restart_backoff() -> Backoff:
    """The delays before a child is started again: doubled while it does not last."""
    return Backoff(_FIRST_DELAY, _LONGEST_DELAY, steady=_STEADY)


class Supervisor:
    """Children by name. All calls come from one thread, which outlives the children (see `Child`)."""

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}
        self._backoff: dict[str, Backoff] = {}
        self._due: dict[str, tuple[float, Part]] = {}
        self._next_trim = time.monotonic() + _TRIM_EVERY

    def start(self, part: Part) -> None:
        """Starts `part` and does not wait for it."""
        self._children[part.name] = Child(part)

    def wait_ready(self, timeout: float = 10.0, stopping: Callable[[], bool] = lambda: False) -> None:
        """Waits until each child that has a port listens there; ImHearingError tells which does not, and why."""
        deadline = time.monotonic() + timeout
        for child in list(self._children.values()):
            while child.part.port is not None and not ports.listens(child.pid, child.part.port) and not stopping():
                code = child.exit_code()
                if code is not None or time.monotonic() >= deadline:
                    reason = "does not come up" if code is None else how_it_ended(code)
                    words = "; ".join(child.last_words()) or "it said nothing"
                    raise ImHearingError(f"{child.part.name}: {reason} ({words}); its log is {child.part.log}")
                time.sleep(0.01)

    def pids(self) -> dict[str, int]:
        """Process ids of those that run."""
        return {name: child.pid for name, child in self._children.items() if child.exit_code() is None}

    def tick(self) -> list[Ending]:
        """Starts again what is due, and gives what ended since the last call. Call it a few times a second."""
        now = time.monotonic()
        self._start_what_is_due(now)
        endings = [ending for name in list(self._children) if (ending := self._ending(name, now))]
        if now >= self._next_trim:
            self._next_trim = now + _TRIM_EVERY
            for child in self._children.values():
                trim_log(child.part.log)
        return endings

    def stop(self, names: Iterable[str], timeout: float) -> list[str]:
        """Ends these together, by force after `timeout` seconds; gives those that needed force."""
        children = [(name, self._children.pop(name)) for name in names if name in self._children]
        for name, child in children:
            self._due.pop(name, None)
            child.ask_to_end()
        deadline = time.monotonic() + timeout
        return [name for name, child in children if not child.end(deadline - time.monotonic())]

    def stop_all(self, timeout: float) -> list[str]:
        self._due.clear()
        return self.stop(list(self._children), timeout)

    def _start_what_is_due(self, now: float) -> None:
        for name, (when, part) in list(self._due.items()):
            if now >= when:
                del self._due[name]
                self._children[name] = Child(part)

    def _ending(self, name: str, now: float) -> Ending | None:
        child = self._children[name]
        code = child.exit_code()
        if code is None:
            return None
        del self._children[name]
        child.end(0)  # what it may have started itself
        words = read_tail(child.part.log)[-3:]
        delay = self._backoff.setdefault(name, restart_backoff()).next_delay(now - child.started)
        self._due[name] = (now + delay, child.part)
        return Ending(name, code, words, delay)


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
