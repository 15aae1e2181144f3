"""Waiting for an event with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
DEADLINE = 60.0  # seconds for anything that should happen: far more than it takes, so only a failure waits that long


def wait_until(condition: Callable[[], T | None], what: str, timeout: float = DEADLINE) -> T:
    """Polls `condition` until it returns a true value, and returns it; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"waited {timeout:g} s in vain until {what}"
        time.sleep(0.01)


def wait_for_return(call: Callable[[], T], what: str, timeout: float = DEADLINE) -> T:
    """Runs `call` in a thread; returns its result or raises its exception. AssertionError after `timeout` seconds."""
    from concurrent.futures import Future, wait  # noqa: PLC0415 - the benches measure the memory of who loads this file

    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as problem:
            outcome.set_exception(problem)

    threading.Thread(target=run, name=what, daemon=True).start()
    _, pending = wait([outcome], timeout)
    assert not pending, f"waited {timeout:g} s in vain until {what}"
    return outcome.result()
