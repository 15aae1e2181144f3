"""Supervises child processes: starts them, restarts those that exit, and stops them in order."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from edge.core.backoff import Backoff
from edge.core.errors import ImHearingError
from edge.embedded import ports
from edge.embedded.child import Child, ProcessSpec, trim_log

_BACKLOG = 128  # connections that wait for a server that is being started again
_FIRST_DELAY = 0.5  # seconds before the first restart; doubles each time
_MAX_DELAY = 30.0
_STABLE_SECONDS = 60.0  # a child that ran this long resets its delay
_TRIM_INTERVAL = 60.0


class ChildExit(NamedTuple):
    """A child has exited; it will be restarted in `restart_in` seconds."""

    name: str
    exit_code: int  # negative if a signal ended it
    last_lines: list[str]
    restart_in: float


def restart_backoff() -> Backoff:
    """The delays before restarts: they double while the child keeps exiting early."""
    return Backoff(_FIRST_DELAY, _MAX_DELAY, steady=_STABLE_SECONDS)


class Supervisor:
    """Children by name. Call it from one thread, which must outlive the children (see `Child`)."""

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}
        self._backoff: dict[str, Backoff] = {}
        self._restarts: dict[str, tuple[float, ProcessSpec]] = {}
        self._listeners: dict[str, socket.socket] = {}
        self._next_trim = time.monotonic() + _TRIM_INTERVAL

    def start(self, spec: ProcessSpec) -> None:
        """Starts a process without waiting until it is ready."""
        if spec.inherits_port and spec.port is not None:
            try:
                self._listeners[spec.name] = socket.create_server((ports.LOOPBACK, spec.port), backlog=_BACKLOG)
            except OSError as problem:
                raise ImHearingError(f"{spec.name}: cannot listen on port {spec.port} ({problem.strerror})") from None
        self._children[spec.name] = self._child(spec)

    def _child(self, spec: ProcessSpec) -> Child:
        return Child(spec, self._listeners.get(spec.name))

    def wait_ready(self, timeout: float = 10.0, stopping: Callable[[], bool] = lambda: False) -> None:
        """Waits until every child listens where it should; ImHearingError says which does not, and why."""
        deadline = time.monotonic() + timeout
        for child in list(self._children.values()):
            spec = child.spec
            while not _is_listening(child) and not stopping():
                code = child.exit_code()
                if code is not None or time.monotonic() >= deadline:
                    reason = "failed to start" if code is None else describe_exit(code)
                    output = "; ".join(child.last_lines()) or "no output"
                    raise ImHearingError(f"{spec.name}: {reason} ({output}); see {spec.log}")
                time.sleep(0.01)

    def pids(self) -> dict[str, int]:
        """Process ids of the running children."""
        return {name: child.pid for name, child in self._children.items() if child.exit_code() is None}

    def tick(self) -> list[ChildExit]:
        """Restarts what is due, and returns which children have exited since the last call. Call it often."""
        now = time.monotonic()
        self._restart_due(now)
        exits = [ended for name in list(self._children) if (ended := self._check_exit(name, now))]
        if now >= self._next_trim:
            self._next_trim = now + _TRIM_INTERVAL
            for child in self._children.values():
                trim_log(child.spec.log)
        return exits

    def stop(self, names: Iterable[str], timeout: float) -> list[str]:
        """Stops these together, killing them after `timeout` seconds; returns those that were killed."""
        children = [(name, self._children.pop(name)) for name in names if name in self._children]
        for name, child in children:
            self._restarts.pop(name, None)
            child.terminate()
        deadline = time.monotonic() + timeout
        killed = [name for name, child in children if not child.end(deadline - time.monotonic())]
        for name, _ in children:
            self._release(name)
        return killed

    def _release(self, name: str) -> None:
        listener = self._listeners.pop(name, None)
        if listener is not None:
            listener.close()

    def stop_all(self, timeout: float) -> list[str]:
        self._restarts.clear()
        killed = self.stop(list(self._children), timeout)
        for name in list(self._listeners):  # of those that were waiting to be started again
            self._release(name)
        return killed

    def _restart_due(self, now: float) -> None:
        for name, (when, spec) in list(self._restarts.items()):
            if now >= when:
                del self._restarts[name]
                self._children[name] = self._child(spec)

    def _check_exit(self, name: str, now: float) -> ChildExit | None:
        child = self._children[name]
        code = child.exit_code()
        if code is None:
            return None
        del self._children[name]
        child.end(0)  # kills its own children
        child.spec.clean_up()
        delay = self._backoff.setdefault(name, restart_backoff()).next_delay(now - child.started)
        self._restarts[name] = (now + delay, child.spec)
        return ChildExit(name, code, child.last_lines(), delay)


def _is_listening(child: Child) -> bool:
    port, path = child.spec.port, child.spec.socket
    if path is not None:
        return ports.listens_at(child.pid, path)
    if child.spec.inherits_port and port is not None:
        return ports.replies(port)
    return port is None or ports.listens(child.pid, port)


def describe_exit(code: int) -> str:
    """Describes an exit code."""
    return f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"
